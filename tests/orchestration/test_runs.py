"""Identity, what may go on in a folder, and reading runs that are whole, interrupted or broken."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import UserError
from actors.run_writer import RunWriter
from actors.schema import CANDIDATES, OUTCOMES
from orchestration.problems import Problem
from orchestration.runs import (
    Identity,
    ProblemStore,
    Run,
    check_same,
    outcome_key,
    problem_hash,
    write_atomically,
)
from tests.orchestration.report.handmade import write_run

IDENTITY = Identity(
    policy="a1",
    tokenizer="b2",
    dtype="float32",
    verifier="c3",
    verifier_dtype="float32",
    engine="local",
    grader="number-1",
    prompt="{question}",
    delimiter="\n",
    max_tokens=256,
)
PROBLEM = Problem("p1", "1 + 1 = ?", "2")


def key(**changes: object) -> str:
    return outcome_key(problem_hash(PROBLEM), "beam(n=4,width=4)", True, 0, replace(IDENTITY, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [field.name for field in fields(Identity)])
def test_every_part_of_the_set_up_changes_the_key(name: str) -> None:
    old = getattr(IDENTITY, name)
    other = 7 if isinstance(old, int) or old is None else f"{old}x"
    assert key(**{name: other}) != key()
    without = {
        outcome_key("h", "greedy", False, 0, replace(IDENTITY, **changes))  # type: ignore[arg-type]
        for changes in ({}, {name: other})
    }
    # What asks no verifier is the same whatever the verifier is.
    assert len(without) == (1 if name in ("verifier", "verifier_dtype") else 2)


def test_problem_strategy_and_seed_change_the_key() -> None:
    known = {key()}
    for problem in (
        replace(PROBLEM, id="p2"),
        replace(PROBLEM, question="1 + 2 = ?"),
        replace(PROBLEM, answer="3"),
        replace(PROBLEM, answer=None),
    ):
        known.add(outcome_key(problem_hash(problem), "beam(n=4,width=4)", True, 0, IDENTITY))
    known.add(outcome_key(problem_hash(PROBLEM), "beam(n=8,width=4)", True, 0, IDENTITY))
    known.add(outcome_key(problem_hash(PROBLEM), "beam(n=4,width=4)", True, 1, IDENTITY))
    assert len(known) == 7
    # What is not content does not.
    assert problem_hash(replace(PROBLEM, metadata={"length": 2})) == problem_hash(PROBLEM)


def test_the_key_is_the_same_everywhere_and_for_ever() -> None:
    assert key() == "a7620576133b4f967aae9af98b673d8a"


def test_another_set_up_is_refused_with_the_difference(tmp_path: Path) -> None:
    known = {"policy": "a1", "max_tokens": 256}
    check_same(tmp_path, known, {"policy": "a1", "max_tokens": 256})
    with pytest.raises(
        UserError, match=r'policy was "a1" and is "z9"; max_tokens was 256 and is 128'
    ) as error:
        check_same(tmp_path, known, {"policy": "z9", "max_tokens": 128})
    assert "choose another folder" in str(error.value)


def test_reading_a_finished_run(tmp_path: Path) -> None:
    run = Run(write_run(tmp_path / "run", problems=5))
    assert len(run.outcomes()) == 5 * 8
    assert set(run.outcomes().column_names) == set(OUTCOMES.names)
    assert len(run.candidates(strategy="majority(n=4)")) == 20
    assert len(run.candidates(strategy="majority(n=4)", problem="p0002")) == 4
    assert run.candidates(columns=["tokens"]).column_names == ["tokens"]
    assert run.problem("p0003").question == "question 3?"
    assert run.problem("p0003").metadata == {"family": "sums", "length": 5}
    results = list(run.results())
    assert len(results) == 40
    beam = next(one for one in results if one.outcome["strategy"] == "beam(n=16,width=4)")
    assert beam.answer == beam.candidates[0]["answer"]
    assert beam.correct == (beam.answer == "42")
    with pytest.raises(UserError, match="did you mean 'p0003'"):
        run.problem("p003")


def test_reading_what_no_run_is(tmp_path: Path) -> None:
    write_run(tmp_path / "first", problems=2)
    with pytest.raises(UserError, match="did you mean"):
        Run(tmp_path / "frist")
    (tmp_path / "first" / "run.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UserError, match="format is 99"):
        Run(tmp_path / "first")


def test_an_interrupted_run_is_read_from_its_log(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", problems=2)
    part = pq.read_table(folder / "outcomes" / "part-000001.parquet")
    rows = part.to_pylist()
    (folder / "outcomes" / "part-000001.parquet").unlink()
    (folder / "candidates" / "part-000001.parquet").unlink()
    writer = RunWriter(folder, None)
    line = {"task": "t", "outcomes": rows, "candidates": []}
    from actors.run_writer import _line

    writer._log.write(_line(line) + b"torn")
    writer._log.flush()
    run = Run(folder)
    assert run.outcomes().sort_by("key").equals(part.sort_by("key"))
    assert len(run.candidates()) == 0
    assert len(list(run.results())) == len(rows)


def test_a_later_outcome_of_the_same_key_counts(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", problems=2)
    old = Run(folder)
    before = old.outcomes().to_pylist()
    again = next(row for row in before if row["strategy"] == "majority(n=4)")
    candidates = [row for row in old.candidates().to_pylist() if row["key"] == again["key"]]
    write_part(folder, "outcomes", [again | {"answer": "7"}])
    write_part(folder, "candidates", [row | {"answer": "7"} for row in candidates[:3]])
    run = Run(folder)
    table = run.outcomes().to_pylist()
    assert len(table) == len(before)
    assert [row["answer"] for row in table if row["key"] == again["key"]] == ["7"]
    kept = run.candidates(problem=again["problem_id"], strategy="majority(n=4)", columns=["answer"])
    assert kept.to_pylist() == [{"answer": "7"}] * 3
    assert len(run.candidates(strategy="majority(n=4)")) == 7
    results = [one for one in run.results() if one.outcome["key"] == again["key"]]
    assert [(one.answer, len(one.candidates)) for one in results] == [("7", 3)]


def write_part(folder: Path, table: str, rows: list[dict[str, object]]) -> None:
    schema = OUTCOMES if table == "outcomes" else CANDIDATES
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / table / "part-000002.parquet")


def test_problems_are_stored_once(tmp_path: Path) -> None:
    store = ProblemStore(tmp_path)
    store.store([(PROBLEM, 9)])
    ProblemStore(tmp_path).store([(PROBLEM, 9), (replace(PROBLEM, id="p2", answer=None), 8)])
    parts = sorted(path.name for path in (tmp_path / "problems").iterdir())
    assert parts == ["part-000001.parquet", "part-000002.parquet"]
    ids = [pq.read_table(tmp_path / "problems" / part)["problem_id"].to_pylist() for part in parts]
    assert ids == [["p1"], ["p2"]]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
