"""Strategies in a strategy with a reviser: which can stand there, and what of their candidates a reviser is shown.

It knows no strategy. Invariant: of copies one is shown, and nothing that was dropped, cut off or cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.errors import UserError
from actors.strategy import Candidate, Strategy, asked_by
from orchestration.strategies.revision.drawing import fit
from orchestration.strategies.selection import Aggregation, aggregate


def check_nested(field: str, given: object, why: str) -> None:
    """Raise UserError, which says `why`, unless it is a strategy that asks the policy and the verifier, and no other."""
    # One that goes by a plan does something else for each prompt.
    if (
        isinstance(given, Strategy)
        and asked_by(given) == {"policy", "verifier"}
        and not hasattr(given, "bound")
    ):
        return
    name = field.rpartition(".")[2]
    examples = f"{name}='beam(n=16)' or {name}='best_of_n(n=16)'"
    mend = f"{why}: give one of flopwise's searches in quotes, or samples, as in {examples}"
    raise UserError.of(field, given.text if isinstance(given, Strategy) else given, mend)


def fittest(candidates: Sequence[Candidate], count: int, how: Aggregation) -> list[Candidate]:
    """The `count` candidates of the largest values among those that a reviser may be shown, the best first."""
    shown = {one.token_ids: one for one in reversed(candidates) if one.kept and one.scores and fit(one)}
    ranked = sorted(shown.values(), key=lambda one: (-aggregate(one.scores, how), one.index))
    return ranked[:count]
