"""All allocators at the same budgets on the same stored samples, with what nobody can beat beside them.

It knows pools and the line-up, nothing of commands. Invariant: whatever an allocator learns it learns from other problems
than it is judged on: from another run's, or from the other half of the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actors.errors import UserError
from orchestration.allocation.fitting import folds
from orchestration.allocation.value_table import Offer
from orchestration.analysis.statistics import Estimate, mean_interval
from orchestration.planning.bench import Bench
from orchestration.planning.curves import curves_of
from orchestration.planning.difficulty import BINS, quantile_bins
from orchestration.planning.line_up import line_up
from orchestration.planning.oracles import Static, clairvoyant, static, stop_at_success
from orchestration.planning.pools import Pool
from orchestration.planning.replay import Allocation, Replayed, crossed, replay

Tell = Callable[[str, int, int], None]
Makers = list[Callable[[], Allocation]]

_FOLDS = 2


@dataclass(frozen=True, slots=True)
class Bounds:
    """The three oracles (`oracles`), and the paper's strategy by bins of oracle difficulty, which costs nothing there: by
    problem how right it is."""

    static: Static
    at_success: float
    clairvoyant: float
    by_oracle_bins: Estimate


@dataclass(frozen=True, slots=True)
class AtBudget:
    """All of them at `each` FLOPs a problem, in the order of the line-up, which ends with the global price."""

    each: float
    rows: tuple[Replayed, ...]
    bounds: Bounds

    @property
    def best(self) -> Replayed:
        """What the others are compared with: the global price."""
        return self.rows[-1]


def usual_budgets(pools: Sequence[Pool], offer: Offer, *, most: int = 5) -> list[float]:
    """What the smaller numbers of samples cost a problem on average, the last at half of the samples there are."""
    counts = [count for count in offer.samples if count <= len(pools[0].samples) // 2][:most]
    flops = curves_of(pools, counts or offer.samples[:1], orders=1, seed=0).flops.mean(axis=0)
    return [float(one) for one in flops]


def compare(
    pools: Sequence[Pool],
    offer: Offer,
    budgets: Sequence[float],
    *,
    known: Sequence[Pool] | None = None,
    orders: int = 3,
    seed: int = 0,
    tell: Tell = lambda what, done, of: None,
) -> list[AtBudget]:
    """Judge all allocators on `pools`: made of the problems of `known`, or of the other half of the same."""
    fold = folds([pool.problem for pool in pools], _FOLDS, seed)
    worst = Bench(pools, 0, seed=seed).worst
    for each in budgets:
        if each * len(pools) < _FOLDS * worst:
            mend = f"it pays no sample of {len(pools):,} problems, of which one may take {worst:.2e} FLOPs: give more"
            raise UserError.of("budgets", each, mend)
    made: list[Makers] = []
    for one in range(_FOLDS if known is None else 1):
        tell("learning from the other problems", one, _FOLDS if known is None else 1)
        learnt = known or [pool for pool, at in zip(pools, fold, strict=True) if at != one]
        made.append(line_up(learnt, offer, orders=orders, seed=seed))
    found, count = [], len(made[0])
    for place, each in enumerate(budgets):
        rows = []
        for number in range(count):
            tell(
                "spending budgets on stored samples", place * (count + 1) + number, len(budgets) * (count + 1)
            )
            rows.append(_judged(pools, fold, made, number, each, known is None, orders, seed))
        tell("asking the oracles", (place + 1) * (count + 1) - 1, len(budgets) * (count + 1))
        found.append(AtBudget(each, tuple(rows), _bounds(pools, known, fold, offer, each, orders, seed)))
    return found


def _judged(
    pools: Sequence[Pool],
    fold: Sequence[int],
    made: Sequence[Makers],
    number: int,
    each: float,
    halved: bool,
    orders: int,
    seed: int,
) -> Replayed:
    if not halved:
        return replay(pools, made[0][number](), each * len(pools), orders=orders, seed=seed)
    return crossed(pools, fold, lambda _, one: made[one][number](), each, orders=orders, seed=seed)


def _bounds(
    pools: Sequence[Pool],
    known: Sequence[Pool] | None,
    fold: Sequence[int],
    offer: Offer,
    each: float,
    orders: int,
    seed: int,
) -> Bounds:
    budget = each * len(pools)
    return Bounds(
        static(pools, offer.samples, budget, orders=orders, seed=seed),
        stop_at_success(pools, budget),
        clairvoyant(pools, offer.samples, budget, seed=seed),
        mean_interval(_by_oracle_bins(pools, known, fold, offer, each, orders, seed)),
    )


def _by_oracle_bins(
    pools: Sequence[Pool],
    known: Sequence[Pool] | None,
    fold: Sequence[int],
    offer: Offer,
    each: float,
    orders: int,
    seed: int,
) -> NDArray[np.float64]:
    """The paper's compute-optimal strategy with labels: bins by how often the second half of a problem's samples is right, in
    each the best option that fits, and how right that is on the first half."""
    count = min(len(pool.samples) for pool in (*pools, *(known or ()))) // 2
    samples = [one for one in offer.samples if one <= max(count, 1)]
    mine = curves_of(pools, samples, offer.searches, orders=orders, seed=seed, half=0)
    rates = _rates(pools)
    found = np.zeros(len(pools))
    places = np.asarray(fold)
    for one in (0, 1) if known is None else (0,):
        judged = places == one if known is None else np.ones(len(pools), bool)
        learnt, learnt_rates = mine.of(~judged), rates[~judged]
        if known is not None:
            learnt = curves_of(known, samples, offer.searches, orders=orders, seed=seed, half=0)
            learnt_rates = _rates(known)
        bins = quantile_bins(learnt_rates, BINS)
        told, asked = bins.of(learnt_rates), bins.of(rates)
        for bin_ in range(1, BINS + 1):
            part = learnt.of(told == bin_) if (told == bin_).any() else learnt
            best = part.best_within(each)
            rows = judged & (asked == bin_)
            # Where not one sample each is paid for, as many get one as it pays.
            paid = min(1.0, each / float(part.flops[:, 0].mean())) if best is None else 1.0
            found[rows] = paid * mine.right[rows, best or 0]
    return found


def _rates(pools: Sequence[Pool]) -> NDArray[np.float64]:
    """How often the second half of each problem's samples is right."""
    return np.array(
        [np.mean([one.correct for one in pool.samples[len(pool.samples) // 2 :]]) for pool in pools]
    )
