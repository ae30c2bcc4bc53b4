"""What a task leaves that came to nothing."""

from __future__ import annotations

from dataclasses import replace

from actors.scheduling.ends import end_of
from tests.support.cells import tasks


def test_an_answer_that_the_run_holds_stays() -> None:
    """Of what is made again: the others end so."""
    task = tasks(1)[0]
    assert [one.key for one in end_of(task, "quarantined", "lost")] == list(task.keys)
    kept = replace(task, answered=frozenset(task.keys[1:]))
    assert [one.key for one in end_of(kept, "quarantined", "lost")] == [task.keys[0]]
