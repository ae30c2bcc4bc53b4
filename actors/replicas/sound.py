"""Whether what a strategy asks, and what a verifier answers, can be meant: looked at before it meets what others share.

A token that no vocabulary has would break the engine's step for all who are in it, and a place that no column holds the run's
tables. It knows no engine. Invariant: what passes here breaks nothing but the strategy that asked for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from actors.errors import counted
from actors.replicas.remote_scorer import ScoreError
from actors.strategy import Sampling

_INT32 = 1 << 31


def check_draw(prefix: tuple[int, ...], place: tuple[int, ...], sampling: Sampling, vocabulary: int) -> None:
    """Raise ValueError for a draw that no policy can make, or no table hold."""
    check_ids("prefix", prefix, vocabulary)
    if not isinstance(place, tuple) or any(type(i) is not int or not -_INT32 <= i < _INT32 for i in place):
        raise ValueError(f"place = {place!r}: a tuple of whole numbers below 2**31")
    temperature, top_p = sampling.temperature, sampling.top_p
    if not 0 <= temperature < math.inf:
        raise ValueError(f"temperature = {temperature!r}: a number, 0 or larger")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p = {top_p!r}: a number above 0, at most 1")


def check_ids(name: str, ids: tuple[int, ...], vocabulary: int) -> None:
    """Raise ValueError for tokens that the policy does not have."""
    if not ids:
        return
    if not isinstance(ids, tuple) or not set(map(type, ids)) <= {int}:
        raise ValueError(f"{name} is not a tuple of whole numbers")
    if min(ids) < 0 or max(ids) >= vocabulary:
        wrong = next(i for i in ids if not 0 <= i < vocabulary)
        raise ValueError(f"{name} has the token {wrong}: the policy's are 0 to {vocabulary - 1}")


def check_prompt_value(value: float | None) -> float:
    """The value of a prompt alone. Raises ValueError where the verifier gives none, ScoreError for one outside [0, 1]."""
    if value is None:
        raise ValueError(
            "the verifier judges no prompt before a step: take a plan without (plan.prompt_value=false)"
        )
    check_values((value,), 1)
    return value


def check_values(values: Sequence[float], steps: int) -> None:
    """Raise ScoreError unless there is one value in [0, 1] a step."""
    if len(values) != steps:
        raise ScoreError(f"the verifier gave {counted(len(values), 'score')} for {counted(steps, 'step')}")
    for value in values:
        # Not a number is in no interval.
        if not 0 <= value <= 1:
            raise ScoreError(f"the verifier gave the score {value!r}, which is not in [0, 1]")
