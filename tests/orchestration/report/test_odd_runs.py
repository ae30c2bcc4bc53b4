"""Runs that are not as most are: problems that are not all labelled, strategies over problems of their own, samples without
a step. Each has its report, with what can be told."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from actors.store.schema import CANDIDATES, OUTCOMES
from orchestration.report.write import make_report
from orchestration.runs.problem_store import PROBLEMS
from orchestration.runs.run import Run
from orchestration.setup.settings import ReportSettings
from tests.support.handmade import FLOPS_A_TOKEN, write_run

SCHEMAS = {"outcomes": OUTCOMES, "candidates": CANDIDATES, "problems": PROBLEMS}
COUNT = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", problems=COUNT, ladder=(1, 4), lengths=False)


def edit(folder: Path, table: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Give each row of a table what `change` makes of it; None: it goes."""
    path = folder / table / "part-000001.parquet"
    rows = [new for row in pq.read_table(path).to_pylist() if (new := change(row)) is not None]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS[table]), path)


def number(row: dict[str, Any]) -> int:
    return int(row["problem_id"][1:])


def reported(folder: Path, name: str = "table") -> tuple[list[dict[str, str]], str]:
    """The rows of one of the report's tables, and its text."""
    make_report(Run(folder), ReportSettings(figures=[]))
    with (folder / "report" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file)), (folder / "report" / "report.md").read_text()


def test_a_problem_without_a_label_is_no_lack_of_its_strategies(folder: Path) -> None:
    edit(folder, "problems", lambda row: row if number(row) % 3 else row | {"answer": None})
    for table in ("outcomes", "candidates"):
        edit(folder, table, lambda row: row if number(row) % 3 else row | {"correct": None})
    rows, text = reported(folder)
    assert {row["ran"] for row in rows} == {"true", "false"}, "run, and told from subsets"
    assert {(row["problems"], row["asked"], row["accuracy_missing_wrong"]) for row in rows} == {
        ("12", "12", "")
    }
    assert "| strategy | N |" in text
    assert "8 of 12" not in text


def test_strategies_over_problems_of_their_own_say_how_many(folder: Path) -> None:
    """As many each, and not the same."""
    for table in ("outcomes", "candidates"):
        edit(
            folder,
            table,
            lambda row: row if row["strategy"].startswith("beam") == (number(row) < 6) else None,
        )
    rows, text = reported(folder)
    assert {row["problems"] for row in rows} == {"6"}
    assert "| strategy | problems | N |" in text
    assert "| beam(n=4,width=4) | 6 | 4 |" in text
    differences, _ = reported(folder, "differences")
    [pair] = [row for row in differences if (row["strategy"][:4], row["less"]) == ("beam", "majority(n=4)")]
    assert list(pair.values())[2:] == ["0", "", "", ""], "no number, in a form that any reader knows"


