"""How difficult a problem is: by the share of its samples that are right, or by what a verifier says without labels;
and bins of it.

The paper has five bins of equal size (Snell et al. 2024, section 3.2); Liu et al. 2025 have absolute thresholds, which
do not move with the model. Bin 1 is the easiest. It knows values, nothing of models or runs. Invariants: equal values
are in one bin, so what bins a problem has no luck of its place in it; a bin that was made by some samples is told from
those alone, and `halves` parts a problem's samples so that none serves both its bin and a strategy's judgement.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actors.errors import UserError
from orchestration.analysis.statistics import rank_correlation

Array = NDArray[np.float64]

BINS = 5
ABSOLUTE = (0.5, 0.1)
"""Easy problems have pass@1 of a half at least, hard ones below a tenth (Liu et al. 2025, section 4.1)."""

MOST_SAMPLES = 2048
DOUBTFUL = 0.5
"""A rank correlation below which predicted difficulty is said to disagree with the oracle's."""


@dataclass(frozen=True, slots=True)
class Bins:
    """`thresholds` fall: a value at least the first is in bin 1. `sizes` are those of the problems it was made of, and
    `tied` how many of them lie on a threshold together with others: where many do, bins are uneven."""

    thresholds: tuple[float, ...]
    sizes: tuple[int, ...]
    tied: int

    @property
    def count(self) -> int:
        return len(self.thresholds) + 1

    def of(self, values: ArrayLike) -> NDArray[np.int64]:
        """The bin of each value, from 1."""
        each = np.asarray(values, dtype=np.float64)
        return np.asarray((each[..., None] < np.asarray(self.thresholds)).sum(axis=-1) + 1, dtype=np.int64)


def quantile_bins(values: ArrayLike, count: int = BINS) -> Bins:
    """Bins of about equal size; equal values stay together, in the easier bin."""
    each = np.sort(np.asarray(values, dtype=np.float64))[::-1]
    if len(each) < count or np.isnan(each).any():
        raise ValueError(f"{count} bins need as many values at least, all of them known")
    last = [int(np.ceil(len(each) * part / count)) - 1 for part in range(1, count)]
    thresholds = tuple(float(each[at]) for at in last)
    return _bins(thresholds, each)


def absolute_bins(values: ArrayLike, thresholds: tuple[float, ...] = ABSOLUTE) -> Bins:
    """Bins by thresholds that stand fast."""
    if list(thresholds) != sorted(thresholds, reverse=True) or not all(0 < t < 1 for t in thresholds):
        raise UserError.of("difficulty.thresholds", list(thresholds), "must fall, and lie between 0 and 1")
    return _bins(thresholds, np.asarray(values, dtype=np.float64))


def _bins(thresholds: tuple[float, ...], values: Array) -> Bins:
    found = Bins(thresholds, (), 0).of(values)
    sizes = tuple(int((found == one).sum()) for one in range(1, len(thresholds) + 2))
    on = [int((values == threshold).sum()) for threshold in set(thresholds)]
    return Bins(thresholds, sizes, sum(count for count in on if count > 1))


def pass_rate(right: ArrayLike) -> float:
    """Oracle difficulty: the share of a problem's samples that are right."""
    return float(np.mean(np.asarray(right, dtype=np.float64)))


def predicted(values: Sequence[float | None]) -> float:
    """Predicted difficulty: the mean of the verifier's final values; a sample without one says 0. Needs no label."""
    return float(np.mean([0.0 if value is None else value for value in values]))


def halves(samples: int) -> tuple[slice, slice]:
    """The samples that strategies are judged on, and those that a bin is told from."""
    return slice(0, samples // 2), slice(samples // 2, samples)


def ranges(samples: int, shards: int) -> list[range]:
    """One problem's many samples as ranges of their numbers, of about equal size: tasks for so many replicas."""
    if not 1 <= samples <= MOST_SAMPLES:
        raise UserError.of(
            "difficulty.samples", samples, f"must be a whole number from 1 to {MOST_SAMPLES:,}"
        )
    cuts = [samples * part // shards for part in range(shards + 1)]
    return [range(a, b) for a, b in itertools.pairwise(cuts) if b > a]


@dataclass(frozen=True, slots=True)
class Agreement:
    """What predicted difficulty has to do with another: Spearman's `rank` correlation (None where one of them is the same
    for all), how many problems are in each pair of bins (rows: the other's bins, columns: predicted), and `curve`, by
    predicted bin the mean predicted value, the mean of the other, and problems."""

    rank: float | None
    confusion: NDArray[np.int64]
    curve: tuple[tuple[float, float, int], ...]
    problems: int

    @property
    def warning(self) -> str:
        """What a user is told where the two disagree; empty where they do not."""
        if self.rank is not None and self.rank >= DOUBTFUL:
            return ""
        told = "predicted difficulty or the oracle's does not vary"
        if self.rank is not None:
            told = f"predicted difficulty has a rank correlation of {self.rank:.2f} with the oracle's"
        return (
            f"{told} over {self.problems:,} problems: bins made of it tell little; take more samples, or a better "
            "verifier"
        )


def agreement(told: ArrayLike, other: ArrayLike, count: int = BINS) -> Agreement:
    """Compare difficulty as predicted with another of the same problems: the oracle's, or human labels (the higher, the
    easier); of one that is not known (NaN) nothing is compared. Raises ValueError where fewer than `count` are left."""
    mine, theirs = np.asarray(told, dtype=np.float64), np.asarray(other, dtype=np.float64)
    known = ~(np.isnan(mine) | np.isnan(theirs))
    mine, theirs = mine[known], theirs[known]
    columns, rows = quantile_bins(mine, count).of(mine), quantile_bins(theirs, count).of(theirs)
    confusion = np.zeros((count, count), dtype=np.int64)
    np.add.at(confusion, (rows - 1, columns - 1), 1)
    curve = tuple(
        (
            float(mine[columns == one].mean()),
            float(theirs[columns == one].mean()),
            int((columns == one).sum()),
        )
        for one in range(1, count + 1)
        if (columns == one).any()
    )
    return Agreement(rank_correlation(mine, theirs), confusion, curve, len(mine))
