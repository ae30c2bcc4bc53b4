"""What a task leaves that came to nothing: outcomes without an answer, and books on which all of it is waste.

It knows tasks and entries, nothing of leases. Invariant: an outcome for each strategy that the run has no answer of, and not
a FLOP more or less.
"""

from __future__ import annotations

from actors.ledger import Entry
from actors.work import Cost, Outcome, State, Task


def failed(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """What was spent on a task that came to nothing."""
    return tuple(entry if entry.wasted else Entry(entry.purpose, "failed", entry.flops) for entry in entries)


def end_of(task: Task, state: State, reason: str) -> tuple[Outcome, ...]:
    """Outcomes of a task that ended without an answer; an answer that an earlier start had stays."""
    ends = (
        Outcome(
            key, task.prompt.id, strategy.text, task.seed, state, reason, None, 0, 0, 0, Cost(), Cost(), 0.0
        )
        for key, strategy in zip(task.keys, task.strategies, strict=True)
    )
    return tuple(one for one in ends if task.replaces(one))
