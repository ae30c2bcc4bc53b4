"""What was acknowledged is there, once; what was not committed is not; and what a scheduler that starts is told."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import actors.store.writer
from actors.errors import UserError
from actors.ledger import Entry
from actors.messages import Commit, GivenUp, Record, Settlement
from actors.store.log import read_books, read_holds, read_ledger
from actors.store.schema import TABLES
from actors.store.writer import RunWriter
from actors.work import State
from tests.support.folders import (
    column,
    die,
    done_keys,
    hold,
    lost,
    opened,
    outcome,
    rows,
    settle,
    settled,
    stage,
    table,
)
from tests.support.tiny import LastDigit

# What is written


def test_a_finished_run_is_parquet_with_the_public_columns(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, None)
    assert settle(writer, "a", flops=50) == []
    writer.close()
    assert not list((tmp_path / "log").iterdir())
    for name, schema in TABLES.items():
        [part] = (tmp_path / name).iterdir()
        assert pq.read_table(part).schema == schema
    first, second = table(tmp_path, "outcomes")
    assert (first["key"], second["key"]) == ("a/greedy", "a/majority")
    assert (first["spent_flops"], first["spent_flops_exact"]) == (30, 20)
    assert (first["attributed_flops"], first["attributed_flops_exact"]) == (33, 22)
    candidate = table(tmp_path, "candidates")[0]
    assert candidate["steps"] == ["2 + 2\n", "#### 4"]
    assert candidate["logprobs"] == [-0.5, -math.inf]
    [row] = table(tmp_path, "ledger")
    assert row == {
        "task_id": "a",
        "attempt": 1,
        "lease": 1,
        "purpose": "policy",
        "kind": "kept",
        "flops": 50,
        "reason": "",
    }
    [sample] = table(tmp_path, "samples")
    assert (sample["problem_id"], sample["seed"], sample["place"], sample["start"]) == ("a", 0, [0], 0)
    assert (sample["token_ids"], sample["logprobs"]) == ([5, 6, 1], [-0.5, -0.25, -math.inf])
    [score] = table(tmp_path, "scores")
    assert (score["problem_id"], score["value"]) == ("a", 0.1)


def test_what_is_staged_and_not_committed_is_nowhere(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, None)
    stage(writer, "a")
    stage(writer, "b")
    writer.commit(Commit(settled=(settled("b"),)))
    assert set(done_keys(tmp_path)) == {"b/greedy", "b/majority"}
    writer.close()
    for name in ("outcomes", "candidates", "samples", "scores"):
        assert set(column(tmp_path, name, "problem_id")) == {"b"}


def test_a_settlement_without_a_record_is_missing_and_writes_nothing(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, None)
    stage(writer, "a", 2)
    stage(writer, "b")
    wanted = (settled("a", 7), settled("b", 8), settled("c", 9))
    assert writer.commit(Commit(settled=wanted)) == ["a", "c"]
    assert writer.commit(Commit(settled=(settled("b", 8),))) == ["b"], "it was written before"
    assert read_books(tmp_path) == (8, 0)
    assert writer.books().spent == 8
    writer.close()


def test_a_lost_lease_is_on_the_books_and_drops_its_record(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, None)
    stage(writer, "a", 1)
    writer.commit(Commit(losses=(lost("a", 40, reason="ActorUnavailableError: killed"),)))
    assert writer.commit(Commit(settled=(settled("a", 40),))) == ["a"]
    stage(writer, "a", 2)
    writer.commit(Commit(settled=(settled("a", 25, 2),), losses=(lost("b", 2),)))
    assert set(done_keys(tmp_path)) == {"a/greedy", "a/majority"}
    assert read_books(tmp_path) == (25, 42)
    writer.close()
    assert read_books(tmp_path) == (25, 42)
    assert set(done_keys(tmp_path)) == {"a/greedy", "a/majority"}
    ledger = table(tmp_path, "ledger")
    assert [(r["task_id"], r["attempt"], r["purpose"], r["kind"], r["flops"]) for r in ledger] == [
        ("a", 1, "unknown", "lost", 40),
        ("a", 2, "policy", "kept", 25),
        ("b", 1, "unknown", "lost", 2),
    ]
    assert ledger[0]["reason"] == "ActorUnavailableError: killed"
    with opened(tmp_path) as again:
        books = again.books()
        assert (books.spent, books.wasted) == (25, 42)


def test_the_ledger_has_each_purpose_and_what_came_of_it(tmp_path: Path) -> None:
    """Pruned branches are part of what was spent; failed and lost work is waste."""
    first = (
        Entry("policy", "kept", 30),
        Entry("policy", "pruned", 7),
        Entry("verifier", "kept", 20),
        Entry("verifier", "lost", 5),
    )
    second = (Entry("policy", "kept", 11), Entry("policy", "failed", 3))
    writer = RunWriter(tmp_path, None)
    stage(writer, "a")
    stage(writer, "b", 2)
    writer.commit(Commit(settled=(Settlement(1, "a", 1, first), Settlement(2, "b", 1, second))))
    expected = (
        Entry("policy", "failed", 3),
        Entry("policy", "kept", 41),
        Entry("policy", "pruned", 7),
        Entry("verifier", "kept", 20),
        Entry("verifier", "lost", 5),
    )
    assert read_ledger(tmp_path) == expected
    assert read_books(tmp_path) == (68, 8)
    assert (writer.books().spent, writer.books().wasted) == (68, 8)
    writer.close()
    assert read_ledger(tmp_path) == expected
    assert len(table(tmp_path, "ledger")) == 6


def test_tasks_that_are_given_up_leave_their_outcomes(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, LastDigit())
    writer.label({"a": "4"})
    ends = (outcome("a", "greedy", "quarantined", None), outcome("a", "majority", "quarantined", None))
    writer.commit(Commit(losses=(lost("a", 9, 3),), given_up=(GivenUp("a", ends),)))
    writer.close()
    assert column(tmp_path, "outcomes", "state") == ["quarantined", "quarantined"]
    assert column(tmp_path, "outcomes", "correct") == [None, None], "neither right nor wrong"
    for name in ("candidates", "samples", "scores"):
        assert table(tmp_path, name) == []


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
        writer.stage(1, task, Record((one,), rows(one, ("4", "5", "4", None))))
    writer.commit(Commit(settled=tuple(settled(task) for task in "abc")))
    writer.close()
    assert column(tmp_path, "outcomes", "correct") == [True, None, None]
    assert column(tmp_path, "candidates", "correct") == [True, False, True, False] + [None] * 8
    assert asked == [("4", "4"), ("5", "4")], "once for each distinct answer"


def test_without_a_judge_nothing_is_graded(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, None)
    writer.label({"a": "4"})
    settle(writer, "a")
    writer.close()
    assert column(tmp_path, "outcomes", "correct") == [None, None]


def test_a_label_outlives_the_attempts_that_were_lost(tmp_path: Path) -> None:
    with opened(tmp_path, LastDigit()) as writer:
        writer.label({"a": "4"})
        writer.commit(Commit(losses=(lost("a", 9),)))
        stage(writer, "a", 2)
        writer.commit(Commit(settled=(settled("a", 1, 2),)))
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
    writer.commit(Commit(settled=(settled("a"),)))
    writer.close()
    [row] = table(tmp_path, "candidates")
    # LastDigit says no ballots.
    assert {name for name, value in row.items() if value is None} == {*dropped, "ballot"}
    assert (row["answer"], row["scores"], row["tokens"]) == ("4", [0.25, 0.75], 6)
    kept = [len(table(tmp_path, name)) for name in ("samples", "scores")]
    assert kept == ([1, 1] if retention == "all" else [0, 0])


def test_any_text_comes_back_as_it_was(tmp_path: Path) -> None:
    text = 'line\n"quoted"\u2028\x00\t\\n € \U0001f600'
    writer = RunWriter(tmp_path, None)
    writer.stage(1, "a", Record((outcome("a", answer=text),), rows(outcome("a"), (text,))))
    writer.commit(Commit(settled=(settled("a"),)))
    writer.close()
    assert column(tmp_path, "outcomes", "answer") == [text]
    assert column(tmp_path, "candidates", "answer") == [text]


def test_a_full_segment_becomes_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors.store.writer, "SEGMENT_BYTES", 4_000)
    writer = RunWriter(tmp_path, None)
    for number in range(12):
        settle(writer, f"t{number}")
        assert len(done_keys(tmp_path)) == 2 * (number + 1)
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
        settle(writer, task)
        [segment] = (tmp_path / "log").iterdir()
        status = segment.stat()
        assert synced[status.st_ino] == status.st_size > 0
    writer.close()
    for name in TABLES:
        [part] = (tmp_path / name).iterdir()
        assert synced[part.stat().st_ino] == part.stat().st_size
        assert (tmp_path / name).stat().st_ino in synced


# What a scheduler is told


def test_a_scheduler_that_starts_anew_is_told_where_the_run_stands(tmp_path: Path) -> None:
    with opened(tmp_path) as writer:
        writer.label(dict.fromkeys("abcd"))
        first = writer.take_over()
        assert (first.spent, first.wasted, first.holds, first.next_lease, first.life) == (0, 0, (), 1, 1)
        writer.commit(Commit(holds=tuple(hold(lease, task) for lease, task in enumerate("abc", 1))))
        writer.commit(Commit(holds=(hold(2, "b", 50),)))
        stage(writer, "a")
        writer.commit(
            Commit(
                settled=(settled("a", 4, lease=1),),
                losses=(lost("c", 3, lease=3), lost("d", 0, lease=4, blamed=False)),
                given_up=(GivenUp("d", (outcome("d", state="unaffordable"),)),),
            )
        )
        books = writer.take_over()
        assert (books.spent, books.wasted, books.next_lease, books.life) == (4, 3, 4, 2)
        assert books.holds == (hold(2, "b", 50),), "each lease at what it was last held for"
        assert books.attempts == {"c": 1}, "of tasks that go on, and the losses that count"
        states: dict[State, int] = {"answered": 2, "unaffordable": 1}
        assert books.outcomes == states
        assert books.tokens == {"policy": 9, "verifier": 6}
        assert writer.unfinished() == {"b", "c"}
        assert read_holds(tmp_path) == {2: hold(2, "b", 50)}
        writer.commit(Commit(losses=(lost("b", 50, lease=2),)))
        assert read_holds(tmp_path) == {}


def test_leases_left_open_are_charged_once_by_the_next_writer(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, None)
    writer.commit(Commit(holds=(hold(1, "a", 7), hold(2, "b", 8))))
    writer.commit(Commit(holds=(hold(2, "b", 80),)))
    stage(writer, "a")
    writer.commit(Commit(settled=(settled("a", 6, lease=1),)))
    writer.close()
    assert read_holds(tmp_path) == {2: hold(2, "b", 80)}, "a run that was stopped has leases open"
    assert read_books(tmp_path) == (6, 0)
    for _ in range(2):
        with opened(tmp_path) as again:
            books = again.books()
            assert (books.spent, books.wasted, books.holds) == (6, 80, ())
        assert read_books(tmp_path) == (6, 80)
    [row] = [row for row in table(tmp_path, "ledger") if row["kind"] == "lost"]
    assert (row["task_id"], row["attempt"], row["lease"], row["flops"]) == ("b", 1, 2, 80)
    assert "policy-0" in row["reason"]


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
    with pytest.raises(RuntimeError, match="grader is broken"):
        settle(writer, "a", "b")
    # The scheduler takes both back, and leases them again.
    writer.commit(Commit(losses=(lost("a", 1), lost("b", 1))))
    assert set(done_keys(tmp_path)) == set()
    stage(writer, "a", 2)
    assert writer.commit(Commit(settled=(settled("a", 1, 2),))) == []
    writer.close()
    assert column(tmp_path, "outcomes", "key") == ["a/greedy", "a/majority"]
    assert column(tmp_path, "outcomes", "correct") == [True, True]


def test_after_a_failed_write_nothing_more_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failed write or sync left behind is unknown: going on could write a record twice, or behind a torn line."""
    writer = RunWriter(tmp_path, None)
    settle(writer, "a")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left"):
            settle(writer, "b")
    stage(writer, "b", 2)
    with pytest.raises(UserError, match="No space left"):
        writer.commit(Commit(settled=(settled("b", 1, 2),)))
    assert writer.books().spent == 1, "what is not durable is on no book"
    writer.close()
    with opened(tmp_path):
        keys = column(tmp_path, "outcomes", "key")
    assert len(keys) == len(set(keys))
    assert {"a/greedy", "a/majority"} <= set(keys)


def test_the_lock_of_a_dead_writer_is_free(tmp_path: Path) -> None:
    die(RunWriter(tmp_path, None))
    assert "pid" in (tmp_path / "lock").read_text()
    with opened(tmp_path):
        pass
    assert (tmp_path / "lock").read_text() == ""
