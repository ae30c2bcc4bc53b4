"""What was acknowledged is there, once, whatever was interrupted; what was not committed is not."""

from __future__ import annotations

import math
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import actors.run_writer
from actors.errors import UserError
from actors.messages import GivenUp, Row, Settlement, Waste
from actors.run_writer import FolderLock, RunWriter, read_books, read_done, read_segment
from actors.schema import CANDIDATES, LEDGER, OUTCOMES
from actors.work import Cost, Outcome, State

from .tiny import LastDigit


def outcome(
    task: str, strategy: str = "greedy", state: State = "answered", answer: str | None = "4"
) -> Outcome:
    return Outcome(
        key=f"{task}/{strategy}",
        problem_id=task,
        strategy=strategy,
        seed=0,
        state=state,
        reason="",
        answer=answer,
        generations=1,
        truncated=0,
        kept_tokens=3,
        spent=Cost(3, 2, 30, 20),
        attributed=Cost(3, 2, 33, 22),
        wall_seconds=0.5,
    )


def rows(one: Outcome, answers: tuple[str | None, ...] = ("4",)) -> list[Row]:
    return [
        {
            "key": one.key,
            "problem_id": one.problem_id,
            "strategy": one.strategy,
            "seed": 0,
            "index": index,
            "parent": -1,
            "depth": 0,
            "steps": ["2 + 2\n", f"#### {answer}"],
            "step_tokens": [3, 6],
            "token_ids": [5, 6, 7, 8, 9, 1],
            "logprobs": [-0.5, -math.inf],
            "scores": [0.25, 0.75],
            "finish_reason": "eos",
            "answer": answer,
            "tokens": 6,
            "kept": True,
        }
        for index, answer in enumerate(answers)
    ]


