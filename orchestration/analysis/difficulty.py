"""Accuracy by how difficult problems are: by their length, or by quintiles of how often their samples are right.

It knows rows and estimates, nothing of figures. Invariant: no sample serves both a problem's bin and the judgement of a
strategy on it. Bins made from samples are made from the second half of each set; what is chosen among independent samples is
judged on the first half, at as many of them as are left, and whatever reads none of the second half on what it answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    """The points of each series' largest budget that can be judged, what `axis` they lie on, `notes` on what is not among
    them and why, the `bins` of problems, and how right each strategy that can be judged there is (P, S)."""

    points: list[DifficultyPoint]
    axis: str
    notes: list[str]
    bins: Sequence[Bin] = ()
    judged: Mapping[str, Array] = field(default_factory=dict)

    def of(self, strategy: str, intervals: Intervals) -> dict[tuple[str, int], Estimate]:
        """A strategy's accuracy by panel and place on the axis, whatever its budget; empty where it cannot be judged."""
        if strategy not in self.judged:
            return {}
        correct = self.judged[strategy]
        return {(panel, x): intervals.mean(correct[members]) for panel, x, members in self.bins}


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
        ran = [row for row in rows if row.ran and row.problems]
        judged = {row.strategy: row.correct for row in ran}
        largest = list({row.series: row.strategy for row in ran}.values())
        bins = sorted(bins, key=lambda one: one[:2])
        return _difficulty(bins, judged, largest, intervals, "length of the problem", [])
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
    judged, largest, left = _judged(run, told, rows)
    half = told.size // 2
    notes = [
        f"Difficulty is told from the last {told.size - half} of the {told.size} samples that {told.source.name.text} drew "
        f"of each problem{' with each seed' if len(run.seeds) > 1 else ''}; by difficulty, what chooses among "
        f"independent samples is judged on the first {half}, so at N of at most {half}."
    ]
    if left:
        notes.append(f"Not by difficulty: {', '.join(left)}, whose answers may depend on the same samples.")
    axis = f"quintile of pass@1 (1: easiest), from {told.size - half} samples that nothing here is judged on"
    return _difficulty(quintile_bins, judged, largest, intervals, axis, notes)


def _judged(
    run: Collected, told: Estimates, rows: Sequence[Row]
) -> tuple[dict[str, Array], list[str], list[str]]:
    """The accuracies (P, S) of all that can be judged, of every series the largest budget that can, and the series that have
    none."""
    choice = told.source.name.choice
    assert choice is not None
    names = {one.name.text: one.name for one in run.strategies}
    judged: dict[str, Array] = {}
    largest: list[str] = []
    left: list[str] = []
    for series in dict.fromkeys(row.series for row in rows if row.problems):
        members = sorted(
            (row for row in rows if row.series == series and row.problems), key=lambda row: row.n
        )
        fair = []
        for row in members:
            if row.samples:
                half = told.halves.get(vote_of(Named.of(row.strategy)), {}).get(row.n)
                if half is not None:
                    judged[row.strategy] = half
                    fair.append(row.strategy)
                continue
            reads = names[row.strategy].reads(choice.sampling)
            if reads is not None and reads <= told.size // 2:
                judged[row.strategy] = row.correct
                fair.append(row.strategy)
        if fair:
            largest.append(fair[-1])
        else:
            left.append(series)
    return judged, largest, left


def _difficulty(
    bins: Sequence[Bin],
    judged: Mapping[str, Array],
    largest: Sequence[str],
    intervals: Intervals,
    axis: str,
    notes: list[str],
) -> Difficulty:
    points = [
        DifficultyPoint(panel, x, strategy, intervals.mean(judged[strategy][members]))
        for panel, x, members in bins
        for strategy in largest
    ]
    return Difficulty(points, axis, notes, bins, judged)
