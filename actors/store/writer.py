"""The one writer of a run folder: a log with group commit, Parquet parts, and what counts as done.

Replicas stage records, the scheduler commits them: a record that is not committed was never written, and one whose lease is
closed is not kept. Labels come to the writer alone, so grading happens here: by the threads that stage records, beside the
one that commits, which never waits for a grader. A part and the log segment that it replaces carry one number, so that a
crash between any two operations leaves each outcome readable once; leases that are open stand in the newest segment, so that
what died with its holder is charged. It knows nothing of Ray.
"""

from __future__ import annotations

import base64
import errno
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.errors import UserError
from actors.ledger import Entry, totals
from actors.messages import Books, Commit, Failure, Hold, Loss, Record, Row
from actors.store.failures import FailureLog
from actors.store.log import (
    FolderLock,
    line,
    live_segments,
    number_of,
    numbered,
    parts,
    read_books,
    read_holds,
    read_segment,
    segments,
    text_of,
    text_of_rows,
)
from actors.store.rows import outcome_row
from actors.store.schema import TABLES
from actors.strategy import Role
from actors.work import Judge, Outcome, State

Retention = Literal["all", "no_token_ids", "answers"]

SEGMENT_BYTES = 64 << 20
"""A log segment is compacted into a part when it is this large."""

ROW_GROUP = 4096
"""Rows that a reader of one problem's samples has to decode."""


@dataclass(frozen=True, slots=True)
class _Staged:
    """A finished attempt: its outcomes, its record as the log will have it, and what strategies failed of."""

    outcomes: tuple[Outcome, ...]
    logged: str
    failures: tuple[Failure, ...] = ()


