"""Runs side by side in one report: rows of both, compared over the same problems, and costs of its own run alone."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from actors.errors import UserError
from orchestration.report.write import Report, make_report
from orchestration.runs.run import Run
from orchestration.setup.settings import ReportSettings
from tests.support.planned import write_planned

PLANNED = "compute_optimal(plan=plan_0a)"
BEAM = "beam(n=4,width=4)"


def alone(folder: Path) -> Path:
    """A run of the same problems that has one strategy: what its beam search found, as one with a plan."""
    write_planned(folder, ladder=(1, 4))
    for name in ("outcomes", "candidates"):
        part = folder / name / "part-000001.parquet"
        table = pq.read_table(part)
        rows = table.filter(pc.equal(table["strategy"], BEAM)).to_pylist()
        mine = [row | {"strategy": PLANNED, "key": f"planned {row['key']}"} for row in rows]
        pq.write_table(table.from_pylist(mine, schema=table.schema), part)
    return folder


def beside(folder: Path, *others: Path, pairs: tuple[str, ...] = ()) -> Report:
    return make_report(
        Run(folder), ReportSettings(figures=[], beside=[str(one) for one in others], pairs=list(pairs))
    )


def test_strategies_of_another_folder_stand_beside_its_own_and_are_compared(tmp_path: Path) -> None:
    many, one = write_planned(tmp_path / "many", ladder=(1, 4)), alone(tmp_path / "one")
    ours, theirs = beside(one), beside(many)
    both = beside(one, many, pairs=("compute_optimal vs best_of_n(n=4)",))
    rows = {row.strategy: row for row in both.measures.rows}
    assert set(rows) == {PLANNED} | {row.strategy for row in theirs.measures.rows}
    assert both.measures.problems == 60
    for report in (ours, theirs):
        for row in report.measures.rows:
            assert rows[row.strategy].accuracy == row.accuracy
            assert rows[row.strategy].flops == pytest.approx(row.flops, nan_ok=True)
    [last] = [d for d in both.measures.differences if (d.a, d.b) == (PLANNED, "best_of_n(n=4)")]
    assert last.estimate.problems == 60
    assert both.totals == ours.totals, "what it cost is told of the run alone"
    assert PLANNED in both.paths[0].read_text()


def test_a_run_of_other_models_stands_beside_no_other(tmp_path: Path) -> None:
    one, other = alone(tmp_path / "one"), write_planned(tmp_path / "other", ladder=(1, 4))
    record = json.loads((other / "run.json").read_text())
    record["identity"]["policy"] = "p1"
    (other / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r'report.beside = .*policy.path was "p1" and is "p0"'):
        beside(one, other)
    with pytest.raises(UserError, match="no run there"):
        beside(one, tmp_path / "nowhere")


def test_the_name_of_a_family_with_several_members_means_none_of_them(tmp_path: Path) -> None:
    many = write_planned(tmp_path / "many", ladder=(1, 4, 8))
    with pytest.raises(UserError, match="the run has no strategy 'best_of_n'"):
        beside(many, pairs=("best_of_n vs greedy",))