def stage(writer: RunWriter, task: str, attempt: int = 1, *strategies: str) -> None:
    outcomes = tuple(outcome(task, strategy) for strategy in strategies or ("greedy", "majority"))
    writer.stage(task, attempt, outcomes, [row for one in outcomes for row in rows(one)])


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    parts = sorted((folder / name).glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def column(folder: Path, name: str, key: str) -> list[Any]:
    return [row[key] for row in table(folder, name)]


# What is written


def test_a_finished_run_is_parquet_with_the_public_columns(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, None)
    stage(writer, "a")
    assert writer.commit([Settlement("a", 1, 50)]) == []
    writer.close()
    assert not list((tmp_path / "log").iterdir())
    for name, schema in {"outcomes": OUTCOMES, "candidates": CANDIDATES, "ledger": LEDGER}.items():
        [part] = (tmp_path / name).iterdir()
        assert pq.read_table(part).schema == schema
    first, second = table(tmp_path, "outcomes")
    assert (first["key"], second["key"]) == ("a/greedy", "a/majority")
    assert (first["spent_flops"], first["spent_flops_exact"]) == (30, 20)
    assert (first["attributed_flops"], first["attributed_flops_exact"]) == (33, 22)
    candidate = table(tmp_path, "candidates")[0]
    assert candidate["steps"] == ["2 + 2\n", "#### 4"]
    assert candidate["logprobs"] == [-0.5, -math.inf]
    assert table(tmp_path, "ledger") == [
        {"task_id": "a", "attempt": 1, "kind": "spent", "flops": 50, "reason": ""}
    ]


def test_what_is_staged_and_not_committed_is_nowhere(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, None)
    stage(writer, "a")
    stage(writer, "b")
    writer.commit([Settlement("b", 1, 5)])
    assert set(read_done(tmp_path)) == {"b/greedy", "b/majority"}
    writer.close()
    assert set(column(tmp_path, "outcomes", "problem_id")) == {"b"}
    assert set(column(tmp_path, "candidates", "problem_id")) == {"b"}


def test_a_settlement_without_a_record_is_missing_and_writes_nothing(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, None)
    stage(writer, "a", 2)
    stage(writer, "b")
    settled = [Settlement("a", 1, 7), Settlement("b", 1, 8), Settlement("c", 1, 9)]
    assert writer.commit(settled) == ["a", "c"]
    assert writer.commit([Settlement("b", 1, 8)]) == ["b"], "it was written before"
    assert read_books(tmp_path) == (8, 0)
    writer.close()


def test_waste_is_on_the_books_and_drops_its_record(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, None)
    stage(writer, "a", 1)
    writer.commit([], [Waste("a", 1, 40, "ActorUnavailableError: killed")])
    assert writer.commit([Settlement("a", 1, 40)]) == ["a"]
    stage(writer, "a", 2)
    writer.commit([Settlement("a", 2, 25)], [Waste("b", 1, 2, "lost")])
    assert set(read_done(tmp_path)) == {"a/greedy", "a/majority"}
    assert read_books(tmp_path) == (25, 42)
    writer.close()
    assert read_books(tmp_path) == (25, 42)
    assert set(read_done(tmp_path)) == {"a/greedy", "a/majority"}
    assert [(r["task_id"], r["attempt"], r["kind"], r["flops"]) for r in table(tmp_path, "ledger")] == [
        ("a", 1, "wasted", 40),
        ("a", 2, "spent", 25),
        ("b", 1, "wasted", 2),
    ]
    assert table(tmp_path, "ledger")[0]["reason"] == "ActorUnavailableError: killed"
    with RunWriterAgain(tmp_path) as again:
        assert again.books == (25, 42)


@contextmanager
def RunWriterAgain(folder: Path, judge: LastDigit | None = None) -> Iterator[RunWriter]:
    writer = RunWriter(folder, judge)
    yield writer
    writer.close()


def test_tasks_that_are_given_up_leave_their_outcomes(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, LastDigit())
    writer.label({"a": "4"})
    ends = (outcome("a", "greedy", "quarantined", None), outcome("a", "majority", "quarantined", None))
    writer.commit([], [Waste("a", 3, 9, "died")], [GivenUp("a", ends)])
    writer.close()
    assert column(tmp_path, "outcomes", "state") == ["quarantined", "quarantined"]
    assert column(tmp_path, "outcomes", "correct") == [False, False]
    assert table(tmp_path, "candidates") == []


def test_what_is_labelled_is_graded_and_nothing_else(tmp_path: Path) -> None:
    asked: list[tuple[str | None, str]] = []

    class Judge(LastDigit):
        def correct(self, answer: str | None, reference: str) -> bool:
            asked.append((answer, reference))
            return super().correct(answer, reference)

    writer = RunWriter(tmp_path, Judge())
    writer.label({"a": "4", "b": None})
    for task in "abc":
        one = outcome(task)
        writer.stage(task, 1, (one,), rows(one, ("4", "5", "4", None)))
    writer.commit([Settlement(task, 1, 1) for task in "abc"])
    writer.close()
    assert column(tmp_path, "outcomes", "correct") == [True, None, None]
    assert column(tmp_path, "candidates", "correct") == [True, False, True, False] + [None] * 8
    assert asked == [("4", "4"), ("5", "4"), (None, "4")], "once for each distinct answer"


def test_without_a_judge_nothing_is_graded(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, None)
    writer.label({"a": "4"})
    stage(writer, "a")
    writer.commit([Settlement("a", 1, 1)])
    writer.close()
    assert column(tmp_path, "outcomes", "correct") == [None, None]


def test_a_label_outlives_the_attempts_that_were_lost(tmp_path: Path) -> None:
    with RunWriterAgain(tmp_path, LastDigit()) as writer:
        writer.label({"a": "4"})
        writer.commit([], [Waste("a", 1, 9, "died")])
        stage(writer, "a", 2)
        writer.commit([Settlement("a", 2, 1)])
    assert column(tmp_path, "outcomes", "correct") == [True, True]


@pytest.mark.parametrize(
    ("retention", "dropped"),
    [("all", ()), ("no_token_ids", ("token_ids",)), ("answers", ("token_ids", "steps"))],
)
def test_retention_says_what_of_a_candidate_is_kept(
    tmp_path: Path, retention: Any, dropped: tuple[str, ...]
) -> None:
    writer = RunWriter(tmp_path, LastDigit(), retention)
    writer.label({"a": "4"})
    stage(writer, "a", 1, "greedy")
    writer.commit([Settlement("a", 1, 1)])
    writer.close()
    [row] = table(tmp_path, "candidates")
    assert {name for name, value in row.items() if value is None} == set(dropped)
    assert (row["answer"], row["scores"], row["tokens"]) == ("4", [0.25, 0.75], 6)


def test_any_text_comes_back_as_it_was(tmp_path: Path) -> None:
    text = 'line\n"quoted"\u2028\x00\t\\n € \U0001f600'
    writer = RunWriter(tmp_path, None)
    writer.stage("a", 1, (outcome("a", answer=text),), rows(outcome("a"), (text,)))
    writer.commit([Settlement("a", 1, 1)])
    writer.close()
    assert column(tmp_path, "outcomes", "answer") == [text]
    assert column(tmp_path, "candidates", "answer") == [text]


def test_a_full_segment_becomes_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors.run_writer, "SEGMENT_BYTES", 3_000)
    writer = RunWriter(tmp_path, None)
    for number in range(12):
        stage(writer, f"t{number}")
        writer.commit([Settlement(f"t{number}", 1, 1)])
        assert len(read_done(tmp_path)) == 2 * (number + 1)
        assert read_books(tmp_path) == (number + 1, 0)
    parts = len(list((tmp_path / "outcomes").iterdir()))
    assert 3 <= parts <= 6
    writer.close()
    assert column(tmp_path, "outcomes", "problem_id") == [f"t{i}" for i in range(12) for _ in "gm"]


