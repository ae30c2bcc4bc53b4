"""What another budget would buy, from stored samples alone: accuracy over FLOPs under the global price, with intervals.

It knows pools and offers, nothing of commands. Invariant: every problem is judged by a table that was fitted on others,
so a curve shows what problems that nobody has seen would get.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.allocation.fitting import CELLS, fit_table, folds
from orchestration.allocation.value_table import Offer
from orchestration.analysis.statistics import Estimate
from orchestration.planning.bench import WEIGHTED
from orchestration.planning.one_price import OnePrice
from orchestration.planning.pools import Pool
from orchestration.planning.replay import Replayed, crossed
from orchestration.planning.tracing import traces_of
from orchestration.strategies.tally import Counting


@dataclass(frozen=True, slots=True)
class WhatIf:
    """With `budget` FLOPs a problem: accuracy with its interval, FLOPs really spent a problem, samples drawn, and the
    share of problems that got nothing."""

    budget: float
    accuracy: Estimate
    spent: float
    samples: float
    unpaid: float


def what_if(
    pools: Sequence[Pool],
    offer: Offer,
    budgets: Sequence[float],
    *,
    orders: int,
    seed: int = 0,
    cells: int = CELLS,
    floor: bool = True,
    counting: Counting = WEIGHTED,
) -> list[WhatIf]:
    """A point for each budget, in FLOPs a problem. Another list of strategies is another `offer`, another aggregation
    another `counting`."""
    fold = folds([pool.problem for pool in pools], 2, seed)
    tables = []
    for judged in (0, 1):
        known = [pool for pool, one in zip(pools, fold, strict=True) if one != judged]
        traces = traces_of(known, offer, orders=orders, seed=seed, counting=counting)
        tables.append(fit_table(offer, traces, cells=cells))

    def make(_: Sequence[Pool], judged: int) -> OnePrice:
        return OnePrice(tables[judged], offer, floor=floor, counting=counting)

    return [_point(each, crossed(pools, fold, make, each, orders=orders, seed=seed)) for each in budgets]


def _point(each: float, found: Replayed) -> WhatIf:
    return WhatIf(each, found.accuracy, float(found.flops.mean()), float(found.samples.mean()), found.unpaid)
