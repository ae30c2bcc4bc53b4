"""Signs that a strategy's numbers say little: half of its candidates or more have no answer, were cut off, or have no steps.

It knows counts and the settings that mend them, nothing of tables or terminals. Invariant: what is said while a run is under
way and what its report says are the same sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from actors.work import Tally

Doubt = Literal["cut off", "unreadable", "single step"]

ENOUGH = 32
"""Candidates of a strategy after which a share of them is worth a word while the run is under way."""

_NAMED = 3
"""Strategies that one sentence names at most."""

_COUNTS: dict[Doubt, Callable[[Tally], int]] = {
    "cut off": lambda tally: tally.truncated,
    "unreadable": lambda tally: tally.unreadable,
    "single step": lambda tally: tally.single_step,
}

_SENTENCES: dict[Doubt, tuple[str, str]] = {
    "cut off": (
        "Half of the candidates or more were cut off at policy.max_tokens",
        "raise it, or see with flopwise show whether the policy ends its solutions at all.",
    ),
    "unreadable": (
        "In half of the candidates or more no answer could be read",
        "they have no vote and count as wrong; flopwise show has their texts, dataset.grader says what is read.",
    ),
    "single step": (
        "Half of the candidates or more are of one step only, so there was little to search among",
        "policy.delimiter must be a text that the policy writes between its steps; flopwise show has their texts.",
    ),
}


def doubts(tallies: Mapping[str, Tally], least: int = 1) -> dict[Doubt, str]:
    """A sentence for each doubt that some strategies raise, which have `least` candidates or more; worst ones named first."""
    found: dict[Doubt, str] = {}
    for doubt, count in _COUNTS.items():
        raised = {
            text: (count(tally), tally.ended)
            for text, tally in tallies.items()
            if tally.ended >= max(1, least) and 2 * count(tally) >= tally.ended
        }
        if raised:
            what, mend = _SENTENCES[doubt]
            found[doubt] = f"{what} ({_listed(raised)}): {mend}"
    return found


def _listed(raised: Mapping[str, tuple[int, int]]) -> str:
    # The sort is stable: of equal shares the first in the run's own order.
    worst = sorted(raised.items(), key=lambda item: -item[1][0] / item[1][1])
    parts = [f"{text} {part:,} of {whole:,}" for text, (part, whole) in worst[:_NAMED]]
    more = len(worst) - _NAMED
    if more > 0:
        parts.append(f"{more} more {'strategy' if more == 1 else 'strategies'}")
    return ", ".join(parts)