def test_what_is_acknowledged_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in a buffer of this process, nor of the system; and the log's name is on the disk as well."""
    synced: dict[int, int] = {}
    sync = os.fsync

    def watch(handle: int) -> None:
        sync(handle)
        status = os.fstat(handle)
        synced[status.st_ino] = status.st_size

    monkeypatch.setattr(os, "fsync", watch)
    writer = RunWriter(tmp_path, None)
    for folder in (tmp_path, tmp_path / "log"):
        assert folder.stat().st_ino in synced
    for task in "ab":
        stage(writer, task)
        writer.commit([Settlement(task, 1, 1)])
        [segment] = (tmp_path / "log").iterdir()
        status = segment.stat()
        assert synced[status.st_ino] == status.st_size > 0
    writer.close()
    for name in ("outcomes", "candidates", "ledger"):
        [part] = (tmp_path / name).iterdir()
        assert synced[part.stat().st_ino] == part.stat().st_size
        assert (tmp_path / name).stat().st_ino in synced


# What goes wrong within a process


def test_a_commit_is_whole_or_nothing(tmp_path: Path) -> None:
    """A grader that fails on one record must not leave the others' half-written, to appear with the next commit."""

    class Judge(LastDigit):
        def correct(self, answer: str | None, reference: str) -> bool:
            if reference == "poison":
                raise RuntimeError("this grader is broken")
            return True

    writer = RunWriter(tmp_path, Judge())
    writer.label({"a": "4", "b": "poison"})
    stage(writer, "a")
    stage(writer, "b")
    with pytest.raises(RuntimeError, match="grader is broken"):
        writer.commit([Settlement("a", 1, 1), Settlement("b", 1, 1)])
    # The scheduler takes both back, and leases them again.
    writer.commit([], [Waste("a", 1, 1, "lost"), Waste("b", 1, 1, "lost")])
    assert set(read_done(tmp_path)) == set()
    stage(writer, "a", 2)
    assert writer.commit([Settlement("a", 2, 1)]) == []
    writer.close()
    assert column(tmp_path, "outcomes", "key") == ["a/greedy", "a/majority"]
    assert column(tmp_path, "outcomes", "correct") == [True, True]