class RunWriter:
    """Writes one run folder; see the module's invariant. An operation of the disk that fails raises UserError, and the log
    takes nothing more."""

    def __init__(
        self, folder: Path, judge: Judge | None, retention: Retention = "all", *, holder: str = ""
    ) -> None:
        self._folder, self._judge, self._retention = folder, judge, retention
        self._failure = ""
        with self._disk():
            for name in ("log", *TABLES):
                (folder / name).mkdir(parents=True, exist_ok=True)
            sync(folder)
            self._lock = FolderLock(folder, holder=holder)
        try:
            with self._disk():
                self._recover()
        except BaseException:
            self._lock.release()
            raise
        self._failures = FailureLog(folder)
        self._open_leases: dict[int, Hold] = {}
        self._labels: dict[str, str | None] = {}
        self._attempts: Counter[str] = Counter()
        # By task and lease. Whoever stages adds, whoever commits removes.
        self._staged: dict[str, dict[int, _Staged]] = {}
        self._holding, self._encoding = threading.Lock(), threading.Lock()
        self._highest = self._lives = 0
        self._tokens: Counter[Role] = Counter()
        self._ended: Counter[State] = Counter()
        self._started = time.monotonic()

    def take_over(self) -> Books:
        """Where the run stands, for a scheduler that starts: nothing is taken of an earlier one any more."""
        self._lives += 1
        return self.books()

    def books(self) -> Books:
        """Where the run stands."""
        return Books(
            spent=self._spent,
            wasted=self._wasted,
            holds=tuple(self._open_leases.values()),
            attempts=dict(self._attempts),
            next_lease=self._highest + 1,
            life=self._lives,
            outcomes=dict(self._ended),
            tokens=dict(self._tokens),
            seconds=time.monotonic() - self._started,
        )

    def label(self, labels: dict[str, str | None]) -> None:
        """Take the reference answers of tasks that are about to be queued."""
        self._labels.update(labels)

    def ended(self) -> int:
        """Outcomes that have ended in this session."""
        return self._ended.total()

    def unfinished(self) -> set[str]:
        """Tasks that were labelled and have not ended."""
        return set(self._labels)

    def stage(self, lease: int, task_id: str, record: Record) -> None:
        """Grade what a lease came to, and hold it until the scheduler commits or drops it. Safe to call from any thread.

        Raises what is wrong with the record: nothing that could not be written is ever committed. What comes after its lease
        was closed is dropped: another attempt has the task, or had it.
        """
        if self._closed(lease):
            return
        graded = self._graded(task_id, record)
        # One at a time: each holds the interpreter, and who commits is to wait for one of them at most.
        with self._encoding:
            # What no column takes would stop whoever makes a part of the log, for ever.
            for name, rows in graded.items():
                _table(name, rows)
            staged = _Staged(record.outcomes, text_of_rows(graded), record.failures)
        with self._holding:
            if not self._closed(lease):
                self._staged.setdefault(task_id, {})[lease] = staged

    def _closed(self, lease: int) -> bool:
        """Whether a lease was on the books and is not any more; leases are numbered as they are handed out."""
        return lease <= self._highest and lease not in self._open_leases

    def commit(self, commit: Commit) -> list[str]:
        """Make all of it durable (one fsync); return the tasks whose record is not staged here, which did not settle."""
        if self._failure:
            raise UserError(self._failure)
        if commit.life is not None and commit.life != self._lives:
            raise RuntimeError(
                f"a commit of scheduler {commit.life}, which scheduler {self._lives} has followed"
            )
        missing = [s.task_id for s in commit.settled if s.lease not in self._staged.get(s.task_id, {})]
        settled = [s for s in commit.settled if s.task_id not in missing]
        lines = [line(text_of({"holds": [_row(hold) for hold in commit.holds]}))] if commit.holds else []
        for one in settled:
            logged = self._staged[one.task_id][one.lease].logged
            ledger = _entries(one.task_id, one.attempt, one.lease, one.entries, "")
            lines.append(line(logged, text_of({"ledger": ledger, "closed": [one.lease]})))
        lines += [line(text_of(_lost(loss))) for loss in commit.losses]
        lines += [
            line(text_of_rows(self._graded(end.task_id, Record(end.outcomes)))) for end in commit.given_up
        ]
        with self._disk():
            self._append(lines)
            # Nothing is noted before it is durable.
            with self._holding:
                self._note(commit, missing)
            if self._log.tell() > SEGMENT_BYTES:
                self._roll()
        return missing

    def close(self) -> None:
        """Compact what is left, so that the folder is Parquet alone, and let it go. After a failed write the log stays as it
        is, for the next writer to make parts of; with leases open, that they are stays in it."""
        try:
            if not self._failure:
                with self._disk():
                    self._roll()
                    self._log.close()
                    for segment in segments(self._folder):
                        if segment.stat().st_size == 0:
                            segment.unlink()
        finally:
            self._lock.release()

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Whatever fails inside leaves what is on disk unknown: one more line could write a record twice, or stand behind
        a torn one."""
        try:
            yield
        except OSError as error:
            mend = "make room" if error.errno in _FULL else "see that this machine can write there"
            go_on = "the same command goes on where it stopped"
            why = os.strerror(error.errno) if error.errno else str(error)
            self._failure = str(UserError.of("folder", str(self._folder), f"{why}: {mend}; {go_on}"))
            raise UserError(self._failure) from error
        except BaseException as error:
            self._failure = self._failure or repr(error)
            raise

    def _recover(self) -> None:
        """Bring the folder to where its last writer was, and begin a segment."""
        folder = self._folder
        self._clear()
        self._spent, self._wasted = read_books(folder)
        lost = read_holds(folder)
        numbers = [number_of(path) for path in (*parts(folder, "outcomes"), *segments(folder))]
        self._next = max(numbers, default=0) + 1
        self._log = self._open()
        self._charge_lost(lost)
        for segment in live_segments(folder)[:-1]:
            self._compact(segment)

    def _clear(self) -> None:
        """Remove what a writer that died had begun, and segments that its parts have replaced."""
        for name in TABLES:
            for leftover in numbered(self._folder / name, "part-*.tmp"):
                leftover.unlink()
        live = set(live_segments(self._folder))
        for segment in segments(self._folder):
            if segment not in live:
                segment.unlink()

    def _charge_lost(self, lost: dict[int, Hold]) -> None:
        """Charge the leases that were open when the last writer ended."""
        losses = []
        for hold in lost.values():
            entries = (Entry("unknown", "lost", hold.flops),)
            reason = f"in the hands of {hold.replica} when the run was cut off"
            losses.append(Loss(hold.lease, hold.task_id, hold.attempt, entries, reason))
        self._append([line(text_of(_lost(loss))) for loss in losses])
        self._wasted += sum(loss.flops for loss in losses)

    def _note(self, commit: Commit, missing: list[str]) -> None:
        """Keep in memory what has just become durable."""
        for hold in commit.holds:
            self._open_leases[hold.lease] = hold
            self._highest = max(self._highest, hold.lease)
        for one in commit.settled:
            if one.task_id in missing:
                continue
            self._open_leases.pop(one.lease, None)
            self._book(one.entries)
            staged = self._staged[one.task_id][one.lease]
            self._failures.note(staged.failures)
            self._end(one.task_id, staged.outcomes)
        for loss in commit.losses:
            self._drop(loss.task_id, loss.lease)
            self._open_leases.pop(loss.lease, None)
            self._book(loss.entries)
            self._attempts[loss.task_id] += loss.blamed
        for end in commit.given_up:
            self._end(end.task_id, end.outcomes)

    def _drop(self, task_id: str, lease: int) -> None:
        """Let go of what a lease that is lost had staged."""
        staged = self._staged.get(task_id, {})
        staged.pop(lease, None)
        if not staged:
            self._staged.pop(task_id, None)

    def _book(self, entries: tuple[Entry, ...]) -> None:
        spent, wasted = totals(entries)
        self._spent += spent
        self._wasted += wasted

    def _end(self, task_id: str, outcomes: tuple[Outcome, ...]) -> None:
        self._staged.pop(task_id, None)
        self._labels.pop(task_id, None)
        self._attempts.pop(task_id, None)
        for outcome in outcomes:
            self._ended[outcome.state] += 1
            self._tokens.update(outcome.spent.tokens)

    def _graded(self, task_id: str, record: Record) -> dict[str, list[Row]]:
        """A record as rows of the log, graded and trimmed."""
        label = self._labels.get(task_id)
        verdicts: dict[str, bool] = {}

        def correct(answer: str | None) -> bool | None:
            if label is None or self._judge is None:
                return None
            if answer is None:
                return False
            if answer not in verdicts:
                verdicts[answer] = self._judge.correct(answer, label)
            return verdicts[answer]

        logged: dict[str, list[Row]] = {
            "outcomes": [
                # What did not run is neither right nor wrong.
                outcome_row(o, correct(o.answer) if o.state == "answered" else None)
                for o in record.outcomes
            ],
            "candidates": [
                self._trim({**row, "correct": correct(row["answer"])}) for row in record.candidates
            ],
        }
        if record.decisions:
            logged["decisions"] = record.decisions
        if self._retention == "all":
            logged["samples"] = [_coded(row) for row in record.samples]
            logged["scores"] = [_coded(row) for row in record.scores]
        return logged

    def _trim(self, row: Row) -> Row:
        if self._retention == "all":
            return row
        dropped = ("token_ids",) if self._retention == "no_token_ids" else ("token_ids", "steps")
        return {**row, **dict.fromkeys(dropped)}

    def _open(self) -> Any:
        # Unbuffered: what a failed write left over would be written once more at the close, behind the next writer's back.
        log = (self._folder / "log" / f"segment-{self._next:06d}.jsonl").open("ab", buffering=0)
        # Without its name on the disk, a synced file is lost with the power all the same.
        sync(self._folder / "log")
        return log

    def _append(self, lines: list[bytes]) -> None:
        """Put lines at the log's end, durably."""
        rest = memoryview(b"".join(lines))
        while rest:
            rest = rest[self._log.write(rest) :]
        os.fsync(self._log.fileno())

    def _roll(self) -> None:
        """Begin a new segment with the leases that are open, and make parts of the old one."""
        full = self._log
        self._next += 1
        self._log = self._open()
        if self._open_leases:
            self._append([line(text_of({"holds": [_row(hold) for hold in self._open_leases.values()]}))])
        full.close()
        self._compact(Path(full.name))

    def _compact(self, segment: Path) -> None:
        """Turn a segment into parts; the outcomes' part is renamed last, and only then is the segment gone."""
        tables: dict[str, list[Row]] = {name: [] for name in TABLES}
        for record in read_segment(segment):
            for name in TABLES:
                tables[name].extend(record.get(name, ()))
        if any(tables.values()):
            for name in TABLES:
                rows = tables.pop(name)
                if not rows and name != "outcomes":
                    continue
                part = self._folder / name / f"part-{number_of(segment):06d}.parquet"
                table = _table(name, rows)
                del rows
                write_part(table, part)
        segment.unlink()


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_NUMBERS = {"token_ids": "<i4", "logprobs": "<f4", "certainties": "<f4", "left": "<i4"}
"""Columns of samples and scores that travel as bytes, and their numbers."""


