"""Sets of samples as they are read: straddling batches, made again, cut short; and ids as places."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.store.rows import rows_of
from actors.store.schema import CANDIDATES, OUTCOMES
from orchestration.analysis.places import Places
from orchestration.analysis.samples import Block, blocks, largest_set
from orchestration.runs.run import Run
from tests.support.handmade import batches_of, collected, write_run
from tests.support.log_files import logged

SOURCE = "best_of_n(n=16)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", problems=9)


def of_problem(folder: Path, table: str, problem: str) -> list[dict[str, Any]]:
    rows = rows_of(pq.read_table(folder / table / "part-000001.parquet"))
    return [row for row in rows if (row["strategy"], row["problem_id"]) == (SOURCE, problem)]


def add(folder: Path, number: int, outcomes: list[dict[str, Any]], candidates: list[dict[str, Any]]) -> None:
    for table, rows, schema in (("outcomes", outcomes, OUTCOMES), ("candidates", candidates, CANDIDATES)):
        pq.write_table(
            pa.Table.from_pylist(rows, schema=schema), folder / table / f"part-{number:06d}.parquet"
        )


def sets_of(folder: Path, **tables: pa.Table) -> tuple[list[Block], dict[str, list[str | None]]]:
    """The blocks of a run's largest set, and the answers by problem."""
    arrays = collected(Run(folder), **tables)
    source = largest_set(arrays.strategies, arrays.labelled)
    assert source is not None
    assert source.name.text == SOURCE
    found = list(blocks(arrays, source, steps=True))
    pairs = [pair for block in found for pair in zip(block.ids, block.answers, strict=True)]
    assert len(dict(pairs)) == len(pairs), "each set once"
    return found, dict(pairs)


def test_sets_that_straddle_batches_are_whole(folder: Path) -> None:
    found, answers = sets_of(folder)
    # 97 rows a batch and 16 a set: no batch but the last ends with a set.
    assert len(found) > 1
    assert len(answers) == 9
    for problem, mine in answers.items():
        assert mine == [row["answer"] for row in of_problem(folder, "candidates", problem)]
    assert {block.correct.shape[1] for block in found} == {16}


def test_of_a_set_that_was_made_again_the_newest_counts(folder: Path) -> None:
    outcome, candidates = (of_problem(folder, table, "p0003") for table in ("outcomes", "candidates"))
    add(folder, 2, outcome, [row | {"answer": "older"} for row in candidates])
    add(folder, 3, outcome, [row | {"answer": "newer"} for row in candidates])
    _, answers = sets_of(folder, outcomes=stored(folder, "outcomes"), candidates=stored(folder, "candidates"))
    assert answers["p0003"] == ["newer"] * 16
    assert len(answers) == 9


def test_a_set_that_was_cut_short_and_then_paid_is_whole(folder: Path) -> None:
    outcome, candidates = (of_problem(folder, table, "p0003") for table in ("outcomes", "candidates"))
    for table, rows in (("outcomes", outcome), ("candidates", candidates)):
        path = folder / table / "part-000001.parquet"
        gone = pq.read_table(path).to_pylist()
        schema = OUTCOMES if table == "outcomes" else CANDIDATES
        kept = [row for row in gone if row not in rows]
        short = (
            [row | {"reason": "the budget ended", "generations": 3} for row in rows]
            if table == "outcomes"
            else rows[:3]
        )
        pq.write_table(pa.Table.from_pylist([*short, *kept], schema=schema), path)
    assert "p0003" not in sets_of(folder)[1]
    add(folder, 2, outcome, candidates)
    _, answers = sets_of(folder, outcomes=stored(folder, "outcomes"), candidates=stored(folder, "candidates"))
    assert answers["p0003"] == [row["answer"] for row in candidates]


def test_what_failed_in_the_end_has_no_samples(folder: Path) -> None:
    [outcome] = of_problem(folder, "outcomes", "p0003")
    add(folder, 2, [outcome | {"state": "quarantined", "answer": None, "correct": False}], [])
    _, answers = sets_of(folder, outcomes=stored(folder, "outcomes"), candidates=stored(folder, "candidates"))
    assert len(answers) == 8
    assert "p0003" not in answers


def stored(folder: Path, table: Any) -> pa.Table:
    """All rows of a table, those that were replaced as well."""
    one = Run(folder).stored(table)
    return pa.Table.from_batches(one.batches(one.schema.names), schema=one.schema)


def test_a_table_is_read_in_the_order_in_which_it_was_written_its_log_last(folder: Path) -> None:
    outcome, candidates = (of_problem(folder, table, "p0003") for table in ("outcomes", "candidates"))
    add(folder, 2, [outcome[0] | {"key": "second"}], [])
    logged(folder, 3, {"outcomes": [outcome[0] | {"key": "third"}], "candidates": candidates[:1]})
    assert stored(folder, "outcomes")["key"].to_pylist()[-2:] == ["second", "third"]
    assert len(stored(folder, "candidates")) == len(Run(folder).candidates())
    one = Run(folder).stored("outcomes")
    # What comes after the moment is not seen.
    add(folder, 4, outcome, [])
    assert sum(len(batch) for batch in one.batches(["seed"])) == 9 * 8 + 2


def test_places_are_the_order_in_which_ids_first_come() -> None:
    table = pa.table({"id": ["b", "a", "b", "d", "a", "c"]})
    places = Places(batch["id"] for batch in table.to_batches(max_chunksize=2))
    assert len(places) == 4
    np.testing.assert_array_equal(places.of(pa.array(["c", "x", "a", "b", "d"])), [3, -1, 1, 0, 2])
    np.testing.assert_array_equal(Places([]).of(pa.array(["a"])), [-1])
    assert list(batches_of(table)(["id"]))


def test_a_set_counts_ballots_where_there_are_any(folder: Path) -> None:
    outcome, candidates = (of_problem(folder, table, "p0003") for table in ("outcomes", "candidates"))
    said = [("5 m", "5\t\tm"), ("5", None), ("0.5", "0.5"), (r"\frac{1}{2}", "0.5")] * 4
    rows = [
        row | {"answer": answer, "ballot": ballot}
        for row, (answer, ballot) in zip(candidates, said, strict=True)
    ]
    add(folder, 2, outcome, rows)
    _, answers = sets_of(folder, outcomes=stored(folder, "outcomes"), candidates=stored(folder, "candidates"))
    assert answers["p0003"] == ["5", "5", "0.5", "0.5"] * 4
