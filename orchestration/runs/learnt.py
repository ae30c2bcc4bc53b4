"""What a folder tells of the courses that its prompts took: what a price had learnt whose process is gone.

It knows the columns of decisions and the cells of a table, nothing of prompts by name or of budgets. Invariant: memory by
cells, never by prompts: every move is counted where it was made, however often its outcome was made again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from actors.store.log import live_records, live_segments, parts, reading
from actors.store.schema import DECISIONS
from orchestration.allocation.courses import Courses
from orchestration.allocation.value_table import ValueTable

_COLUMNS = ("strategy", "seed", "index", "stage", "cell", "flops", "repeated")

_SCHEMA = pa.schema([DECISIONS.field(name) for name in _COLUMNS])

BATCH = 1 << 16
"""Decisions that are decoded at once."""

_ROW = np.dtype([("state", np.int64), ("index", np.int64), ("flops", np.float64), ("repeated", np.bool_)])

Rows = NDArray[np.void]
"""Decisions in the order in which they were written, those of an outcome together."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """Reads the courses of one strategy's prompts, of some run `seeds`, from a folder that may be written meanwhile. Where
    those that got nothing are asked anew (`anew`), they wait at no cell: they are still to come."""

    folder: Path
    strategy: str
    table: ValueTable
    seeds: tuple[int, ...]
    anew: bool = False

    def __call__(self) -> Courses:
        while True:
            before = live_segments(self.folder)
            try:
                found = self._read()
            except FileNotFoundError:
                # A segment has become a part since the folder was listed.
                continue
            if live_segments(self.folder) == before:
                return found

    def _read(self) -> Courses:
        courses = Courses(self.table)
        rest = np.empty(0, _ROW)
        for batch in self._batches():
            rows = np.concatenate([rest, batch])
            # The last outcome may go on in the next batch.
            begun = np.flatnonzero(rows["index"] == 0)
            end = int(begun[-1]) if len(begun) else 0
            self._count(courses, rows[:end])
            rest = rows[end:]
        self._count(courses, rest)
        courses.ended = 0
        return courses

    def _count(self, courses: Courses, rows: Rows) -> None:
        """Count whole outcomes, row by row: of one that was made again, what it repeated was counted then."""
        if not len(rows):
            return
        first = rows["index"] == 0
        last = np.append(first[1:], True)
        moved = ~last & ~rows["repeated"]
        courses.add_many(
            rows["state"][:-1][moved[:-1]], rows["state"][1:][moved[:-1]], rows["flops"][:-1][moved[:-1]]
        )
        # Of each outcome the first row that it came to itself: where it began, or had stood.
        outcome = np.cumsum(first) - 1
        fresh = np.flatnonzero(~rows["repeated"])
        mine, at = np.unique(outcome[fresh], return_index=True)
        begun, stood = rows["state"][fresh[at]], ~first[fresh[at]]
        stopped = rows["state"][last][mine]
        courses.end_many(begun[stood], stopped[stood], again=True)
        courses.end_many(begun[~stood], stopped[~stood])
        if self.anew:
            courses.stopped[: self.table.undrawn] = 0

    def _batches(self) -> Iterator[Rows]:
        # The log first: a segment that becomes a part meanwhile is seen to be gone.
        logged = [
            {name: row.get(name) for name in _COLUMNS}
            for record in live_records(self.folder)
            for row in record.get("decisions", ())
        ]
        for part in parts(self.folder, "decisions"):
            with reading(part):
                for batch in ds.dataset([part], schema=_SCHEMA, format="parquet").to_batches(
                    batch_size=BATCH
                ):
                    yield self._rows(pa.Table.from_batches([batch]))
        yield self._rows(pa.Table.from_pylist(logged, schema=_SCHEMA))

    def _rows(self, table: pa.Table) -> Rows:
        seeds = pc.is_in(table["seed"], pa.array(self.seeds, pa.int64()))
        table = table.filter(pc.and_(pc.equal(table["strategy"], self.strategy), seeds))
        stages = pa.array([stage.name for stage in self.table.stages])
        rows = np.empty(len(table), _ROW)
        rows["state"] = np.asarray(self.table.starts)[pc.index_in(table["stage"], stages).to_numpy()]
        rows["state"] += table["cell"].to_numpy()
        rows["index"] = table["index"].to_numpy()
        rows["flops"] = pc.cast(table["flops"], pa.float64()).to_numpy()
        rows["repeated"] = table["repeated"].fill_null(False).to_numpy()
        return rows
