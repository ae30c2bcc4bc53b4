"""What nobody can beat who knows more than anybody does: three oracles.

O1 knows each problem's curve, and fixes beforehand what each gets. O2 draws until a sample is right, knowing at once,
and serves problems by their rate of right samples a FLOP. O3 knows every outcome: each problem's cheapest right answer,
or nothing. Invariant: O1's lower bound is judged on samples that had no part in its choice (else it would
choose its own luck); searches, of which there is one outcome each, are therefore no options of O1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actors.seeds import derive
from orchestration.planning.bench import WEIGHTED, Bench
from orchestration.planning.curves import Curves, curves_of
from orchestration.planning.pools import Pool
from orchestration.strategies.tally import Counting

_ROUNDS = 200


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
    """O1 between two bounds. `low`: chosen by one half of each problem's samples and judged by the other, both ways, so
    the choice is as good as half the samples allow. `high`: chosen and judged by all of them, so it has some luck of
    its own making."""

    low: float
    high: float
    spent: float


def static(
    pools: Sequence[Pool],
    samples: Sequence[int],
    budget: float,
    *,
    orders: int,
    seed: int,
    counting: Counting = WEIGHTED,
) -> Static:
    """O1's accuracy, and what the lower bound spends."""
    within = [count for count in samples if count <= min(len(pool.samples) for pool in pools) // 2]
    first, second, whole = (
        curves_of(pools, within, orders=orders, seed=derive(seed, "static"), counting=counting, half=half)
        for half in (0, 1, None)
    )
    right = spent = 0.0
    for known, judged in ((first, second), (second, first)):
        choice = static_choice(known, budget)
        rows = np.flatnonzero(choice >= 0)
        right += float(judged.right[rows, choice[rows]].sum())
        spent += float(judged.flops[rows, choice[rows]].sum())
    choice = static_choice(whole, budget)
    rows = np.flatnonzero(choice >= 0)
    high = float(whole.right[rows, choice[rows]].sum())
    return Static(right / 2 / len(pools), high / len(pools), spent / 2)


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
