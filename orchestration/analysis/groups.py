"""Accuracy by columns of the problems' metadata: of each series' largest budget, within each value of a column.

It knows rows and columns, nothing of tables. Invariant: within a column the groups' problems add up to those of the run; a
strategy that has no number on any problem of a group has none there, and its count says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestration.analysis.collect import Collected
from orchestration.analysis.rows import Intervals, Row
from orchestration.analysis.statistics import Estimate


@dataclass(frozen=True, slots=True)
class Group:
    """Accuracy of a `strategy` on the problems whose `column` has this `value`: on how many it has a number stands in the
    estimate, `asked` says how many with an answer it was asked."""

    column: str
    value: str
    strategy: str
    asked: int
    accuracy: Estimate


def by_columns(run: Collected, rows: Sequence[Row], intervals: Intervals) -> list[Group]:
    """Every column's groups, each with the series in the order of the rows."""
    chosen = _largest(rows)
    asked = {one.name.text: np.any(one.asked, axis=1) & run.labelled for one in run.strategies}
    found = []
    for column in run.columns:
        for place, value in enumerate(column.values):
            members = np.flatnonzero(column.places == place)
            found += [
                Group(
                    column.name,
                    value,
                    row.strategy,
                    int(np.count_nonzero(asked[row.strategy][members])),
                    intervals.mean(row.correct[members]),
                )
                for row in chosen
            ]
    return found


def _largest(rows: Sequence[Row]) -> list[Row]:
    """Of every series the largest budget that ran on something; of one that ran on nothing the largest."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.ran and (row.problems or row.series not in found):
            found[row.series] = row
    return list(found.values())
