"""What another budget or price would buy, from stored samples alone: accuracy and FLOPs under one price, with intervals.

It knows pools and offers, nothing of commands. Invariant: every problem is judged by a table that was fitted on others,
so a curve shows what problems that nobody has seen would get.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestration.allocation.fitting import CELLS, fit_table, folds
from orchestration.allocation.price import Chooser
from orchestration.allocation.value_table import Offer, ValueTable
from orchestration.allocation.walk import Walk
from orchestration.analysis.statistics import Estimate, mean_interval
from orchestration.planning.bench import WEIGHTED, Bench
from orchestration.planning.curves import curves_of
from orchestration.planning.one_price import OnePrice
from orchestration.planning.pools import Pool
from orchestration.planning.replay import Allocation, Replayed, crossed
from orchestration.planning.tracing import traces_of
from orchestration.strategies.tally import Counting

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class WhatIf:
    """With a `budget` of FLOPs a problem (None: without one): accuracy with its interval (`of_one_run`), FLOPs really spent a
    problem, samples drawn, and the share of problems that got nothing."""

    budget: float | None
    accuracy: Estimate
    spent: float
    samples: float
    unpaid: float


@dataclass(frozen=True, slots=True)
class AtPrice:
    """Each prompt goes as far as a price that stands fast lets it."""

    table: ValueTable
    offer: Offer
    price: float
    floor: bool = True
    counting: Counting = WEIGHTED
    name: str = "at a price"

    def allocate(self, bench: Bench) -> None:
        chooser = Chooser(self.table, floor=self.floor)
        for prompt in range(len(bench)):
            walk = Walk(chooser)
            while (option := walk.decide(self.price).option) is not None:
                before = bench.spent
                if option in self.offer.searches:
                    bench.search(prompt, option)
                else:
                    bench.draw(prompt, int(option) - bench.drawn(prompt))
                walk.arrive(bench.standing(prompt).evidence, bench.spent - before)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about pools: another list of strategies is another `offer`, another aggregation or vote another
    `counting`. Answers are means over `orders` of the samples."""

    pools: Sequence[Pool]
    offer: Offer
    orders: int
    seed: int = 0
    cells: int = CELLS
    floor: bool = True
    counting: Counting = WEIGHTED

    def tables(self, tell: Tell = lambda what, done, of: None) -> list[ValueTable]:
        """For each half of the problems the value table that was fitted on the other."""
        found = []
        for judged in (0, 1):
            tell("fitting value tables", judged, 2)
            known = [pool for pool, one in zip(self.pools, self.fold, strict=True) if one != judged]
            traces = traces_of(known, self.offer, orders=self.orders, seed=self.seed, counting=self.counting)
            found.append(fit_table(self.offer, traces, cells=self.cells))
        return found

    def with_budget(self, tables: Sequence[ValueTable], each: float) -> WhatIf:
        """Under the global price, with `each` FLOPs a problem."""
        made = [OnePrice(one, self.offer, floor=self.floor, counting=self.counting) for one in tables]
        return _answer(each, self._judged(made, each))

    def at_price(self, tables: Sequence[ValueTable], price: float) -> WhatIf:
        """Without a budget, each prompt paying this price."""
        made = [AtPrice(one, self.offer, price, self.floor, self.counting) for one in tables]
        return _answer(None, self._judged(made, float("inf")))

    def _judged(self, made: Sequence[Allocation], each: float) -> Replayed:
        return crossed(self.pools, self.fold, made, each, orders=self.orders, seed=self.seed)

    @property
    def fold(self) -> list[int]:
        """The half in which each problem is judged."""
        return folds([pool.problem for pool in self.pools], 2, self.seed)

    def uniform(self) -> list[WhatIf]:
        """The same number of samples for every prompt: a point for each that is on offer."""
        known = curves_of(
            self.pools, self.offer.samples, orders=self.orders, seed=self.seed, counting=self.counting
        )
        return [
            WhatIf(None, of_one_run(known.right[:, at]), float(known.flops[:, at].mean()), float(count), 0.0)
            for at, count in enumerate(self.offer.samples)
        ]


def of_one_run(right: NDArray[np.float64]) -> Estimate:
    """The accuracy of a run, told from how often each problem came out right: as sure as one draw of each problem makes it,
    for a run draws once, in however many orders it was told."""
    count, mean = len(right), float(right.mean())
    hits = round(mean * count)
    once = mean_interval(np.arange(count) < hits)
    shift = mean - once.mean
    return Estimate(mean, max(0.0, once.low + shift), min(1.0, once.high + shift), count)


def _answer(each: float | None, found: Replayed) -> WhatIf:
    return WhatIf(
        each, of_one_run(found.right), float(found.flops.mean()), float(found.samples.mean()), found.unpaid
    )
