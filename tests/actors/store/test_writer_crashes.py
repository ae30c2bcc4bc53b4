"""A run writer that dies before, or in the middle of, an operation of any kind, with and without the power; then the next.

Each time a process of its own dies, so that nothing of it cleans up. What it does to a table it does in every round of its
life, and meets its death in one of them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from actors.store.schema import TABLES
from tests.support import crashing
from tests.support.crashing import LIFE, Loss, Step, make_folder, once_each
from tests.support.folder_checks import State, after, check_between, go_on, read


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


Operations = list[tuple[str, str, list[Loss]]]
"""Each operation of a life, its kind, and what the power could have taken along before it."""


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
    counts = Counter(name for name, *_ in operations)
    assert set(counts) == {"open", "write", "fsync", "write_table", "rename", "unlink"}
    assert counts["open"] >= 6, "several segments"
    assert counts["write"] > counts["open"], "short writes"
    # Outcomes, candidates, samples, scores and ledger, of several segments.
    assert counts["rename"] == counts["write_table"] >= 3 * 5
    assert {loss for *_, weak in operations for loss in weak} == set(get_args(Loss))


def test_each_kind_of_operation_of_each_table_meets_its_death(operations: Operations) -> None:
    met = {operations[at - 1][1] for at in deaths(operations, "nothing")}
    assert met == {kind for _, kind, _ in operations}
    for table in TABLES:
        mine = Counter(kind.split()[0] for kind in met if f" in {table} " in kind)
        # Of the part's contents, and of its name.
        assert mine == {"write_table": 1, "rename": 1, "fsync": 2}, table


def deaths(operations: Operations, loss: Loss) -> list[int]:
    """Numbers of the operations to die at, where the power takes `loss` along."""
    return once_each((at, kind) for at, (_, kind, weak) in enumerate(operations, 1) if loss in weak)


@pytest.mark.parametrize("loss", get_args(Loss))
def test_a_death_at_any_kind_of_operation_loses_and_doubles_nothing(
    mortals: Mortals, operations: Operations, tmp_path: Path, loss: Loss
) -> None:
    places = deaths(operations, loss)
    assert len(places) > 15
    for at in places:
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
    first = [at for at, (name, *_) in enumerate(operations, 1) if name == "rename"][4]

    dead = make_folder(tmp_path / "dead")
    mortals.die(dead, first)
    assert sorted(path.name for path in (dead / "log").iterdir()) == [
        "segment-000001.jsonl",
        "segment-000002.jsonl",
    ]
    assert not list((dead / "outcomes").glob("*.parquet"))
    assert list((dead / "candidates").glob("*.parquet"))
    found = read(dead)
    assert found.open

    recovery = LIFE.index(Step("open"), 1)
    whole = shutil.copytree(dead, tmp_path / "whole")
    second = undisturbed(mortals, whole, recovery, found)
    places = deaths(second, loss)
    assert len(places) > 8
    for at in places:
        folder = shutil.copytree(dead, tmp_path / f"{at}-{second[at - 1][0]}")
        told, begun = mortals.die(folder, at, loss, recovery, found)
        again = read(folder)
        check_between(again, told, begun)
        go_on(folder, again)
