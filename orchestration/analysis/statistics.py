"""Means over problems with bootstrap intervals, paired differences, and how well a score tells right from
wrong.

Plain arrays in, numbers out: it knows nothing of runs or strategies. Invariant: problems are what is
resampled, with all their run seeds, never seeds or candidates (a cluster bootstrap); the same seed gives the same
interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from actors.seeds import derive

# Beyond so many problems the percentile interval and the normal one agree to three digits, for any bounded
# values.
_NORMAL_FROM = 20_000
# Values drawn at once: bounds the memory of a bootstrap to some tens of megabytes.
_CHUNK = 2_000_000


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


def mean_interval(
    values: ArrayLike, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Estimate:
    """Mean of one value a problem, with a percentile bootstrap interval over problems.

    `values` has shape (problems,), or (problems, seeds): a problem's value is then the mean of its seeds.
    Values that are NaN (a problem without a label, a seed that is not there) are left out. Where all values are
    equal the interval is that value.
    """
    kept = problem_means(values)
    kept = kept[~np.isnan(kept)]
    count = len(kept)
    if count == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    mean = float(kept.mean())
    if count > _NORMAL_FROM:
        from scipy.special import ndtri

        half = float(ndtri(0.5 + level / 2) * kept.std() / np.sqrt(count))
        return Estimate(mean, mean - half, mean + half, count)
    means = _bootstrap_means(kept, resamples, np.random.default_rng(derive("bootstrap", seed)))
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Estimate(mean, float(low), float(high), count)


def paired_difference(
    a: ArrayLike, b: ArrayLike, *, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> Estimate:
    """Mean of a - b over the problems where both are known, `a` and `b` in the same order of problems (and seeds).

    Paired: what makes a problem hard for both cancels, so the interval is narrower than the two accuracies'
    suggest. A problem's difference is the mean over the seeds that both have; where they share none, that of their
    means.
    """
    matched = problem_means(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64))
    difference = np.where(np.isnan(matched), problem_means(a) - problem_means(b), matched)
    return mean_interval(difference, resamples=resamples, level=level, seed=seed)


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


def _bootstrap_means(
    values: NDArray[np.float64], resamples: int, random: np.random.Generator
) -> NDArray[np.float64]:
    count = len(values)
    at_once = max(1, _CHUNK // count)
    parts = []
    for start in range(0, resamples, at_once):
        rows = random.integers(0, count, (min(at_once, resamples - start), count))
        parts.append(values[rows].mean(axis=1))
    return np.concatenate(parts)