def test_after_a_failed_write_nothing_more_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failed write or sync left behind is unknown: going on could write a record twice, or behind a torn line."""
    writer = RunWriter(tmp_path, None)
    stage(writer, "a")
    writer.commit([Settlement("a", 1, 1)])
    stage(writer, "b")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            writer.commit([Settlement("b", 1, 1)])
    stage(writer, "b", 2)
    with pytest.raises(RuntimeError, match="No space left"):
        writer.commit([Settlement("b", 2, 1)])
    writer.close()
    with RunWriterAgain(tmp_path):
        keys = column(tmp_path, "outcomes", "key")
    assert len(keys) == len(set(keys))
    assert {"a/greedy", "a/majority"} <= set(keys)


# What is left by a crash


class Crash(BaseException):
    """Stands for the death of the process: no handler of ours may catch it."""


def die(writer: RunWriter | None) -> None:
    """Leave the files as a killed process does: nothing is flushed, the lock goes with its file."""
    if writer is None:
        return
    if not writer._log.closed:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, writer._log.fileno())
        os.close(null)
        writer._log.close()
    writer._lock._file.close()


class Tripwire:
    """Counts the operations that make things durable, and crashes before one of them."""

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def arm(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(os, "fsync", self._wrap(os.fsync))
        patch.setattr(Path, "rename", self._wrap(Path.rename))
        patch.setattr(Path, "unlink", self._wrap(Path.unlink))

    def _wrap(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            if self.count == self.at:
                raise Crash
            return operation(*arguments, **options)

        return wrapped


TASKS = [f"t{number}" for number in range(6)]


class Life:
    """One process that writes whatever is not done yet; `acknowledged` holds what it was told is durable."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.acknowledged: set[str] = set()
        self.writer: RunWriter | None = None

    def run(self) -> None:
        self.writer = writer = RunWriter(self.folder, LastDigit())
        writer.label(dict.fromkeys(TASKS, "4"))
        todo = [task for task in TASKS if f"{task}/greedy" not in read_done(self.folder)]
        while todo:
            batch, todo = todo[:2], todo[2:]
            for task in batch:
                stage(writer, task)
            writer.commit([Settlement(task, 1, 10) for task in batch], [Waste(batch[0], 0, 3, "lost")])
            self.acknowledged.update(batch)
        writer.close()


def check_exactly_once(folder: Path, acknowledged: set[str]) -> None:
    """What was acknowledged is there; of all that is there, parts and log hold each record once."""
    done = set(read_done(folder))
    assert {f"{task}/{kind}" for task in acknowledged for kind in ("greedy", "majority")} <= done
    assert {key.split("/")[1] for key in done} <= {"greedy", "majority"}
    tasks = {key.split("/")[0] for key in done}
    assert len(done) == 2 * len(tasks), "strategies of one task end together"
    assert read_books(folder)[0] == 10 * len(tasks)


def check_finished(folder: Path) -> None:
    assert sorted(column(folder, "outcomes", "key")) == sorted(
        f"{task}/{kind}" for task in TASKS for kind in ("greedy", "majority")
    )
    assert sorted(column(folder, "candidates", "key")) == sorted(column(folder, "outcomes", "key"))
    spent = [row["task_id"] for row in table(folder, "ledger") if row["kind"] == "spent"]
    assert sorted(spent) == TASKS
    assert set(column(folder, "outcomes", "correct")) == {True}
    assert not list((folder / "log").iterdir())
    assert not list(folder.rglob("*.tmp"))


def operations(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    wire = Tripwire(-1)
    with monkeypatch.context() as patch:
        wire.arm(patch)
        Life(folder).run()
    return wire.count


def test_a_crash_between_any_two_operations_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors.run_writer, "SEGMENT_BYTES", 2_000)
    count = operations(tmp_path / "undisturbed", monkeypatch)
    check_finished(tmp_path / "undisturbed")
    assert count > 30
    crashes = 0
    for at in range(1, count + 2):
        folder = tmp_path / f"crash-{at}"
        life, wire = Life(folder), Tripwire(at)
        with monkeypatch.context() as patch:
            wire.arm(patch)
            try:
                life.run()
            except Crash:
                crashes += 1
                die(life.writer)
        check_exactly_once(folder, life.acknowledged)
        again = Life(folder)
        if at <= count:
            again.run()
        check_finished(folder)
        assert not again.acknowledged & life.acknowledged, "written twice"
    assert crashes == count


