"""Accuracy by columns of the problems' metadata: numbers against counts, groups without a number, and what cannot be grouped
by."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from actors.errors import UserError
from orchestration.analysis.columns import NO_VALUE
from orchestration.report.write import Report, make_report
from orchestration.runs.problem_store import PROBLEMS
from orchestration.runs.run import Run
from orchestration.setup.settings import ReportSettings
from tests.support.handmade import rewritten, write_run

PROBLEM_COUNT = 24


def run_with(folder: Path, metadata: Callable[[int], dict[str, Any]]) -> Path:
    """A hand-made run whose problems have this metadata, by their number."""
    write_run(folder, problems=PROBLEM_COUNT, ladder=(1, 4), lengths=False)
    part = folder / "problems" / "part-000001.parquet"
    rows = [
        row | {"metadata": json.dumps(metadata(place))}
        for place, row in enumerate(pq.read_table(part).to_pylist())
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=PROBLEMS), part)
    return folder


def by(folder: Path, *columns: str) -> Report:
    return make_report(Run(folder), ReportSettings(by=list(columns), figures=[]))


def test_a_group_counts_its_own_problems(tmp_path: Path) -> None:
    level = {0: 10, 1: 9.0, 2: None}
    folder = run_with(tmp_path / "run", lambda n: {"level": level[n % 3], "half": n < 6})
    rewritten(
        folder,
        # Of one strategy nothing ran on the problems of level 9.
        lambda row: (
            {"state": "quarantined", "correct": None, "answer": None}
            if row["strategy"] == "greedy" and int(row["problem_id"][1:]) % 3 == 1
            else None
        ),
        lambda text: text,
    )
    report = by(folder, "level", "half", "level")
    groups = {(one.column, one.value, one.strategy): one for one in report.measures.groups}
    strategies = ("greedy", "majority(n=4)", "best_of_n(n=4)", "beam(n=4,width=4)")
    values = [("level", "9"), ("level", "10"), ("level", NO_VALUE), ("half", "false"), ("half", "true")]
    assert list(groups) == [(*value, strategy) for value in values for strategy in strategies]
    right: dict[str, list[bool]] = {}
    for row in Run(folder).outcomes().to_pylist():
        if row["strategy"] == "beam(n=4,width=4)":
            right.setdefault(str(int(row["problem_id"][1:]) % 3), []).append(row["correct"])
    for place, value in enumerate(("10", "9", NO_VALUE)):
        [told] = [groups["level", value, "beam(n=4,width=4)"]]
        assert told.accuracy.mean == pytest.approx(sum(right[str(place)]) / len(right[str(place)]))
        assert (told.accuracy.problems, told.asked) == (8, 8)
    with (folder / "report" / "groups.csv").open() as file:
        rows = {(row["column"], row["value"], row["strategy"]): row for row in csv.DictReader(file)}
    nothing = rows["level", "9", "greedy"]
    assert (nothing["problems"], nothing["asked"], nothing["accuracy"]) == ("0", "8", "")
    text = (folder / "report" / "report.md").read_text()
    assert "## By level" in text
    assert "| 9 | greedy | 0 of 8 | - | - |" in text
    # What an earlier report grouped by is not left beside this one.
    by(folder)
    assert not (folder / "report" / "groups.csv").exists()


def test_values_stand_in_order_and_a_column_may_be_called_anything(tmp_path: Path) -> None:
    names = ["Level 10", "level 9", "-3", "2.5", "[red]|x", "Level 10 ", " "]
    folder = run_with(tmp_path / "run", lambda n: {"[/b]|of\nit": names[n % len(names)]})
    report = by(folder, "[/b]|of\nit")
    values = list(dict.fromkeys(one.value for one in report.measures.groups))
    assert values == ["-3", "2.5", "[red]|x", "level 9", "Level 10", NO_VALUE]
    assert "| [/b]\\|of it | strategy |" in (folder / "report" / "report.md").read_text()
    console = Console(width=120, file=io.StringIO())
    report.show(console)
    assert "[red]|x" in console.file.getvalue()  # type: ignore[attr-defined]


def test_what_cannot_be_grouped_by_is_named(tmp_path: Path) -> None:
    folder = run_with(tmp_path / "run", lambda n: {"level": n, "name": f"name {n}"})
    with pytest.raises(UserError, match=re.escape("report.by = 'levle': no problem has such a column; they")):
        by(folder, "levle")
    with pytest.raises(UserError, match="the problems have no further columns"):
        by(write_run(tmp_path / "bare", problems=2, ladder=(1,), lengths=False), "level")


def test_a_column_that_names_each_problem_is_no_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_with(tmp_path / "run", lambda n: {"name": f"name {n}"})
    monkeypatch.setattr("orchestration.report.tables.GROUPS_SHOWN", 20)
    assert "| 4 more in groups.csv |" in (by(folder, "name").paths[0]).read_text()
    monkeypatch.setattr("orchestration.analysis.columns.MOST_VALUES", 20)
    with pytest.raises(UserError, match=r"report\.by = 'name': it has more than 20 values"):
        by(folder, "name")


def test_without_labels_there_is_no_group(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "bare", problems=6, ladder=(1,), labels=False)
    assert by(folder, "length").measures.groups == []
