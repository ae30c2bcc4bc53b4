"""The policy's own confidence in what it drew, as the scores of a verifier: told from log-probabilities alone.

It knows no model and loads none. Invariants: a score is a chance in [0, 1], and never hangs on the tokens behind its step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, get_args

Measure = Literal["mean_logprob"]
"""What is made of the log-probabilities: `mean_logprob` is exp of their mean over the tokens so far, the normalised
probability of Wang et al. 2022 (2203.11171, equation 1)."""

MEASURES: tuple[Measure, ...] = get_args(Measure)


def confidences(logprobs: Sequence[float], step_ends: Sequence[int]) -> tuple[float, ...]:
    """Of a solution's tokens with these log-probabilities (natural, at temperature 1), by `mean_logprob`: a value for each
    step, of all tokens up to its end (exclusive, ascending)."""
    sums = list(itertools.accumulate(logprobs, initial=0.0))
    # An engine's rounding may put a certain token's a hair above 0.
    return tuple(min(1.0, math.exp(sums[end] / end)) for end in step_ends)
