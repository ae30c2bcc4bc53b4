"""What nobody can beat who knows more than anybody does: three oracles.

O1 knows each problem's curve, and fixes beforehand what each gets. O2 draws until a sample is right, knowing at once,
and serves problems by their rate of right samples a FLOP. O3 knows every outcome: each problem's cheapest right answer,
or nothing. Invariant: O1's lower bound is judged on samples that had no part in its choice (else it would choose its own
luck); of a search, of which there is one outcome each, O1 knows how often it is right on other problems as hard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actors.seeds import derive
from orchestration.allocation.value_table import Offer
from orchestration.planning.bench import WEIGHTED, Bench
from orchestration.planning.curves import Curves, curves_of
from orchestration.planning.pools import Pool
from orchestration.strategies.tally import Counting

Array = NDArray[np.float64]

_ROUNDS = 200
_ALIKE = 40
"""Problems of about the same rate."""


def static_choice(curves: Curves, budget: float) -> np.ndarray:
    """For each problem the option (-1: none) at the lowest price at which all of it fits into the budget."""

    def at(price: float) -> tuple[np.ndarray, float]:
        net = curves.right - price * curves.flops
        best = net.argmax(axis=1)
        rows = np.arange(len(best))
        best = np.where(net[rows, best] > 0, best, -1)
        return best, float(np.where(best >= 0, curves.flops[rows, best], 0.0).sum())

    low, high = 0.0, 2.0 / float(curves.flops.min())
    if at(low)[1] <= budget:
        return at(low)[0]
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle)[1] > budget else (low, middle)
    return at(high)[0]


@dataclass(frozen=True, slots=True)
class Static:
    """O1 between two bounds. `right` (P) is by problem what one reaches who chooses by one half of the samples and is judged
    by the other, both ways: as good as half the samples allow. `high` is chosen and judged by all of them, so has some luck
    of its own making; more so where single outcomes of searches are chosen from."""

    right: Array
    high: float
    spent: float

    @property
    def low(self) -> float:
        return float(self.right.mean())


def static(
    first: Sequence[Pool], second: Sequence[Pool], offer: Offer, budget: float, *, orders: int, seed: int
) -> Static:
    """O1 by two halves of the samples of the same problems, with what the lower bound spends."""
    seed = derive(seed, "static")
    halves = [
        curves_of(one, offer.samples, offer.searches, orders=orders, seed=seed) for one in (first, second)
    ]
    right, spent = np.zeros(len(first)), 0.0
    for known, judged, pools in ((halves[0], halves[1], first), (halves[1], halves[0], second)):
        choice = static_choice(_foreseen(known, pools, len(offer.samples)), budget)
        rows = np.flatnonzero(choice >= 0)
        right[rows] += judged.right[rows, choice[rows]] / 2
        spent += float(judged.flops[rows, choice[rows]].sum()) / 2
    whole = Curves(
        halves[0].options, (halves[0].right + halves[1].right) / 2, (halves[0].flops + halves[1].flops) / 2
    )
    choice = static_choice(whole, budget)
    rows = np.flatnonzero(choice >= 0)
    return Static(right, float(whole.right[rows, choice[rows]].sum()) / len(first), spent)


def _foreseen(known: Curves, pools: Sequence[Pool], samples: int) -> Curves:
    """Curves in which a search has, instead of its outcome, how often it was right on other problems of about the same rate
    of right samples."""
    right = known.right.copy()
    rates = np.array([pool.rate for pool in pools])
    order = np.argsort(rates, kind="stable")
    for rows in np.array_split(order, max(1, len(order) // _ALIKE)):
        outcomes = known.right[rows, samples:]
        others = outcomes.sum(axis=0) - outcomes
        right[rows[:, None], np.arange(samples, right.shape[1])] = others / max(len(rows) - 1, 1)
    return Curves(known.options, right, known.flops)


def stop_at_success(pools: Sequence[Pool], budget: float) -> float:
    """O2: the accuracy of whoever sees at once that a sample is right, and so needs no verifier and no vote."""
    rates = np.array([pool.rate for pool in pools])
    flops = np.array([np.mean([one.flops for one in pool.samples]) for pool in pools])
    solvable = rates > 0
    needs = np.sort(flops[solvable] / rates[solvable])
    return _served(needs, budget, len(pools))


def clairvoyant(
    pools: Sequence[Pool], samples: Sequence[int], budget: float, *, seed: int, counting: Counting = WEIGHTED
) -> float:
    """O3: the accuracy of whoever knows all outcomes: each problem's cheapest option that is right, the cheapest
    problems first."""
    needs = []
    for pool in pools:
        found = [one.flops for one in pool.searches.values() if one.correct]
        bench = Bench([pool], float("inf"), seed=seed, counting=counting)
        for count in samples:
            bench.draw(0, count - bench.drawn(0))
            if bench.judge().right[0]:
                found.append(bench.spent)
                break
        if found:
            needs.append(min(found))
    return _served(np.sort(np.array(needs, dtype=np.float64)), budget, len(pools))


def _served(needs: np.ndarray, budget: float, problems: int) -> float:
    """The share of problems that a budget serves, the cheapest first, and the part that it reaches of the next."""
    if not len(needs):
        return 0.0
    total = np.cumsum(needs)
    served = int(np.searchsorted(total, budget, side="right"))
    part = 0.0
    if served < len(needs):
        part = (budget - (total[served - 1] if served else 0.0)) / needs[served]
    return float((served + part) / problems)