def test_a_crash_while_recovering_from_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crashed(folder: Path) -> Life:
        """Died at the close: every record lies in the log alone."""
        life = Life(folder)
        with monkeypatch.context() as patch:
            patch.setattr(RunWriter, "close", lambda self: (_ for _ in ()).throw(Crash()))
            with pytest.raises(Crash):
                life.run()
        die(life.writer)
        return life

    for at in range(1, 100):
        folder = tmp_path / f"crash-{at}"
        acknowledged = crashed(folder).acknowledged
        assert acknowledged == set(TASKS)
        second, wire = Life(folder), Tripwire(at)
        with monkeypatch.context() as patch:
            wire.arm(patch)
            try:
                second.run()
            except Crash:
                die(second.writer)
        check_exactly_once(folder, acknowledged)
        Life(folder).run()
        check_finished(folder)
        if wire.count < at:
            assert at > 10
            return
    raise AssertionError("recovery never came to its end")


def logged(folder: Path, tasks: list[str]) -> Path:
    """A folder whose writer died with these tasks in its log, one commit each; the log's path."""
    writer = RunWriter(folder, None)
    for task in tasks:
        stage(writer, task)
        writer.commit([Settlement(task, 1, 10)])
    die(writer)
    [segment] = (folder / "log").iterdir()
    return segment


def test_a_torn_last_line_was_never_written(tmp_path: Path) -> None:
    whole = logged(tmp_path / "whole", ["a", "b", "c"]).read_bytes()
    last = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    for cut in (last, last + 1, last + 8, last + 9, (last + len(whole)) // 2, len(whole) - 1):
        folder = tmp_path / f"cut-{cut}"
        segment = logged(folder, ["a", "b", "c"])
        segment.write_bytes(whole[:cut])
        kept = {f"{task}/{kind}" for task in "ab" for kind in ("greedy", "majority")}
        assert set(read_done(folder)) == kept
        with RunWriterAgain(folder) as writer:
            assert writer.books == (20, 0)
            assert set(read_done(folder)) == kept
            stage(writer, "c")
            writer.commit([Settlement("c", 1, 10)])
        assert sorted(set(column(folder, "outcomes", "problem_id"))) == ["a", "b", "c"]


def test_a_last_line_of_garbage_was_never_written(tmp_path: Path) -> None:
    """Blocks may reach the disk out of order: the newline is there, what precedes it is not."""
    segment = logged(tmp_path, ["a", "b"])
    whole = segment.read_bytes()
    last = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    segment.write_bytes(whole[:last] + b"\0" * (len(whole) - last - 1) + b"\n")
    assert len(list(read_segment(segment))) == 1
    assert set(read_done(tmp_path)) == {"a/greedy", "a/majority"}


@pytest.mark.parametrize("offset", [0, 4, 8, 40, -2])
def test_damage_before_the_end_is_said_and_not_guessed_around(tmp_path: Path, offset: int) -> None:
    segment = logged(tmp_path, ["a", "b", "c"])
    content = bytearray(segment.read_bytes())
    first, second = content.index(b"\n") + 1, content.index(b"\n", content.index(b"\n") + 1) + 1
    at = first + offset if offset >= 0 else second + offset
    content[at] ^= 1
    segment.write_bytes(content)
    with pytest.raises(UserError, match=rf"{re.escape(str(segment))}.*line 2 is damaged"):
        read_done(tmp_path)
    with pytest.raises(UserError, match="line 2 is damaged"):
        RunWriter(tmp_path, None)
    assert segment.read_bytes() == bytes(content)


# One writer a folder


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, None)
    with pytest.raises(UserError) as refusal:
        FolderLock(tmp_path, patience=0.0)
    message = str(refusal.value)
    assert str(tmp_path) in message
    assert f"pid {os.getpid()} on {socket.gethostname()}" in message
    assert "\n" not in message
    writer.close()
    FolderLock(tmp_path, patience=0.0).release()


def test_the_lock_of_a_dead_writer_is_free(tmp_path: Path) -> None:
    die(RunWriter(tmp_path, None))
    assert "pid" in (tmp_path / "lock").read_text()
    with RunWriterAgain(tmp_path):
        pass
    assert (tmp_path / "lock").read_text() == ""
