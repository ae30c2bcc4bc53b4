"""Outcomes as cells: one for each strategy, problem and run seed, in which the newest row counts.

It knows the columns that say which cell a row belongs to, nothing of the others. Rows come in batches and one column at a
time, so of a million outcomes a few bytes each are in memory. Invariant: every array has the shape (T, P, S) of strategies
and problems, in the order in which they first come, and seeds, by rising number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestration.analysis.places import Places

Batches = Callable[[Sequence[str]], Iterable[pa.RecordBatch]]
"""Rows of a table with these columns, the same in the same order whenever it is called."""


class Cells:
    """The cells of a run's outcomes; `newest` says of every row whether it counts, or a newer one has replaced it."""

    def __init__(self, outcomes: Batches) -> None:
        self._outcomes = outcomes
        self.places = Places(batch["problem_id"] for batch in outcomes(["problem_id"]))
        texts: dict[str, int] = {}
        seeds: set[int] = set()
        rows = 0
        for batch in outcomes(["strategy", "seed"]):
            rows += len(batch)
            for text in pc.unique(batch["strategy"]).to_pylist():
                texts.setdefault(text, len(texts))
            seeds.update(pc.unique(batch["seed"]).to_pylist())
        self.strategies, self.seeds = list(texts), sorted(seeds)
        self.shape = len(texts), len(self.places), len(seeds)
        self._size = int(np.prod(self.shape))
        # Half of what numpy takes by itself, for as long as that holds every number.
        self._kind = np.int32 if max(rows, self._size) < 2**31 else np.int64
        self._rows = rows
        self._of_rows = self._column(["problem_id", "strategy", "seed"], self._cells, self._kind)
        newest: NDArray[Any] = np.full(self._size, -1, dtype=self._kind)
        newest[self._of_rows] = np.arange(rows, dtype=self._kind)
        self._told = np.flatnonzero(newest >= 0).astype(self._kind)
        self._newest = newest[self._told]
        self.newest = np.zeros(rows, dtype=bool)
        self.newest[self._newest] = True

    def values(self, columns: Sequence[str], read: Callable[[pa.RecordBatch], Any], absent: Any) -> Any:
        """What `read` makes of the newest row of each cell, `absent` where there is no row."""
        found = self._column(columns, read, np.asarray(absent).dtype)
        values = np.full(self._size, absent)
        values[self._told] = found[self._newest]
        return values.reshape(self.shape)

    def counts(self, columns: Sequence[str], read: Callable[[pa.RecordBatch], Any]) -> NDArray[np.uint8]:
        """For how many rows of each cell, replaced ones too, `read` says yes."""
        counts = np.zeros(self._size, dtype=np.uint8)
        np.add.at(counts, self._of_rows[self._column(columns, read, np.bool_)], 1)
        return counts.reshape(self.shape)

    def _cells(self, batch: pa.RecordBatch) -> NDArray[np.int64]:
        coded = batch["strategy"].dictionary_encode()
        codes = np.array([self.strategies.index(text) for text in coded.dictionary.to_pylist()], np.int64)
        strategy = codes[coded.indices.to_numpy()]
        _, problems, seeds = self.shape
        seed = np.searchsorted(self.seeds, batch["seed"].to_numpy())
        cells: NDArray[np.int64] = (strategy * problems + self.places.of(batch["problem_id"])) * seeds + seed
        return cells

    def _column(self, columns: Sequence[str], read: Callable[[pa.RecordBatch], Any], kind: Any) -> Any:
        found = np.empty(self._rows, dtype=kind)
        start = 0
        for batch in self._outcomes(columns):
            found[start : start + len(batch)] = read(batch)
            start += len(batch)
        return found
