"""A plan in the hands of a strategy: its table, and its options made into strategies.

It knows plans and strategies, nothing of files or texts. Invariant: whatever the plan offers, there is a strategy for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from actors.strategy import Decision, Described, Strategy
from orchestration.allocation.plan import Difficulty, Plan
from orchestration.allocation.price import Chooser
from orchestration.allocation.value_table import ValueTable

_KEPT = 4
_CHOOSERS: dict[tuple[str, bool], Chooser] = {}


@dataclass(frozen=True, slots=True)
class Bound:
    """`name` is the plan's, `path` its file; `samples` are the numbers of whole samples at which it looks, `searches` by
    their texts its other options. With a budget of n generations: how a bin is told, and by bin the `best` strategy."""

    name: str
    path: Path
    plan: Plan
    searches: Mapping[str, Described]
    difficulty: Difficulty | None = None
    best: Mapping[int, Described] | None = None

    @property
    def table(self) -> ValueTable:
        return self.plan.table

    @property
    def samples(self) -> tuple[int, ...]:
        return self.plan.offer.samples

    @property
    def judges_prompts(self) -> bool:
        """Whether the verifier's value of the prompt alone tells how to go on."""
        return self.plan.offer.prompt if self.difficulty is None else self.difficulty.of_prompt

    def expects(self, decision: Decision) -> int:
        """FLOPs that the option is expected to take which was decided for; 0 where it stopped."""
        found = (
            move.flops[decision.cell]
            for move in self.table.moves
            if (move.source, move.target) == (decision.stage, decision.option)
        )
        return int(next(found, 0.0))

    def chooser(self, *, floor: bool) -> Chooser:
        """What decides by its table; of the last few plans it is made once in a process, for it is asked for every prompt."""
        found = _CHOOSERS.get((self.name, floor))
        if found is None:
            found = Chooser(self.table, floor=floor)
            while len(_CHOOSERS) >= _KEPT:
                del _CHOOSERS[next(iter(_CHOOSERS))]
            _CHOOSERS[self.name, floor] = found
        return found


def bound_to(plan: Plan, path: Path, n: int | None, make: Callable[[str], Strategy]) -> Bound:
    """Bind a plan for prompts that have a budget of `n` generations each, or go by a price (None); `make` makes a strategy
    of its text. Raises UserError for what the plan does not tell."""
    if n is None:
        searches = {text: _described(make(text)) for text in plan.offer.searches}
        return Bound(plan.name, path, plan, searches)
    best = {one: _described(make(text)) for one, text in plan.best(n, path).items()}
    return Bound(plan.name, path, plan, {}, plan.difficulty, best)


def _described(strategy: Strategy) -> Described:
    assert hasattr(strategy, "forecast")
    assert hasattr(strategy, "grouping")
    return strategy  # type: ignore[return-value]
