"""Decisions in the store: those of an outcome come back as they were, the newest count, and only a run's own are repeated."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import actors.store.writer
from actors.messages import Commit, Record
from actors.store.library import SampleLibrary, anything
from actors.store.rows import decision_rows
from actors.store.writer import RunWriter
from actors.strategy import Decision
from tests.support.folders import outcome, settled

FIRST = (
    Decision("0", 0, 0.0, 3e-12, "1", 0.5, 10**25),
    Decision("1", 3, 0.25, 3e-12, "beam(n=4,width=4)", 0.125, 7),
    Decision("beam(n=4,width=4)", 5, 0.75, 2e-12, None, 0.0),
)
THEN = (*(replace(one, repeated=True) for one in FIRST[:2]), Decision("2", 1, 0.5, 0.0, None, 0.0))


def write(folder: Path, *ends: tuple[str, tuple[Decision, ...]]) -> None:
    writer = RunWriter(folder, None)
    for task, decisions in ends:
        one = replace(outcome(task), decisions=decisions)
        writer.stage(1, task, Record((one,), decisions=decision_rows(one)))
        assert writer.commit(Commit(settled=(settled(task),))) == []
    writer.close()


def recorded(*decisions: Decision) -> tuple[Decision, ...]:
    return tuple(replace(one, repeated=True) for one in decisions)


@pytest.mark.parametrize("group", [1, 2, 4096])
def test_an_outcomes_newest_decisions_are_found_by_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    """However they are parted into row groups."""
    monkeypatch.setattr(actors.store.writer, "ROW_GROUP", group)
    write(tmp_path, ("a", FIRST), ("b", FIRST[:1]))
    write(tmp_path, ("a", THEN))
    library = SampleLibrary([tmp_path], tmp_path)
    assert library.prior("a").decisions == {"a/greedy": recorded(*THEN)}
    assert library.prior("b").decisions == {"b/greedy": recorded(FIRST[0])}
    assert library.prior("c").decisions == {}


def test_those_of_another_run_were_made_under_its_own_budget(tmp_path: Path) -> None:
    other, own = tmp_path / "other", tmp_path / "own"
    for folder, decisions in ((other, FIRST), (own, THEN)):
        folder.mkdir()
        write(folder, ("a", decisions))
    assert SampleLibrary([own, other], own).prior("a").decisions == {"a/greedy": recorded(*THEN)}
    assert SampleLibrary([other]).prior("a").decisions == {}


def test_what_was_decided_is_there_also_where_no_sample_was_kept(tmp_path: Path) -> None:
    other, own = tmp_path / "other", tmp_path / "own"
    for folder in (other, own):
        assert not anything([own, other], own)
        folder.mkdir()
        write(folder, ("a", FIRST))
    assert anything([own], own)
    assert not anything([other], own.parent), "another run's decisions are none of its own"