def test_samples_without_a_step_are_wrong_and_no_error(folder: Path) -> None:
    def sampled(row: dict[str, Any]) -> bool:
        return row["strategy"].startswith(("best_of_n", "majority"))

    nothing = {"answer": None, "correct": False}
    blank = {"steps": [], "step_tokens": [], "logprobs": [], "scores": [], "tokens": 1, "token_ids": [0]}
    edit(folder, "candidates", lambda row: row | blank | nothing if sampled(row) else row)
    edit(folder, "outcomes", lambda row: row | nothing if sampled(row) else row)
    record = json.loads((folder / "run.json").read_text())
    record["models"] = {"policy": {"cost": {"parameters": FLOPS_A_TOKEN // 2}}}
    (folder / "run.json").write_text(json.dumps(record))
    rows, _ = reported(folder)
    found = {row["strategy"]: row for row in rows}
    assert found["best_of_n(n=2)"]["accuracy"] == found["best_of_n(n=4)"]["accuracy"] == "0"
    half, whole = (float(found[f"best_of_n(n={n})"]["flops"]) for n in (2, 4))
    assert half == pytest.approx(whole / 2)


@pytest.mark.parametrize(
    "length", [10**30, True, [1], 2], ids=["huge", "a truth value", "a list", "a family each"]
)
def test_columns_of_a_table_that_are_called_length_and_family_are_no_panels(
    folder: Path, length: object
) -> None:
    edit(
        folder,
        "problems",
        lambda row: row | {"metadata": json.dumps({"length": length, "family": row["problem_id"]})},
    )
    assert make_report(Run(folder), ReportSettings(figures=[])).measures.difficulty == []


def test_a_strategy_whose_candidates_tell_little_is_named_below_the_table(folder: Path) -> None:
    def count(row: dict[str, Any]) -> dict[str, Any]:
        n = row["generations"]
        searched = row["strategy"].startswith("beam")
        unread = n if row["strategy"] == "majority(n=4)" else 0
        return row | {"ended": n, "unreadable": unread, "truncated": 0, "single_step": n if searched else 0}

    edit(folder, "outcomes", count)
    rows, text = reported(folder)
    assert {row["strategy"]: row["unreadable"] for row in rows if row["ran"] == "true"} == {
        "greedy": "0",
        "majority(n=1)": "0",
        "majority(n=4)": "1",
        "best_of_n(n=4)": "0",
        "beam(n=4,width=4)": "0",
    }
    assert "no answer could be read (majority(n=4) 48 of 48)" in text
    assert "of one step only, so there was little to search among (beam(n=4,width=4) 48 of 48)" in text
    assert "cut off at policy.max_tokens" not in text


def test_what_a_search_cut_off_is_a_share_of_all_that_it_drew(folder: Path) -> None:
    """Trap: with those that it dropped it may cut off more than it has generations."""

    def cut(row: dict[str, Any]) -> dict[str, Any]:
        n = row["generations"]
        searched = row["strategy"].startswith("beam")
        return row | {"ended": 2 * n, "truncated": n + n // 2 if searched else 0}

    edit(folder, "outcomes", cut)
    rows, _ = reported(folder)
    told = {row["strategy"]: row["truncated"] for row in rows if row["ran"] == "true"}
    assert told.pop("beam(n=4,width=4)") == "0.75"
    assert set(told.values()) == {"0"}


def test_a_run_of_before_candidates_were_counted_raises_no_doubt(folder: Path) -> None:
    rows, text = reported(folder)
    assert {row["unreadable"] for row in rows} == {""}
    assert "of the candidates or more" not in text


def shown(folder: Path, width: int) -> str:
    """The report as a terminal of this width has it."""
    console = Console(file=io.StringIO(), width=width, color_system=None)
    make_report(Run(folder), ReportSettings(figures=[])).show(console)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_half_of_the_answers_unreadable_is_told_on_a_narrow_terminal(folder: Path) -> None:
    def half(row: dict[str, Any]) -> dict[str, Any]:
        n = row["generations"]
        unread = number(row) % 2 if row["strategy"] == "greedy" else 0
        return row | {"ended": n, "unreadable": unread, "truncated": 0, "single_step": 0}

    edit(folder, "outcomes", half)
    said = shown(folder, 80)
    assert "no answer" in said.partition("greedy")[0], "the column stands while others go"
    assert "50.0%" in next(line for line in said.splitlines() if line.startswith(" greedy"))
    assert "no answer could be read (greedy 6 of 12)" in " ".join(said.split())


def test_problems_without_a_reference_are_told_on_the_terminal(folder: Path) -> None:
    edit(folder, "problems", lambda row: row if number(row) % 2 else row | {"answer": None})
    for table in ("outcomes", "candidates"):
        edit(folder, table, lambda row: row if number(row) % 2 else row | {"correct": None})
    note = "6 of 12 problems have no reference answer: accuracies are over the other 6."
    assert note in " ".join(shown(folder, 80).split())
