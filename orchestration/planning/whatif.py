"""What another budget or price would buy, from stored samples alone: accuracy and FLOPs under one price, with intervals.

It knows pools and offers, nothing of commands. Invariant: every problem is judged by a table that was fitted on others,
so a curve shows what problems that nobody has seen would get.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

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

Array = NDArray[np.float64]
Tell = Callable[[str, int, int], None]

ALIKE = 40
"""Problems that are about as hard as each other, of which a problem's own variance is told."""


@dataclass(frozen=True, slots=True)
class WhatIf:
    """With a `budget` of FLOPs a problem (None: without one): accuracy with the interval of another run of the same problems
    (`of_another_run`), and with that of as many `others` like them; FLOPs really spent a problem, samples drawn, and the
    share of problems that got nothing."""

    budget: float | None
    accuracy: Estimate
    others: Estimate
    spent: float
    samples: float
    unpaid: float


@dataclass(frozen=True, slots=True)
class AtPrice:
    """Each prompt goes as far as a price that stands fast lets it."""

    table: ValueTable
    price: float
    floor: bool = True
    counting: Counting = WEIGHTED
    name: str = "at a price"

    def allocate(self, bench: Bench) -> None:
        chooser = Chooser(self.table, floor=self.floor)
        for prompt in range(len(bench)):
            walk = Walk(chooser)
            while (option := walk.decide(self.price).option) is not None:
                before, stood = bench.spent, bench.stood(prompt)
                bench.take(prompt, option)
                if walk.arrive(bench.standing(prompt).evidence, bench.spent - before):
                    bench.go_back(prompt, stood)


@dataclass(frozen=True)
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
        made = [OnePrice(one, floor=self.floor, counting=self.counting) for one in tables]
        return self._answer(each, self._judged(made, each))

    def at_price(self, tables: Sequence[ValueTable], price: float) -> WhatIf:
        """Without a budget, each prompt paying this price."""
        made = [AtPrice(one, price, self.floor, self.counting) for one in tables]
        return self._answer(None, self._judged(made, float("inf")))

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
        size = np.array([len(pool.samples) for pool in self.pools])
        found = []
        for at, count in enumerate(self.offer.samples):
            right = known.right[:, at]
            accuracy = of_another_run(right, self.rates, count / size)
            spent = float(known.flops[:, at].mean())
            found.append(WhatIf(None, accuracy, mean_of_others(right), spent, float(count), 0.0))
        return found

    @cached_property
    def rates(self) -> Array:
        """How often each problem's samples are right."""
        return np.array([pool.rate for pool in self.pools])

    def _answer(self, each: float | None, found: Replayed) -> WhatIf:
        size = np.array([len(pool.samples) for pool in self.pools])
        # Of a search there is one outcome, which every order shows.
        used = np.maximum(found.samples / size, found.searched)
        accuracy = of_another_run(found.right, self.rates, used + (1 - used) / self.orders)
        spent, samples = float(found.flops.mean()), float(found.samples.mean())
        return WhatIf(each, accuracy, mean_of_others(found.right), spent, samples, found.unpaid)


def of_another_run(right: Array, rates: Array, used: Array | float) -> Estimate:
    """The accuracy of another run of the same problems, told from how often each came out right (P), with its 95% interval.

    A problem's outcome in one run varies by p (1 - p), where p is its own chance; by no more than an outcome of all problems
    together that are about as hard, by the `rates` of their stored samples: there it is taken from. What was told varies too,
    as it comes from draws: by the share of a problem's draws that were `used` (Hoeffding 1948: a mean over subsets of n of K
    samples varies at most by n / K of what one subset does), so by as much again where a problem is told from one draw.
    """
    varies = np.zeros(len(right))
    for rows in np.array_split(np.argsort(rates, kind="stable"), max(1, len(right) // ALIKE)):
        # Half a problem each way: where all agree it is not certain that all others would.
        chance = (right[rows].sum() + 0.5) / (len(rows) + 1)
        varies[rows] = chance * (1 - chance)
    half = 1.96 * float(np.sqrt((varies * (1 + used)).sum())) / len(right)
    mean = float(right.mean())
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half), len(right))


def mean_of_others(right: Array) -> Estimate:
    """The accuracy of a run of as many other problems like these: as sure as one draw of each makes it."""
    count, mean = len(right), float(right.mean())
    hits = round(mean * count)
    once = mean_interval(np.arange(count) < hits)
    shift = mean - once.mean
    return Estimate(mean, max(0.0, once.low + shift), min(1.0, once.high + shift), count)