def _coded(row: Row) -> Row:
    """A row of samples or scores with its bytes as text, for the log."""
    texts = {name: base64.b64encode(row[name]).decode() for name in _NUMBERS if name in row}
    return row | texts | {"key": row["key"].hex()}


def _decoded(row: Row) -> Row:
    numbers = {
        name: np.frombuffer(base64.b64decode(row[name]), kind)
        for name, kind in _NUMBERS.items()
        if name in row
    }
    return row | numbers | {"key": bytes.fromhex(row["key"])}


def _table(name: str, rows: list[Row]) -> pa.Table:
    """Rows of the log as a table."""
    schema = TABLES[name]
    if name in ("samples", "scores"):
        rows = [_decoded(row) for row in rows]
    return pa.Table.from_arrays(
        [pa.array([row.get(f.name) for row in rows], f.type) for f in schema], schema=schema
    )


def _row(hold: Hold) -> list[Any]:
    return [hold.lease, hold.task_id, hold.attempt, hold.replica, hold.flops, hold.granted]


def _entries(task_id: str, attempt: int, lease: int, entries: tuple[Entry, ...], reason: str) -> list[Row]:
    same = {"task_id": task_id, "attempt": attempt, "lease": lease, "reason": reason}
    return [{**same, "purpose": e.purpose, "kind": e.kind, "flops": e.flops} for e in entries]


def _lost(loss: Loss) -> dict[str, Any]:
    return {
        "ledger": _entries(loss.task_id, loss.attempt, loss.lease, loss.entries, loss.reason),
        "closed": [loss.lease],
    }


def write_part(table: pa.Table, part: Path) -> None:
    """Write a part so that it has its name only when it is whole, and both are durable then."""
    temporary = part.with_suffix(".tmp")
    pq.write_table(table, temporary, compression="zstd", row_group_size=ROW_GROUP)
    sync(temporary)
    temporary.rename(part)
    sync(part.parent)


def sync(path: Path) -> None:
    """Make a file's contents, or the names in a folder, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
