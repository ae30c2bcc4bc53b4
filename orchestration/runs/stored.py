"""One table of a run as it stood at one moment, read batch by batch, as often as is wanted.

It knows files and columns, nothing of what they mean. Invariant: every reading gives the same rows in the order in which they
were written, and of the parts no more than a row group is in memory; rows that were still in the log then are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from actors.store.log import reading


@dataclass(frozen=True, slots=True)
class Stored:
    """`parts`, oldest first, and the rows of the log that were in none of them."""

    schema: pa.Schema
    parts: tuple[Path, ...]
    logged: pa.Table

    def batches(self, columns: Sequence[str], condition: Any = None) -> Iterator[pa.RecordBatch]:
        """The rows that meet the condition (an expression of pyarrow.dataset; None: all)."""
        for part in self.parts:
            with reading(part):
                # Nothing is read ahead: a part may be large, and all of a run's are.
                yield from ds.dataset(part, schema=self.schema, format="parquet").to_batches(
                    columns=list(columns),
                    filter=condition,
                    batch_readahead=0,
                    fragment_readahead=0,
                    use_threads=False,
                )
        if len(self.logged):
            yield from ds.dataset(self.logged).to_batches(columns=list(columns), filter=condition)
