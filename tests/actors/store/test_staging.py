"""Records that wait for their commit: graded beside the commits, and held no longer than their lease is open."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.messages import Commit, GivenUp, Record
from actors.store.writer import RunWriter
from tests.support.folders import column, hold, lost, opened, outcome, record, settled, stage


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[RunWriter]:
    """A writer whose task "a" is leased."""
    one = RunWriter(tmp_path, None)
    one.commit(Commit(holds=(hold(1, "a"),)))
    yield one
    one.close()


def held(writer: RunWriter) -> dict[str, list[int]]:
    """Leases whose records are in memory, by task."""
    return {task: list(staged) for task, staged in writer._staged.items()}


def lose(writer: RunWriter) -> None:
    writer.commit(Commit(losses=(lost("a", 5),)))


def lease_again(writer: RunWriter) -> None:
    writer.commit(Commit(losses=(lost("a", 5),), holds=(hold(2, "a", attempt=2),)))


def settle_again(writer: RunWriter) -> None:
    lease_again(writer)
    stage(writer, "a", 2)
    assert writer.commit(Commit(settled=(settled("a", 1, 2),))) == []


def give_up(writer: RunWriter) -> None:
    ends = (outcome("a", state="quarantined", answer=None),)
    writer.commit(Commit(losses=(lost("a", 5),), given_up=(GivenUp("a", ends),)))


ENDS = [lose, lease_again, settle_again, give_up]


@pytest.mark.parametrize("end", ENDS)
def test_what_a_zombie_staged_leaves_memory(writer: RunWriter, end: Callable[[RunWriter], None]) -> None:
    stage(writer, "a", 1)
    assert held(writer) == {"a": [1]}
    end(writer)
    assert held(writer) == {}


@pytest.mark.parametrize("end", ENDS)
def test_what_a_zombie_stages_late_is_not_kept(writer: RunWriter, end: Callable[[RunWriter], None]) -> None:
    end(writer)
    stage(writer, "a", 1)
    assert held(writer) == {}


def test_a_zombie_does_not_answer_for_the_attempt_that_took_its_number(writer: RunWriter) -> None:
    """A loss that nobody is blamed for does not count: the next lease is of the same attempt."""
    writer.commit(Commit(losses=(lost("a", 5, blamed=False),)))
    writer.commit(Commit(holds=(hold(2, "a", attempt=1),)))
    stage(writer, "a", 1)
    assert writer.commit(Commit(settled=(settled("a", 1, attempt=1, lease=2),))) == ["a"]
    stage(writer, "a", 2)
    assert writer.commit(Commit(settled=(settled("a", 1, attempt=1, lease=2),))) == []


class AtItsGate:
    """A judge that says when it is asked, and grades when it may."""

    def __init__(self) -> None:
        self.asked, self.may = threading.Event(), threading.Event()

    def correct(self, answer: str | None, reference: str) -> bool:
        self.asked.set()
        assert self.may.wait(60)
        return answer == reference

    def extract(self, text: str) -> str | None:
        return text


@pytest.mark.parametrize("loses", [False, True])
def test_commits_go_on_while_a_record_is_graded(tmp_path: Path, loses: bool) -> None:
    judge = AtItsGate()
    writer = RunWriter(tmp_path, judge)
    writer.label({"a": "4", "b": None})
    writer.commit(Commit(holds=(hold(1, "a"), hold(2, "b"))))
    grading = threading.Thread(target=writer.stage, args=(1, "a", record("a")))
    grading.start()
    assert judge.asked.wait(60)
    stage(writer, "b", 2)
    # Its lease may be lost meanwhile.
    losses = (lost("a", 5),) if loses else ()
    assert writer.commit(Commit(settled=(settled("b", lease=2),), losses=losses)) == []
    judge.may.set()
    grading.join(60)
    assert held(writer) == ({} if loses else {"a": [1]})
    assert writer.commit(Commit(settled=(settled("a"),))) == (["a"] if loses else [])
    writer.close()
    assert column(tmp_path, "outcomes", "correct") == [None, None] + ([] if loses else [True, True])


def test_a_task_that_is_given_up_asks_no_grader(tmp_path: Path) -> None:
    """It has no answer, and its commit would wait."""
    writer = RunWriter(tmp_path, AtItsGate())
    writer.label({"a": "4"})
    give_up(writer)
    writer.close()
    assert column(tmp_path, "outcomes", "correct") == [None]


def lone_surrogate(given: Record) -> Record:
    return replace(given, outcomes=(replace(given.outcomes[0], answer="\ud800"), *given.outcomes[1:]))


def inexact_score(given: Record) -> Record:
    return replace(given, candidates=[row | {"scores": [20_000_001]} for row in given.candidates])


@pytest.mark.parametrize("spoiled", [lone_surrogate, inexact_score])
def test_what_no_column_takes_is_refused_as_it_is_staged(
    tmp_path: Path, spoiled: Callable[[Record], Record]
) -> None:
    """Once in the log it would stop this writer, and each that goes on in the folder."""
    writer = RunWriter(tmp_path, None)
    writer.commit(Commit(holds=(hold(1, "a"), hold(2, "b"))))
    with pytest.raises(ValueError, match=r"exactly representable|surrogates not allowed"):
        writer.stage(1, "a", spoiled(record("a")))
    stage(writer, "b", 2)
    assert writer.commit(Commit(settled=(settled("a"), settled("b", lease=2)))) == ["a"]
    writer.close()
    with opened(tmp_path) as again:
        assert again.commit(Commit(losses=(lost("a", 5),))) == []
    assert column(tmp_path, "outcomes", "problem_id") == ["b", "b"]


def test_a_verdict_that_is_none_is_refused_as_it_is_staged(tmp_path: Path) -> None:
    class Counts:
        def correct(self, answer: str | None, reference: str) -> Any:
            return int(answer == reference)

        def extract(self, text: str) -> str | None:
            return text

    with opened(tmp_path, Counts()) as writer:
        writer.label({"a": "4"})
        with pytest.raises(ValueError, match="tried to convert to boolean"):
            stage(writer, "a")
