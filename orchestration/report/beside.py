"""Runs side by side in one report: what another folder has of the same problems, as rows beside a run's own.

It knows run folders and tables, nothing of measures. Invariant: only runs of the same models, grader and prompts stand side
by side, and what a run cost is told of itself alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from actors.errors import UserError
from orchestration.analysis.cells import Batches
from orchestration.analysis.collect import Collected, collect
from orchestration.runs.differences import differences, in_words
from orchestration.runs.run import Run
from orchestration.runs.stored import Stored


def collect_runs(runs: Sequence[Run], by: Sequence[str] = ()) -> Collected:
    """Several runs' outcomes and problems, as of one; of an outcome that two of them have, the last one's counts."""
    candidates = [run.stored("candidates") for run in runs]
    groupings = {text: one for run in runs for text, one in run.groupings().items()}
    return collect(
        _chained([run.stored("outcomes") for run in runs]),
        lambda text: _chained(candidates, pc.field("strategy") == text),
        _chained([run.stored("problems") for run in runs]),
        groupings,
        by,
    )


def others_beside(run: Run, folders: Sequence[str]) -> list[Run]:
    """The runs of these folders. Raises UserError for one that is no run, and for one of other models, another grader or
    other prompts: a table of both would compare what no strategy did."""
    found = []
    for folder in folders:
        other = Run(folder)
        mine, theirs = (
            # A role that no strategy asked has no model in a run.
            {name: value for name, value in one.info.get("identity", {}).items() if value}
            for one in (run, other)
        )
        both = mine.keys() & theirs.keys()
        unlike = differences({name: theirs[name] for name in both}, {name: mine[name] for name in both})
        if unlike:
            mend = f"it is a run of another set-up ({in_words(unlike)}): its rows would be of other models than those beside"
            raise UserError.of("report.beside", folder, mend)
        found.append(other)
    return found


def _chained(tables: Sequence[Stored], condition: Any = None) -> Batches:
    def batches(columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        return itertools.chain.from_iterable(table.batches(columns, condition) for table in tables)

    return batches
