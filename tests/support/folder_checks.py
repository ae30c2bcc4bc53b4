"""What a run folder says in the middle of `crashing.LIFE`, whoever reads it, and how the next writer goes on with it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.ledger import Entry
from actors.messages import Commit, Hold
from actors.store.library import SampleLibrary
from actors.store.log import live_records, number_of, parts, read_books, read_holds, read_ledger
from actors.store.schema import TABLES
from actors.store.writer import RunWriter
from orchestration.runs.run import Run
from tests.support.crashing import TASKS, FirstAnswer, Step
from tests.support.folders import done_keys, hold, settled, stage

Charge = tuple[str, int, str, str, int]
"""A row of the ledger: task, attempt, purpose, kind, FLOPs."""


@dataclass
class State:
    """What a folder says."""

    ended: set[str] = field(default_factory=set)
    charges: Counter[Charge] = field(default_factory=Counter)
    open: dict[int, Hold] = field(default_factory=dict)

    @property
    def books(self) -> tuple[int, int]:
        wasted = sum(flops for _, _, _, kind, flops in self.charges if kind == "lost")
        return sum(charge[-1] for charge in self.charges) - wasted, wasted

    def charge(self, task: str, attempt: int, entries: tuple[Entry, ...]) -> None:
        self.charges.update((task, attempt, one.purpose, one.kind, one.flops) for one in entries)


def after(steps: tuple[Step, ...], state: State) -> State:
    """What a folder says where all these steps were acknowledged, that said `state` before."""
    state = State(set(state.ended), Counter(state.charges), dict(state.open))
    for step in steps:
        if step.kind == "open":
            for one in state.open.values():
                state.charge(one.task_id, one.attempt, (Entry("unknown", "lost", one.flops),))
            state.open = {}
        for one in step.commit.holds:
            state.open[one.lease] = one
        for end in (*step.commit.settled, *step.commit.losses):
            state.charge(end.task_id, end.attempt, end.entries)
            del state.open[end.lease]
        state.ended |= {end.task_id for end in (*step.commit.settled, *step.commit.given_up)}
    return state


def raw(folder: Path, name: str) -> list[dict[str, Any]]:
    """Rows of a table's parts that count and of the log, doubles and all."""
    rows = [row for part in parts(folder, name) for row in pq.ParquetFile(part).read().to_pylist()]
    return rows + [row for record in live_records(folder) for row in record.get(name, ())]


def glance(folder: Path) -> State:
    """What a folder says, nothing of it twice."""
    keys = [row["key"] for row in raw(folder, "outcomes")]
    assert len(keys) == len(set(keys)), "an outcome stands there twice"
    ended = {key.split("/")[0] for key in keys}
    assert sorted(keys) == sorted(f"{task}/{kind}" for task in ended for kind in ("greedy", "majority"))
    charges: Counter[Charge] = Counter()
    for row in raw(folder, "ledger"):
        charges[row["task_id"], row["attempt"], row["purpose"], row["kind"], row["flops"]] += 1
    assert set(charges.values()) <= {1}
    assert len({charge[:2] for charge in charges}) == len(charges), "an attempt was charged twice"
    return State(ended, charges, read_holds(folder))


def read(folder: Path) -> State:
    """The same, having made sure that every reader of the folder says so."""
    state = glance(folder)
    outcomes = raw(folder, "outcomes")
    keys = [row["key"] for row in outcomes]
    assert set(done_keys(folder)) == set(keys)
    run = Run(folder)
    assert run.outcomes()["key"].to_pylist() == keys
    answered = sorted(row["key"] for row in outcomes if row["state"] == "answered")
    assert sorted(run.candidates()["key"].to_pylist()) == answered
    results = list(run.results())
    assert [one.outcome["key"] for one in results] == keys
    assert all(len(one.candidates) == (one.outcome["state"] == "answered") for one in results)
    for name in ("samples", "scores"):
        drawn = {key.split("/")[0] for key in answered}
        assert sorted(row["problem_id"] for row in raw(folder, name)) == sorted(drawn)
    assert read_books(folder) == state.books
    assert sum(entry.flops for entry in read_ledger(folder)) == sum(state.books)
    return state


def check_between(found: State, told: State, begun: State) -> None:
    """What was acknowledged is there (`told`), and nothing but what was asked for (`begun`); what was in hand is open at its
    last FLOPs or charged."""
    assert told.ended <= found.ended <= begun.ended
    assert told.charges.keys() <= found.charges.keys() <= begun.charges.keys()
    charged = {charge[:2] for charge in found.charges}
    for lease, one in found.open.items():
        assert one in (told.open.get(lease), begun.open.get(lease))
        assert (one.task_id, one.attempt) not in charged
    for one in told.open.values():
        assert one.lease in found.open or (one.task_id, one.attempt) in charged


def go_on(folder: Path, before: State) -> None:
    """The next writer, which finds what was read before, charges what was open, and does what is left."""
    writer = RunWriter(folder, FirstAnswer())
    opened = glance(folder)
    assert opened.ended == before.ended
    assert opened.open == {}
    lost = Counter((one.task_id, one.attempt, "unknown", "lost", one.flops) for one in before.open.values())
    assert opened.charges == before.charges + lost
    books = writer.books()
    assert ((books.spent, books.wasted), books.holds) == (opened.books, ())
    writer.label(dict.fromkeys(TASKS, "4"))
    left = [task for task in TASKS if task not in opened.ended]
    for lease, task in enumerate(left, 1):
        writer.commit(Commit(holds=(hold(lease, task, 100, attempt=9),)))
        stage(writer, task, lease)
        assert writer.commit(Commit(settled=(settled(task, 99, 9, lease),))) == []
    writer.close()
    state = glance(folder)
    assert state.ended == set(TASKS)
    assert state.open == {}
    done = Counter((task, 9, "policy", "kept", 99) for task in left)
    assert state.charges == opened.charges + done
    check_finished(folder)


def check_finished(folder: Path) -> None:
    """Parquet alone, each part of a number whose outcomes are there, and all of it is found."""
    assert not list((folder / "log").iterdir())
    assert not list(folder.rglob("*.tmp"))
    whole = {number_of(path) for path in (folder / "outcomes").iterdir()}
    assert all(number_of(path) in whole for name in TABLES for path in (folder / name).iterdir())
    run = Run(folder)
    outcomes = run.outcomes()
    assert len(outcomes) == 2 * len(TASKS)
    drawn = outcomes.filter(pc.equal(outcomes["state"], "answered"))
    assert set(drawn["correct"].to_pylist()) == {True}
    assert outcomes["correct"].null_count == len(outcomes) - len(drawn)
    assert sorted(run.candidates()["key"].to_pylist()) == sorted(drawn["key"].to_pylist())
    library = SampleLibrary([folder])
    assert len(library) == len(set(drawn["problem_id"].to_pylist()))
