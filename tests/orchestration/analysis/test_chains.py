"""What becomes of attempts along chains, on a table that is counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from actors.store.schema import CANDIDATES, OUTCOMES
from orchestration.analysis.chains import chains_of
from orchestration.analysis.collect import Collected, collect
from orchestration.analysis.rows import Intervals
from orchestration.report.chain_tables import chain_cells, chain_lines, chains_table
from orchestration.runs.problem_store import PROBLEMS

TEXT = "revision(sequential=3,parallel=2)"

# By problem: two chains of three answers; None: unreadable, "": not drawn.
SAID: dict[str, list[list[str | None]]] = {
    "p0": [["42", "42", "42"], ["1", "42", "42"]],
    "p1": [["42", "2", "2"], ["1", "2", "1"]],
    "p2": [["1", None, None], ["3", "", ""]],
}


def outcome(problem: str, state: str = "answered") -> dict[str, Any]:
    counts = dict.fromkeys((name for name in OUTCOMES.names if "flops" in name or "tokens" in name), 0)
    return (
        dict.fromkeys(OUTCOMES.names)
        | counts
        | {
            "key": problem,
            "problem_id": problem,
            "strategy": TEXT,
            "seed": 0,
            "state": state,
            "reason": "",
            "correct": False,
            "generations": 6,
            "truncated": 0,
            "wall_seconds": 1.0,
        }
    )


def attempts(problem: str, chains: list[list[str | None]]) -> list[dict[str, Any]]:
    return [
        dict.fromkeys(CANDIDATES.names)
        | {
            "key": problem,
            "problem_id": problem,
            "strategy": TEXT,
            "seed": 0,
            "index": 3 * chain + step,
            "answer": answer,
            "ballot": answer,
            "correct": answer == "42",
            "kept": True,
        }
        for chain, answers in enumerate(chains)
        for step, answer in enumerate(answers)
        if answer != ""
    ]


def collected(*more: tuple[str, list[list[str | None]]], size: int = 4) -> Collected:
    """The table, in batches of `size` rows, with some outcomes made again before it."""
    made = [*more, *SAID.items()]
    outcomes = [outcome(problem) for problem, _ in made]
    rows = [row for problem, chains in made for row in attempts(problem, chains)]
    problems = [
        dict.fromkeys(PROBLEMS.names) | {"problem_id": problem, "answer": "42", "metadata": "{}"}
        for problem in SAID
    ]
    tables = [
        pa.Table.from_pylist(some, schema=schema)
        for some, schema in ((outcomes, OUTCOMES), (rows, CANDIDATES), (problems, PROBLEMS))
    ]
    first, second, third = tables
    return collect(
        lambda names: first.select(list(names)).to_batches(),
        lambda _: lambda names: second.select(list(names)).to_batches(max_chunksize=size),
        lambda names: third.select(list(names)).to_batches(),
    )


@pytest.mark.parametrize("size", [1, 4, 5, 100])
def test_an_example_by_hand(size: int) -> None:
    # p1 was made once before, with other answers and more of them right.
    run = collected(("p1", [["42", "42", "42"], ["42", "42", "42"]]), size=size)
    [found] = chains_of(run, Intervals().mean)
    # By step: p0 has 1/2, 1, 1; p1 1/2, 0, 0; p2 0, 0 of the one chain that went on.
    assert [step.mean for step in found.steps] == pytest.approx([1 / 3, 1 / 3, 1 / 3])
    assert [step.problems for step in found.steps] == [3, 3, 3]
    # Of right attempts with a next one: p0 2 + 1, p1 1 of which one is spoiled.
    assert (found.right, found.spoiled) == (4, 1)
    # Of wrong ones: p0 1, p1 1 + 2, p2 2; one is mended.
    assert (found.wrong, found.mended) == (6, 1)
    # p1's chains end on a 2 and a 1 that they had given before; p2's first on nothing that could be read.
    assert (found.chains, found.stuck) == (5, 2)
    assert found.note == ""


def test_difficulty_has_the_problems_of_each_bin_alone() -> None:
    run = collected()
    at = {name: int(run.places.of(pa.array([name]))[0]) for name in SAID}
    bins = [("", 1, np.array([at["p0"]])), ("", 2, np.array([at["p1"], at["p2"]]))]
    [found] = chains_of(run, Intervals().mean, bins)
    assert [[step.mean for step in steps] for _, _, steps in found.bins] == [[0.5, 1, 1], [0.25, 0, 0]]


def test_what_is_shown_and_written() -> None:
    run = collected()
    [found] = chains_of(run, Intervals().mean)
    head, cells = chain_cells([found])
    assert head == ["strategy", "step", "problems", "pass@1", "interval"]
    assert [row[:4] for row in cells] == [[TEXT, str(step), "3", "33.3%"] for step in (1, 2, 3)]
    [line] = chain_lines([found])
    assert line == (
        f"{TEXT}: 25.0% of 4 right attempts spoiled, 16.7% of 6 wrong ones mended, 40.0% of 5 chains stuck."
    )
    table = chains_table([found], "an axis")
    assert table["pass_at_1"].to_pylist() == pytest.approx([1 / 3] * 3)
    assert table["step"].to_pylist() == [1, 2, 3]


def test_chains_that_are_stuck_are_a_warning() -> None:
    run = collected(size=100)
    [found] = chains_of(run, Intervals().mean)
    SAID["p0"][0][:] = ["1", "1", "1"]
    try:
        [stuck] = chains_of(collected(size=100), Intervals().mean)
    finally:
        SAID["p0"][0][:] = ["42", "42", "42"]
    assert (found.note, stuck.stuck) == ("", 3)
    assert stuck.note.startswith(f"3 of 5 chains of {TEXT} end on a wrong answer")
    assert stuck.note in chain_lines([stuck])
