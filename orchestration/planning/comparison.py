"""All allocators at the same budgets on the same stored samples, with what nobody can beat beside them.

It knows pools and the line-up, nothing of commands. Invariants: whatever an allocator learns it learns from other problems
than it is judged on: from another run's, or from the other half of the same. Whoever is judged is judged on the first half of
each problem's samples; the second half tells difficulty where it is free, and what oracles know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from actors.errors import UserError
from orchestration.allocation.fitting import folds
from orchestration.allocation.value_table import Offer
from orchestration.planning.bench import Bench, Memory
from orchestration.planning.curves import curves_of, halved
from orchestration.planning.line_up import Line, line_up
from orchestration.planning.oracles import Static, clairvoyant, static, stop_at_success
from orchestration.planning.pools import Pool
from orchestration.planning.replay import Replayed, crossed

Array = NDArray[np.float64]
Tell = Callable[[str, int, int], None]

_FOLDS = 2


@dataclass(frozen=True, slots=True)
class AtBudget:
    """All of them at `each` FLOPs a problem, by name, and the oracles."""

    each: float
    rows: dict[str, Replayed]
    static: Static
    at_success: float
    clairvoyant: float


@dataclass(frozen=True)
class Contest:
    """What all allocators are given alike: whole `pools` to be judged on, what is on `offer`, the problems that may be
    learnt from (`known`; None: the other half of the same), and the `orders` that a figure is a mean over."""

    pools: Sequence[Pool]
    offer: Offer
    known: Sequence[Pool] | None = None
    orders: int = 3
    seed: int = 0

    @cached_property
    def judged(self) -> list[Pool]:
        """The samples that are drawn."""
        return [halved(pool, 0) for pool in self.pools]

    @cached_property
    def memory(self) -> Memory:
        return Memory()

    @cached_property
    def telling(self) -> list[Pool]:
        """The samples that tell what is free."""
        return [halved(pool, 1) for pool in self.pools]

    @cached_property
    def fold(self) -> list[int]:
        """By problem which of those that were made judges it."""
        if self.known is not None:
            return [0] * len(self.pools)
        return folds([pool.problem for pool in self.pools], _FOLDS, self.seed)

    def learnt(self, fold: int) -> Sequence[Pool]:
        """What may be learnt from by whoever is judged on a fold."""
        if self.known is not None:
            return self.known
        return [pool for pool, at in zip(self.pools, self.fold, strict=True) if at != fold]

    def budgets(self) -> list[float]:
        """What each number of samples on offer takes of a problem on average."""
        curves = curves_of(self.judged, self.offer.samples, orders=self.orders, seed=self.seed)
        return [float(one) for one in curves.flops.mean(axis=0)]

    def check(self, budgets: Sequence[float]) -> None:
        """Raise UserError for a budget that pays nothing."""
        worst = Bench(self.judged, 0, seed=self.seed).worst
        for each in budgets:
            if each * len(self.pools) < _FOLDS * worst:
                count = f"{len(self.pools):,} problems"
                mend = f"it pays no sample of {count}, of which one may take {worst:.2e} FLOPs: give more"
                raise UserError.of("budgets", each, mend)

    def hold(
        self,
        budgets: Sequence[float],
        field_at: Sequence[float] | None = None,
        tell: Tell = lambda what, done, of: None,
    ) -> list[AtBudget]:
        """Judge all at each budget; those of the field at some of them alone, where that is said."""
        self.check(budgets)
        made: list[list[Line]] = []
        count = max(self.fold) + 1
        for one in range(count):
            tell("learning from other problems", one, count)
            made.append(
                line_up(self.learnt(one), self.offer, self.telling, orders=self.orders, seed=self.seed)
            )
        found = []
        total, done = sum(self._count(made[0], each, field_at) for each in budgets), 0
        for each in budgets:
            rows = {}
            for number, line in enumerate(made[0]):
                if line.field and field_at is not None and each not in field_at:
                    continue
                tell("spending budgets on stored samples", done, total)
                each_fold = [one[number].allocation for one in made]
                rows[line.allocation.name] = crossed(
                    self.judged,
                    self.fold,
                    each_fold,
                    each,
                    orders=self.orders,
                    seed=self.seed,
                    memory=self.memory,
                )
                done += 1
            tell("asking the oracles", done, total)
            found.append(self._at(each, rows))
        return found

    @staticmethod
    def _count(lines: Sequence[Line], each: float, field_at: Sequence[float] | None) -> int:
        return sum(field_at is None or each in field_at or not line.field for line in lines)

    def _at(self, each: float, rows: dict[str, Replayed]) -> AtBudget:
        budget = each * len(self.pools)
        return AtBudget(
            each,
            rows,
            static(self.judged, self.telling, self.offer, budget, orders=self.orders, seed=self.seed),
            stop_at_success(self.pools, budget),
            clairvoyant(self.judged, self.offer.samples, budget, seed=self.seed),
        )
