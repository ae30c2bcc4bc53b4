"""FLOPs beyond 64 bits: written, summed and read back to the last digit, by the status and the report as well."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from actors.ledger import Entry, Ledger
from actors.messages import Commit, Loss, Record, Settlement
from actors.store.log import read_books, read_holds
from actors.store.rows import rows_of
from actors.store.writer import RunWriter
from actors.work import Cost
from orchestration.commands.main import main
from orchestration.report.write import make_report
from orchestration.runs.run import Run
from orchestration.setup.settings import ReportSettings
from tests.support.folders import die, hold, opened, outcome
from tests.support.handmade import write_run
from tests.support.log_files import ledger_part

MUCH = 12 * 10**18
MORE = 3 * 10**29 + 7


@pytest.mark.parametrize("flops", [MUCH, MORE])
def test_books_beyond_64_bits_are_read_back_exactly(tmp_path: Path, flops: int) -> None:
    paid = Cost({"policy": 3}, flops, flops + 1)
    one = replace(outcome("a"), spent=paid, attributed=paid)
    writer = RunWriter(tmp_path, None)
    writer.commit(Commit(holds=(hold(1, "a", flops), hold(2, "b", flops), hold(3, "c", flops))))
    writer.stage(1, "a", Record((one,)))
    entries = (Entry("policy", "kept", flops), Entry("policy", "kept", flops))
    loss = Loss(2, "b", 1, (Entry("unknown", "lost", flops),), "died")
    writer.commit(Commit(settled=(Settlement(1, "a", 1, entries),), losses=(loss,)))
    assert (writer.books().spent, writer.books().wasted) == read_books(tmp_path) == (2 * flops, flops)
    die(writer)
    assert read_holds(tmp_path)[3].flops == flops
    with opened(tmp_path) as again:
        assert (again.books().spent, again.books().wasted) == (2 * flops, 2 * flops)
    assert read_books(tmp_path) == (2 * flops, 2 * flops), "from parts alone"
    run = Run(write_run(tmp_path / "other", problems=1))
    run.folder = tmp_path
    assert [row["spent_flops"] for row in rows_of(run.outcomes())] == [flops]
    [result] = run.results()
    costs = [
        result.outcome[f"{kind}_flops{unit}"] for kind in ("spent", "attributed") for unit in ("", "_exact")
    ]
    assert costs == [flops, flops + 1, flops, flops + 1]
    assert {type(cost) for cost in costs} == {int}


def test_sums_of_parts_that_have_64_bits_are_beyond_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path / "run", problems=2)
    row = {"purpose": "policy", "kind": "kept", "flops": MUCH // 2}
    ledger_part(folder, 1, [row, row])
    assert read_books(folder) == (MUCH, 0)
    assert main(["status", str(folder)]) == 0
    assert "1.20e19" in capsys.readouterr().out
    totals = make_report(Run(folder), ReportSettings(figures=[])).totals
    assert totals[1].startswith("Spent: 1.20e19 FLOPs")


def test_the_largest_budget_is_a_limit() -> None:
    ledger = Ledger(10**30)
    assert ledger.limited
    assert not ledger.grant(1, 10**30 + 1)
    assert ledger.grant(1, 10**30)
