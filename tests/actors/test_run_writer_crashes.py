"""A run writer that dies before, or in the middle of, any of its operations, with and without the power; and then the next.

Each time a process of its own dies, so that nothing of it cleans up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pyarrow.parquet as pq
import pytest

from actors.leases import Hold
from actors.ledger import Entry
from actors.messages import Commit
from actors.run_log import live_records, number_of, parts, read_books, read_done, read_holds, read_ledger
from actors.run_writer import RunWriter
from actors.samples import SampleLibrary
from actors.schema import TABLES
from orchestration.runs import Run

from . import crashing
from .crashing import LIFE, TASKS, FirstAnswer, Loss, Step, make_folder
from .folders import hold, settled, stage

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
    rows = [row for part in parts(folder, name) for row in pq.read_table(part).to_pylist()]
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
    assert set(read_done(folder)) == set(keys)
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
        stage(writer, task, 9)
        assert writer.commit(Commit(settled=(settled(task, 99, 9, lease),))) == []
    writer.close()
    state = read(folder)
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
    assert set(Run(folder).outcomes()["correct"].to_pylist()) == {True}
    library = SampleLibrary([folder])
    drawn = [task for task in TASKS if library.prior(task).samples]
    assert [task for task in TASKS if library.prior(task).scores] == drawn


# Processes that die


class Mortals:
    """Makes processes that live and die. They come from one that has loaded the writer alone, and so start at once."""

    def __init__(self) -> None:
        words = [sys.executable, "-m", crashing.__name__]
        self._parent = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def die(
        self, folder: Path, at: int, loss: Loss = "nothing", first: int = 0, found: State | None = None
    ) -> tuple[State, State]:
        """Let one live from step `first` in a folder that says `found`, and die at its operation `at` (0: of old age); what
        it was told, and what it had begun."""
        progress = folder.with_name(f"{folder.name}-{first}.progress")
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        print(json.dumps([str(folder), first, at, loss, str(progress)]), file=self._parent.stdin, flush=True)
        assert int(self._parent.stdout.readline()) == (9 if at else 0)
        notes = progress.read_text().split()
        begun, told = notes.count("begin"), notes.count("end")
        assert begun - told == bool(at)
        steps, start = LIFE[first:], found or State()
        return after(steps[:told], start), after(steps[:begun], start)

    def end(self) -> None:
        self._parent.communicate(timeout=60)


@pytest.fixture(scope="module")
def mortals() -> Iterator[Mortals]:
    made = Mortals()
    yield made
    made.end()


Operations = list[tuple[str, list[Loss]]]
"""Each operation of a life, and what the power could have taken along before it."""


def undisturbed(mortals: Mortals, folder: Path, first: int = 0, found: State | None = None) -> Operations:
    told, begun = mortals.die(folder, 0, first=first, found=found)
    assert told == begun == read(folder)
    listed: Operations = json.loads(folder.with_name(f"{folder.name}-{first}.progress.json").read_text())
    return listed


@pytest.fixture(scope="module")
def operations(mortals: Mortals, tmp_path_factory: pytest.TempPathFactory) -> Operations:
    return undisturbed(mortals, make_folder(tmp_path_factory.mktemp("undisturbed") / "run"))


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The power does not go in this process."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def test_the_life_has_all_that_can_be_interrupted(operations: Operations) -> None:
    counts = Counter(name for name, _ in operations)
    assert set(counts) == {"open", "write", "fsync", "write_table", "rename", "unlink"}
    assert counts["open"] >= 6, "several segments"
    assert counts["write"] > counts["open"], "short writes"
    # Outcomes, candidates, samples, scores and ledger, of several segments.
    assert counts["rename"] == counts["write_table"] >= 3 * 5
    assert {loss for _, weak in operations for loss in weak} == set(get_args(Loss))


@pytest.mark.parametrize("loss", get_args(Loss))
def test_a_death_at_any_operation_loses_and_doubles_nothing(
    mortals: Mortals, operations: Operations, tmp_path: Path, loss: Loss
) -> None:
    deaths = [at for at, (_, weak) in enumerate(operations, 1) if loss in weak]
    assert len(deaths) > 15
    for at in deaths:
        folder = make_folder(tmp_path / f"{at}-{operations[at - 1][0]}")
        told, begun = mortals.die(folder, at, loss)
        found = read(folder)
        check_between(found, told, begun)
        go_on(folder, found)


@pytest.mark.parametrize("loss", get_args(Loss))
def test_a_death_while_recovering_from_a_death(
    mortals: Mortals, operations: Operations, tmp_path: Path, loss: Loss
) -> None:
    """The first died with leases open, a part of each table but `outcomes` made, and two segments of the log that count."""
    first = [at for at, (name, _) in enumerate(operations, 1) if name == "rename"][4]

    def dead(name: str) -> tuple[Path, State]:
        folder = make_folder(tmp_path / name)
        mortals.die(folder, first)
        assert sorted(path.name for path in (folder / "log").iterdir()) == [
            "segment-000001.jsonl",
            "segment-000002.jsonl",
        ]
        assert not list((folder / "outcomes").glob("*.parquet"))
        assert list((folder / "candidates").glob("*.parquet"))
        return folder, read(folder)

    recovery = LIFE.index(Step("open"), 1)
    folder, found = dead("whole")
    assert found.open
    second = undisturbed(mortals, folder, recovery, found)
    deaths = [at for at, (_, weak) in enumerate(second, 1) if loss in weak]
    assert len(deaths) > 8
    for at in deaths:
        folder, found = dead(f"{at}-{second[at - 1][0]}")
        told, begun = mortals.die(folder, at, loss, recovery, found)
        again = read(folder)
        check_between(again, told, begun)
        go_on(folder, again)
