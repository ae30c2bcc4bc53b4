"""A run folder's log and parts as its readers see them: which segments are live, what they and the parts say.

A segment of the log is live until the part of `outcomes` with its number exists; parts of other tables with the number of a
live segment were begun and not finished, and do not count. It writes nothing but the lock file. Invariant: whatever moment
a writer died at, each record is read once.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from actors.errors import UserError
from actors.leases import Hold
from actors.ledger import Entry, Kind, Purpose


def line(record: dict[str, Any]) -> bytes:
    """A record of the log with its checksum, as it is written."""
    body = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def read_segment(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a segment's records. A torn last line (no newline, or a wrong checksum at the end) was never acknowledged
    and is left out; a broken line before the end is damage, and raises UserError."""
    lines = path.read_bytes().split(b"\n")
    tail = lines.pop()
    for number, text in enumerate(lines, start=1):
        check, _, body = text.partition(b" ")
        try:
            good = int(check, 16) == zlib.crc32(body)
        except ValueError:
            good = False
        if not good:
            if number == len(lines) and not tail:
                return
            raise UserError.of("folder", str(path), f"line {number} is damaged: this log cannot be trusted")
        yield json.loads(body)


def number_of(path: Path) -> int:
    """The number in the name of a segment or a part; -1 for a name that is neither's."""
    digits = path.stem.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else -1


def segments(folder: Path) -> list[Path]:
    """All segments of the log, oldest first."""
    return sorted((folder / "log").glob("segment-*.jsonl"), key=number_of)


def parts(folder: Path, table: str) -> list[Path]:
    """The parts of a table that count, oldest first."""
    whole = {number_of(path) for path in (folder / "outcomes").glob("part-*.parquet")} - {-1}
    found = (folder / table).glob("part-*.parquet")
    return sorted((path for path in found if number_of(path) in whole), key=number_of)


def live_segments(folder: Path) -> list[Path]:
    """Segments whose records are in no part yet."""
    compacted = {number_of(part) for part in parts(folder, "outcomes")}
    return [segment for segment in segments(folder) if number_of(segment) not in compacted]


def live_records(folder: Path) -> Iterator[dict[str, Any]]:
    """Records that are in no part yet, oldest first."""
    for segment in live_segments(folder):
        yield from read_segment(segment)


def read_done(folder: Path) -> dict[str, str]:
    """Keys of the outcomes that a run folder holds, in parts or still in its log, each with the reason that its newest row
    gives for how it ended."""
    done: dict[str, str] = {}
    for part in parts(folder, "outcomes"):
        rows = pq.read_table(part, columns=["key", "reason"])
        done.update(zip(rows["key"].to_pylist(), rows["reason"].to_pylist(), strict=True))
    for record in live_records(folder):
        done.update((row["key"], row["reason"]) for row in record.get("outcomes", ()))
    return done


def read_ledger(folder: Path) -> tuple[Entry, ...]:
    """What the run has cost so far, in the budget's accounting, summed by purpose and kind."""
    totals: Counter[tuple[Purpose, Kind]] = Counter()
    columns = ["purpose", "kind", "flops"]
    for part in parts(folder, "ledger"):
        summed = (
            pq.read_table(part, columns=columns).group_by(["purpose", "kind"]).aggregate([("flops", "sum")])
        )
        for row in summed.to_pylist():
            totals[row["purpose"], row["kind"]] += row["flops_sum"]
    for record in live_records(folder):
        for row in record.get("ledger", ()):
            totals[row["purpose"], row["kind"]] += row["flops"]
    return tuple(Entry(purpose, kind, flops) for (purpose, kind), flops in sorted(totals.items()) if flops)


def read_books(folder: Path) -> tuple[int, int]:
    """FLOPs spent and wasted so far, in the budget's accounting."""
    entries = read_ledger(folder)
    wasted = sum(entry.flops for entry in entries if entry.wasted)
    return sum(entry.flops for entry in entries) - wasted, wasted


def read_holds(folder: Path) -> dict[int, Hold]:
    """The leases that are open, as the log has them, by number."""
    held: dict[int, Hold] = {}
    for record in live_records(folder):
        for hold in record.get("holds", ()):
            held[hold[0]] = Hold(*hold)
        for lease in record.get("closed", ()):
            held.pop(lease, None)
    return held


class FolderLock:
    """One writer a folder: the lock file names who holds it."""

    def __init__(self, folder: Path, patience: float = 15.0) -> None:
        self._file = (folder / "lock").open("a+")
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                # A driver that was just killed takes its actors along within seconds.
                if time.monotonic() > deadline:
                    self._file.seek(0)
                    holder = self._file.read().strip() or "another process"
                    raise UserError.of(
                        "folder",
                        str(folder),
                        f"{holder} writes this run: wait for it, or choose another folder",
                    ) from None
                time.sleep(0.2)
        self._file.truncate(0)
        self._file.write(f"pid {os.getpid()} on {socket.gethostname()}")
        self._file.flush()

    def release(self) -> None:
        self._file.truncate(0)
        self._file.close()
