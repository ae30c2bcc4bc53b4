"""Accuracy by how difficult problems are: by their length, or by quintiles of how often their samples are right.

It knows rows and estimates, nothing of figures. Invariant: no sample serves both a problem's bin and the judgement of a
strategy on it. Bins made from samples are made from the second half of each set; what is chosen among independent samples is
judged on the first half, at as many of them as are left, and whatever reads none of the second half on what it answered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestration.analysis.chains import Bin
from orchestration.analysis.collect import Array, Collected, Named
from orchestration.analysis.estimates import Estimates
from orchestration.analysis.rows import Intervals, Row, vote_of
from orchestration.analysis.statistics import Estimate, problem_means, quintiles

_MOST_LENGTHS = 12
_MOST_FAMILIES = 8
_LEAST_FOR_QUINTILES = 25

NO_MEASURE = (
    "No accuracy by difficulty: the problems have no lengths to tell it by, or too many, and no strategy drew a whole set of "
    "independent samples that could."
)


@dataclass(frozen=True, slots=True)
class DifficultyPoint:
    """Accuracy of a row on problems of one difficulty `x` within a `panel`."""

    panel: str
    x: int
    strategy: str
    accuracy: Estimate


@dataclass(frozen=True, slots=True)
class Difficulty:
    """Its points, what `axis` they lie on, `notes` on what is not among them and why, and the `bins` of problems."""

    points: list[DifficultyPoint]
    axis: str
    notes: list[str]
    bins: Sequence[Bin] = ()


def by_difficulty(
    run: Collected, told: Estimates | None, rows: Sequence[Row], intervals: Intervals
) -> Difficulty:
    """Accuracy of every series' largest budget that can be judged."""
    few = len(run.families) <= _MOST_FAMILIES
    if run.lengths is not None and few and len(np.unique(run.lengths)) <= _MOST_LENGTHS:
        bins = [
            (
                run.families[panel],
                int(length),
                np.flatnonzero((run.panels == panel) & (run.lengths == length)),
            )
            for panel in range(len(run.families))
            for length in np.unique(run.lengths[run.panels == panel])
        ]
        largest = {row.series: row for row in rows if row.ran and row.problems}
        judged = {row.strategy: row.correct for row in largest.values()}
        bins = sorted(bins, key=lambda one: one[:2])
        return Difficulty(_points(bins, judged, intervals), "length of the problem", [], bins)
    if told is None:
        return Difficulty([], "", [NO_MEASURE])
    if told.size < 2:
        note = (
            "No accuracy by difficulty: half of a problem's samples would have to tell how difficult it is, and the other "
            f"half to be judged, and there is one ({told.source.name.text})."
        )
        return Difficulty([], "", [note])
    rate = problem_means(told.rate)
    kept = np.flatnonzero(~np.isnan(rate))
    if len(kept) < _LEAST_FOR_QUINTILES:
        note = (
            f"No accuracy by difficulty: it takes {_LEAST_FOR_QUINTILES} problems whose samples tell how difficult they are, "
            f"and there {'is' if len(kept) == 1 else 'are'} {len(kept):,}."
        )
        return Difficulty([], "", [note])
    fifths = quintiles(rate[kept])
    quintile_bins: list[Bin] = [("", fifth, kept[fifths == fifth]) for fifth in range(1, 6)]
    judged, left = _judged(run, told, rows)
    half = told.size // 2
    notes = [
        f"Difficulty is told from the last {told.size - half} of the {told.size} samples that {told.source.name.text} drew "
        f"of each problem{' with each seed' if len(run.seeds) > 1 else ''}; by difficulty, what chooses among "
        f"independent samples is judged on the first {half}, so at N of at most {half}."
    ]
    if left:
        notes.append(f"Not by difficulty: {', '.join(left)}, whose answers may depend on the same samples.")
    axis = f"quintile of pass@1 (1: easiest), from {told.size - half} samples that nothing here is judged on"
    return Difficulty(_points(quintile_bins, judged, intervals), axis, notes, quintile_bins)


def _judged(run: Collected, told: Estimates, rows: Sequence[Row]) -> tuple[dict[str, Array], list[str]]:
    """Of every series the largest budget that can be judged, with its accuracies (P, S), and the series that have none."""
    choice = told.source.name.choice
    assert choice is not None
    names = {one.name.text: one.name for one in run.strategies}
    judged: dict[str, Array] = {}
    left: list[str] = []
    for series in dict.fromkeys(row.series for row in rows if row.problems):
        members = sorted(
            (row for row in rows if row.series == series and row.problems), key=lambda row: row.n
        )
        for row in reversed(members):
            if row.samples:
                half = told.halves.get(vote_of(Named.of(row.strategy)), {}).get(row.n)
                if half is not None:
                    judged[row.strategy] = half
                    break
                continue
            reads = names[row.strategy].reads(choice.sampling)
            if reads is not None and reads <= told.size // 2:
                judged[row.strategy] = row.correct
                break
        else:
            left.append(series)
    return judged, left


def _points(bins: Sequence[Bin], judged: dict[str, Array], intervals: Intervals) -> list[DifficultyPoint]:
    return [
        DifficultyPoint(panel, x, strategy, intervals.mean(correct[members]))
        for panel, x, members in bins
        for strategy, correct in judged.items()
    ]
