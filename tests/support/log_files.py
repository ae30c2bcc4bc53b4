"""Files of a run folder as the run writer leaves them, with rows that a test gives."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from actors.store import log


def logged(folder: Path, number: int, *records: dict[str, object]) -> Path:
    """A segment of the log."""
    path = folder / "log" / f"segment-{number:06d}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"".join(log.line(log.text_of(record)) for record in records))
    return path


def ledger_part(folder: Path, number: int, rows: list[dict[str, object]]) -> None:
    """A part of the ledger."""
    (folder / "ledger").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "ledger" / f"part-{number:06d}.parquet")
