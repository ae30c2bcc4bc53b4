"""A run folder's log and parts as its readers see them: which segments are live, what they and the parts say.

A segment of the log is live until the part of `outcomes` with its number exists; parts of other tables with the number of a
live segment were begun and not finished, and do not count. Files that bear other names than the writer gives are not seen.
It writes nothing but the lock file. Invariant: whatever moment a writer died at, each record is read once.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.errors import UserError
from actors.ledger import Entry, Kind, Purpose, totals
from actors.messages import Hold
from actors.store.schema import LEDGER


def text_of(record: dict[str, Any]) -> str:
    """A record of the log, or some of its fields, as text. TypeError for what JSON cannot write."""
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False)


def text_of_rows(tables: dict[str, list[dict[str, Any]]]) -> str:
    """The same of a record that is rows of tables: row by row, so that other threads get their turn in between."""
    texts = (f'"{name}":[{",".join(map(text_of, rows))}]' for name, rows in tables.items())
    return f"{{{','.join(texts)}}}"


def line(*texts: str) -> bytes:
    """A record of the log as it is written, with its checksum, from texts of its fields."""
    body = f"{{{','.join(text[1:-1] for text in texts)}}}".encode(errors="replace")
    return b"%08x %s\n" % (zlib.crc32(body), body)


def read_segment(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a segment's records. A torn last line (no newline, or a wrong checksum at the end) was never acknowledged
    and is left out; a broken line before the end is damage, and raises UserError."""
    with path.open("rb") as log:
        for number, text in enumerate(log, start=1):
            if not text.endswith(b"\n"):
                # The rest of a line that is being written may be there by now: that is no next line.
                return
            check, _, body = text.removesuffix(b"\n").partition(b" ")
            try:
                good = int(check, 16) == zlib.crc32(body)
            except ValueError:
                good = False
            if good:
                yield json.loads(body)
            elif log.read(1):
                mend = f"line {number} is damaged: this log cannot be trusted"
                raise UserError.of("folder", str(path), mend)


_NAME = re.compile(r"(?:segment|part)-([0-9]{6,})")


def number_of(path: Path) -> int:
    """The number in the name of a segment or a part; -1 for a name that the writer gives to neither."""
    named = _NAME.fullmatch(path.stem)
    number = int(named[1]) if named else -1
    # One more zero would make a second name of the same number.
    return number if named and f"{number:06d}" == named[1] else -1


def numbered(folder: Path, pattern: str) -> list[Path]:
    """Files of a folder that match and bear a number, by rising number."""
    return sorted((path for path in folder.glob(pattern) if number_of(path) >= 0), key=number_of)


@contextmanager
def reading(part: Path) -> Iterator[None]:
    """Name a part (or folder of parts) that is no table of a run, in a UserError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, KeyError, OSError) as error:
        why = str(error).strip().partition("\n")[0]
        mend = f"it cannot be read ({why}): put a copy of it back, or move it away"
        raise UserError.of("folder", str(part), mend) from error


def segments(folder: Path) -> list[Path]:
    """All segments of the log, oldest first."""
    return numbered(folder / "log", "segment-*.jsonl")


def parts(folder: Path, table: str) -> list[Path]:
    """The parts of a table that count, oldest first."""
    whole = {number_of(path) for path in numbered(folder / "outcomes", "part-*.parquet")}
    return [path for path in numbered(folder / table, "part-*.parquet") if number_of(path) in whole]


def live_segments(folder: Path) -> list[Path]:
    """Segments whose records are in no part yet."""
    compacted = {number_of(part) for part in parts(folder, "outcomes")}
    return [segment for segment in segments(folder) if number_of(segment) not in compacted]


def live_records(folder: Path) -> Iterator[dict[str, Any]]:
    """Records that are in no part yet, oldest first."""
    for segment in live_segments(folder):
        yield from read_segment(segment)


_BOOKED = pa.schema([LEDGER.field(name) for name in ("purpose", "kind", "flops")])


def read_ledger(folder: Path) -> tuple[Entry, ...]:
    """What the run has cost so far, in the budget's accounting, summed by purpose and kind."""
    totals: Counter[tuple[Purpose, Kind]] = Counter()
    for part in parts(folder, "ledger"):
        with reading(part):
            # Before they are summed: 64 bits, as earlier versions wrote them, overflow without a word.
            rows = pq.read_table(part, columns=_BOOKED.names).select(_BOOKED.names).cast(_BOOKED)
        for row in rows.group_by(["purpose", "kind"]).aggregate([("flops", "sum")]).to_pylist():
            totals[row["purpose"], row["kind"]] += int(row["flops_sum"])
    for record in live_records(folder):
        for row in record.get("ledger", ()):
            totals[row["purpose"], row["kind"]] += row["flops"]
    return tuple(Entry(purpose, kind, flops) for (purpose, kind), flops in sorted(totals.items()) if flops)


def read_books(folder: Path) -> tuple[int, int]:
    """FLOPs spent and wasted so far, in the budget's accounting."""
    return totals(read_ledger(folder))


def read_holds(folder: Path) -> dict[int, Hold]:
    """The leases that are open, as the log has them, by number."""
    held: dict[int, Hold] = {}
    for record in live_records(folder):
        for hold in record.get("holds", ()):
            held[hold[0]] = Hold(*hold)
        for lease in record.get("closed", ()):
            held.pop(lease, None)
    return held


def process_name() -> str:
    """This process, as a lock file names who is to be asked."""
    return f"pid {os.getpid()} on {socket.gethostname()}"


class FolderLock:
    """One writer a folder: the lock file names who holds it, or on whose behalf (`holder`)."""

    def __init__(self, folder: Path, patience: float = 15.0, *, holder: str = "") -> None:
        # Unbuffered: what a full disk refused would be tried again at the close.
        self._file = (folder / "lock").open("a+b", buffering=0)
        try:
            self._take(folder, time.monotonic() + patience)
            self._file.truncate(0)
            self._file.write((holder or process_name()).encode())
        except BaseException:
            self._file.close()
            raise

    def _take(self, folder: Path, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                # A driver that was just killed takes its actors along within seconds.
                if time.monotonic() > deadline:
                    self._file.seek(0)
                    holder = self._file.read().decode().strip() or "another process"
                    raise UserError.of(
                        "folder",
                        str(folder),
                        f"{holder} writes this run: wait for it, or choose another folder",
                    ) from None
                time.sleep(0.2)

    def release(self) -> None:
        with suppress(OSError):
            self._file.truncate(0)
        self._file.close()
