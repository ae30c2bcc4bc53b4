"""The one writer of a run folder: a log with group commit, Parquet parts, and what counts as done.

Replicas stage records, the scheduler commits them: a record that is not committed was never written. Labels come to the
writer alone, so grading happens here. A part and the log segment that it replaces carry one number, so that a crash
between any two operations leaves each outcome readable once. It knows nothing of Ray.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from actors.errors import UserError
from actors.messages import GivenUp, Row, Settlement, Waste
from actors.reader import Judge
from actors.rows import outcome_row
from actors.schema import CANDIDATES, LEDGER, OUTCOMES
from actors.work import Outcome

Retention = Literal["all", "no_token_ids", "answers"]

SEGMENT_BYTES = 64 << 20
"""A log segment is compacted into a part when it is this large."""

_TABLES = {"candidates": CANDIDATES, "ledger": LEDGER, "outcomes": OUTCOMES}
"""In the order in which their parts are renamed: the outcomes' part is what says that a segment is compacted."""


def _line(record: dict[str, Any]) -> bytes:
    body = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def read_segment(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a segment's records. A torn last line (no newline, or a wrong checksum at the end) was never acknowledged
    and is left out; a broken line before the end is damage, and raises UserError."""
    lines = path.read_bytes().split(b"\n")
    tail = lines.pop()
    for number, line in enumerate(lines, start=1):
        check, _, body = line.partition(b" ")
        try:
            good = int(check, 16) == zlib.crc32(body)
        except ValueError:
            good = False
        if not good:
            if number == len(lines) and not tail:
                return
            raise UserError.of("folder", str(path), f"line {number} is damaged: this log cannot be trusted")
        yield json.loads(body)


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def _segments(folder: Path) -> list[Path]:
    return sorted((folder / "log").glob("segment-*.jsonl"), key=_number)


def live_segments(folder: Path) -> list[Path]:
    """Segments whose records are in no part yet."""
    compacted = {_number(p) for p in (folder / "outcomes").glob("part-*.parquet")}
    return [segment for segment in _segments(folder) if _number(segment) not in compacted]


def read_done(folder: Path) -> dict[str, str]:
    """Keys of the outcomes that a run folder holds, in parts or still in its log, each with the reason that its newest row
    gives for how it ended."""
    done: dict[str, str] = {}
    for part in sorted((folder / "outcomes").glob("part-*.parquet"), key=_number):
        rows = pq.read_table(part, columns=["key", "reason"])
        done.update(zip(rows["key"].to_pylist(), rows["reason"].to_pylist(), strict=True))
    for segment in live_segments(folder):
        for record in read_segment(segment):
            done.update((row["key"], row["reason"]) for row in record["outcomes"])
    return done


def read_books(folder: Path) -> tuple[int, int]:
    """FLOPs spent and wasted so far, in the budget's accounting."""
    totals = {"spent": 0, "wasted": 0}
    compacted = {_number(p) for p in (folder / "outcomes").glob("part-*.parquet")}
    for part in sorted((folder / "ledger").glob("part-*.parquet")):
        if _number(part) in compacted:
            for row in pq.read_table(part, columns=["kind", "flops"]).to_pylist():
                totals[row["kind"]] += row["flops"]
    for segment in live_segments(folder):
        for record in read_segment(segment):
            for row in record["ledger"]:
                totals[row["kind"]] += row["flops"]
    return totals["spent"], totals["wasted"]


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


class RunWriter:
    """Writes one run folder; see the module's invariant."""

    def __init__(self, folder: Path, judge: Judge | None, retention: Retention = "all") -> None:
        self._folder, self._judge, self._retention = folder, judge, retention
        for name in ("log", *_TABLES):
            (folder / name).mkdir(parents=True, exist_ok=True)
        _sync_folder(folder)
        self._lock = FolderLock(folder)
        for leftover in [p for name in _TABLES for p in (folder / name).glob("*.tmp")]:
            leftover.unlink()
        live = set(live_segments(folder))
        for segment in _segments(folder):
            if segment not in live:
                segment.unlink()
        for segment in live_segments(folder):
            self._compact(segment)
        numbers = [_number(p) for p in (folder / "outcomes").glob("part-*.parquet")]
        self._next = max(numbers, default=0) + 1
        self.books = read_books(folder)
        self._labels: dict[str, str | None] = {}
        self._staged: dict[tuple[str, int], tuple[tuple[Outcome, ...], list[Row]]] = {}
        self._failure = ""
        self._log = self._open()

    def label(self, labels: dict[str, str | None]) -> None:
        """Take the reference answers of tasks that are about to be queued."""
        self._labels.update(labels)

    def stage(self, task_id: str, attempt: int, outcomes: tuple[Outcome, ...], rows: list[Row]) -> None:
        """Hold a finished attempt's record until the scheduler commits or drops it."""
        self._staged[task_id, attempt] = (outcomes, rows)

    def commit(
        self, settled: Iterable[Settlement], wasted: Iterable[Waste] = (), given_up: Iterable[GivenUp] = ()
    ) -> list[str]:
        """Make settlements durable (one fsync for all of them); return the tasks whose record is not staged here."""
        if self._failure:
            raise RuntimeError(f"the run's log failed before, so it takes nothing more: {self._failure}")
        missing: list[str] = []
        lines: list[bytes] = []
        ended: list[tuple[str, int]] = []
        for settlement in settled:
            attempt = settlement.task_id, settlement.attempt
            if attempt not in self._staged:
                missing.append(settlement.task_id)
                continue
            outcomes, rows = self._staged[attempt]
            kept = settlement.spent - settlement.wasted
            lines.append(self._record(*attempt, "spent", kept, "", outcomes, rows))
            if settlement.wasted:
                why = "calls lost with their verifier"
                lines.append(self._record(*attempt, "wasted", settlement.wasted, why, (), []))
            ended.append(attempt)
        for loss in wasted:
            lines.append(self._record(loss.task_id, loss.attempt, "wasted", loss.flops, loss.reason, (), []))
            self._staged.pop((loss.task_id, loss.attempt), None)
        for end in given_up:
            lines.append(self._record(end.task_id, 0, None, 0, "", end.outcomes, []))
            ended.append((end.task_id, 0))
        try:
            self._log.write(b"".join(lines))
            _sync(self._log)
            if self._log.tell() > SEGMENT_BYTES:
                self._roll()
        except BaseException as error:
            # What is on disk now is unknown: one more line could write a record twice, or stand behind a torn one.
            self._failure = repr(error)
            raise
        for task_id, number in ended:
            self._staged.pop((task_id, number), None)
            self._labels.pop(task_id, None)
        return missing

    def close(self) -> None:
        """Compact what is left, so that the folder is Parquet alone, and let it go. After a failed write the log stays
        as it is, for the next writer to make parts of."""
        if not self._failure:
            self._roll()
            self._log.close()
            for segment in _segments(self._folder):
                if segment.stat().st_size == 0:
                    segment.unlink()
        self._lock.release()

    def _record(
        self,
        task_id: str,
        attempt: int,
        kind: Literal["spent", "wasted"] | None,
        flops: int,
        reason: str,
        outcomes: tuple[Outcome, ...],
        rows: list[Row],
    ) -> bytes:
        """One record of the log, graded and trimmed."""
        label = self._labels.get(task_id)
        verdicts: dict[str | None, bool | None] = {}

        def correct(answer: str | None) -> bool | None:
            if label is None or self._judge is None:
                return None
            if answer not in verdicts:
                verdicts[answer] = self._judge.correct(answer, label)
            return verdicts[answer]

        entry = {"task_id": task_id, "attempt": attempt, "kind": kind, "flops": flops, "reason": reason}
        record = {
            "ledger": [] if kind is None else [entry],
            "outcomes": [outcome_row(o, correct(o.answer)) for o in outcomes],
            "candidates": [self._trim({**row, "correct": correct(row["answer"])}) for row in rows],
        }
        return _line(record)

    def _trim(self, row: Row) -> Row:
        if self._retention == "all":
            return row
        dropped = ("token_ids",) if self._retention == "no_token_ids" else ("token_ids", "steps")
        return {**row, **dict.fromkeys(dropped)}

    def _open(self) -> Any:
        log = (self._folder / "log" / f"segment-{self._next:06d}.jsonl").open("ab")
        # Without its name on the disk, a synced file is lost with the power all the same.
        _sync_folder(self._folder / "log")
        return log

    def _roll(self) -> None:
        segment = Path(self._log.name)
        self._log.close()
        self._compact(segment)
        self._next += 1
        self._log = self._open()

    def _compact(self, segment: Path) -> None:
        """Turn a segment into parts; the outcomes' part is renamed last, and only then is the segment gone."""
        tables: dict[str, list[Row]] = {name: [] for name in _TABLES}
        for record in read_segment(segment):
            for name in _TABLES:
                tables[name].extend(record[name])
        if any(tables.values()):
            for name, schema in _TABLES.items():
                part = self._folder / name / f"part-{_number(segment):06d}.parquet"
                temporary = part.with_suffix(".tmp")
                pq.write_table(
                    pa.Table.from_pylist(tables[name], schema=schema), temporary, compression="zstd"
                )
                with temporary.open("rb") as handle:
                    os.fsync(handle.fileno())
                temporary.rename(part)
                _sync_folder(part.parent)
        segment.unlink()


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
