"""The paper's table: for each difficulty bin and budget the best strategy, chosen and judged on different problems.

Two-fold cross-validation within each bin (Snell et al. 2024, v1, section 3.2): the best strategy on one fold is
measured on the other, and the two are put together. It knows accuracies by problem, nothing of how they came.
Invariants: no problem is judged by a choice that it had a part in; what an accuracy was measured on had no part in the
problem's bin (the caller's halves).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestration.allocation.fitting import folds
from orchestration.allocation.logistic import rounded
from orchestration.allocation.plan import Pick
from orchestration.analysis.statistics import mean_interval, paired_difference

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class BinTable:
    """The picks, and at each budget by problem (P) how right the strategy is that the other fold chose for its bin."""

    picks: tuple[Pick, ...]
    right: Mapping[int, Array]


def bin_table(
    problems: Sequence[str],
    bins: NDArray[np.int64],
    right: Mapping[int, Mapping[str, Array]],
    *,
    seed: int,
) -> BinTable:
    """`right` has by budget and strategy how right each problem's answer is (P). Where a bin has one fold alone, the
    choice of all other problems judges it."""
    fold = np.array(folds(problems, 2, seed))
    picks, crossed = [], {}
    for n, strategies in sorted(right.items()):
        names = list(strategies)
        each = np.array([strategies[name] for name in names])
        found = np.full(len(problems), np.nan)
        for one in sorted(set(bins.tolist())):
            mine = bins == one
            for part in (0, 1):
                judged, known = mine & (fold == part), mine & (fold != part)
                if not judged.any():
                    continue
                told = known if known.any() else fold != part
                found[judged] = each[_best(each[:, told]), judged]
            picks.append(_pick(one, n, names, each[:, mine], found[mine]))
        crossed[n] = found
    return BinTable(tuple(picks), crossed)


def _best(right: Array) -> int:
    """The first of those with the highest mean: ties go to the one that stands first."""
    return int(right.mean(axis=1).argmax())


def _pick(one: int, n: int, names: Sequence[str], right: Array, crossed: Array) -> Pick:
    order = np.argsort(-right.mean(axis=1), kind="stable")
    best, second = int(order[0]), int(order[min(1, len(order) - 1)])
    accuracy = mean_interval(crossed)
    behind = paired_difference(right[best], right[second])
    return Pick(
        bin=int(one),
        n=n,
        strategy=names[best],
        accuracy=rounded(accuracy.mean, 4),
        low=rounded(accuracy.low, 4),
        high=rounded(accuracy.high, 4),
        problems=accuracy.problems,
        runner_up=names[second] if second != best else "",
        behind=rounded(behind.mean, 4),
        behind_low=rounded(behind.low, 4),
        behind_high=rounded(behind.high, 4),
    )
