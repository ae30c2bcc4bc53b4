"""Means over problems and paired differences with their intervals, and how well a score tells right from wrong.

Plain arrays in, numbers out: it knows nothing of runs or strategies. Invariant: problems are what varies, each with all its
run seeds, never seeds or candidates; an interval has a width above zero and holds its mean, also where all problems agree.

Intervals are closed formulas. Where every problem is 0 or 1 a mean has Wilson's score interval (Wilson 1927; recommended for
few problems and shares near 0 or 1 by Brown, Cai and DasGupta 2001); a mean of seeds or estimates has the same for the number
of 0/1 problems that would tell as much. A difference has the interval of Bonett and Price (2012): two problems are imagined
that disagree, one each way. (A percentile bootstrap has no width where all problems agree: at 97% right of 30 problems, what
it calls 95% covers 60%.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LEAST_DISAGREEMENT = 0.5
"""The imagined problems of a difference disagree by the most that was seen, and by this at least: with few problems what was
seen may be all too calm."""

_ROUNDING = 1e-9
"""By how much a sum of chances may miss 0 or 1."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over `problems` problems and its interval; all NaN where there are none."""

    mean: float
    low: float
    high: float
    problems: int

    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def mean_interval(values: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Mean of one value in [0, 1] a problem, with Wilson's interval at `level`.

    `values` has shape (problems,), or (problems, seeds): a problem's value is then the mean of its seeds.
    Values that are NaN (a problem without a label, a seed that is not there) are left out.
    """
    kept = problem_means(values)
    kept = kept[~np.isnan(kept)]
    if len(kept) and not -_ROUNDING <= kept.min() <= kept.max() <= 1 + _ROUNDING:
        raise ValueError(f"values from {kept.min()} to {kept.max()}: an interval is told of those in [0, 1]")
    kept = kept.clip(0, 1)
    low, high = _wilson(kept[None], level)
    return _estimate(kept, low[0], high[0])


def paired_difference(a: ArrayLike, b: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Mean of a - b, differences in [-1, 1], over the problems where both are known, with Bonett and Price's interval at
    `level`; `a` and `b` in the same order of problems (and seeds).

    Paired: what makes a problem hard for both cancels, so the interval is narrower than the two accuracies'
    suggest. A problem's difference is the mean over the seeds that both have; where they share none, that of their
    means.
    """
    matched = problem_means(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))
    difference = np.where(np.isnan(matched), problem_means(a) - problem_means(b), matched)
    kept = difference[~np.isnan(difference)]
    low, high = _bonett_price(kept[None], level)
    return _estimate(kept, low[0], high[0])


def _estimate(kept: NDArray[np.float64], low: float, high: float) -> Estimate:
    if not len(kept):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    mean = float(kept.mean())
    return Estimate(mean, min(float(low), mean), max(float(high), mean), len(kept))


def _wilson(values: NDArray[np.float64], level: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the intervals of the means of rows of (rows, problems), values in [0, 1].

    Values between 0 and 1 vary less than 0s and 1s of the same mean, and tell as much as more of those would. How much less
    is believed as far as there is something to see it by: one imagined problem, at the rarer end, says "no less".
    """
    count, z = values.shape[1], _quantile(level)
    if not count:
        return np.full(len(values), np.nan), np.full(len(values), np.nan)
    mean = values.mean(axis=1)
    most = mean * (1 - mean)
    seen = count * np.minimum(mean, 1 - mean)
    less = np.divide(values.var(axis=1), most, out=np.ones(len(values)), where=most > 0)
    worth = count * (seen + 1) / (seen * less + 1)
    middle = mean + z**2 / (2 * worth)
    half = z * np.sqrt(most / worth + z**2 / (4 * worth**2))
    scale = 1 + z**2 / worth
    return np.maximum((middle - half) / scale, 0.0), np.minimum((middle + half) / scale, 1.0)


def _bonett_price(
    values: NDArray[np.float64], level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Ends of the intervals of the means of rows of (rows, problems), differences in [-1, 1]."""
    count = values.shape[1]
    if not count:
        return np.full(len(values), np.nan), np.full(len(values), np.nan)
    most = np.abs(values).max(axis=1)
    # Where all agree, nothing says that whoever disagrees would do so by less than all.
    imagined = np.where(most > 0, np.maximum(most, _LEAST_DISAGREEMENT), 1.0)
    mean = values.sum(axis=1) / (count + 2)
    variance = ((values**2).sum(axis=1) + 2 * imagined**2) / (count + 2) - mean**2
    half = _quantile(level) * np.sqrt(variance / (count + 2))
    return np.maximum(mean - half, -1.0), np.minimum(mean + half, 1.0)


def _quantile(level: float) -> float:
    """How many standard errors a two-sided interval reaches to each side."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))


def problem_means(values: ArrayLike) -> NDArray[np.float64]:
    """Return (problems,): the mean of each problem's seeds in (problems, seeds), NaN where it has none; one value a
    problem stays as it is."""
    each = np.asarray(values, dtype=np.float64)
    if each.ndim == 1:
        return each
    known = ~np.isnan(each)
    count = known.sum(axis=1)
    total = np.where(known, each, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def seed_means(values: ArrayLike) -> NDArray[np.float64]:
    """Return the mean over problems of each seed of (problems, seeds), without the seeds that lack a problem which
    another one has: their means would differ by the problems too."""
    each = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(each)
    rows = known.any(axis=1)
    complete = known[rows].all(axis=0) & rows.any()
    return np.asarray(each[rows][:, complete].mean(axis=0)) if complete.any() else np.empty(0)


def auroc(scores: ArrayLike, right: ArrayLike) -> float:
    """Chance that a right candidate's score exceeds a wrong one's, ties counting half; NaN with one kind
    only.
    """
    from scipy.stats import rankdata

    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(values)
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def auroc_within(scores: ArrayLike, right: ArrayLike, groups: ArrayLike) -> tuple[float, int]:
    """Mean AUROC inside each group (question) that has both kinds, and how many such groups there are.

    The global AUROC can be high by knowing which questions are hard, which chooses no answer; this one
    cannot.
    """
    values, labels = np.asarray(scores, dtype=np.float64), np.asarray(right, dtype=bool)
    each = [auroc(values[rows], labels[rows]) for rows in _rows_by_group(groups)]
    known = [value for value in each if not np.isnan(value)]
    return (float(np.mean(known)), len(known)) if known else (float("nan"), 0)


def quintiles(values: ArrayLike) -> NDArray[np.int64]:
    """Bin 1 (largest values, easiest) to 5 of each value, by rank; ties go by position, so that bins are
    even.
    """
    order = np.argsort(-np.asarray(values, dtype=np.float64), kind="stable")
    bins = np.empty(len(order), dtype=np.int64)
    bins[order] = np.arange(len(order)) * 5 // max(len(order), 1) + 1
    return bins


def _rows_by_group(groups: ArrayLike) -> list[NDArray[np.int64]]:
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    order = np.argsort(codes, kind="stable")
    cuts = np.flatnonzero(np.diff(codes[order])) + 1
    return [rows.astype(np.int64) for rows in np.split(order, cuts)] if len(order) else []


def rank_correlation(one: ArrayLike, other: ArrayLike) -> float | None:
    """Spearman's, of two columns of numbers; None where one of them is the same in all rows."""
    # Here, so that a report loads no scipy.
    from scipy.stats import spearmanr

    mine, theirs = (np.asarray(each, dtype=np.float64) for each in (one, other))
    if len(mine) < 2 or not np.ptp(mine) or not np.ptp(theirs):
        return None
    return float(spearmanr(mine, theirs).statistic)
