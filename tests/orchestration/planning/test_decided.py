"""What was decided for one problem, read from a run's table of decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import UserError
from orchestration.commands.main import main
from orchestration.planning.decided import decided
from orchestration.runs.run import Run
from tests.support.handmade import write_run
from tests.support.log_files import logged

KEY = "p0001 beam(n=4,width=4)"


def row(index: int, stage: str, option: str | None, **more: Any) -> dict[str, Any]:
    fixed = {"key": KEY, "problem_id": "p0001", "strategy": "beam(n=4,width=4)", "seed": 0, "index": index}
    told = {
        "stage": stage,
        "cell": 1,
        "chance": 0.25,
        "price": 1e-9,
        "option": option,
        "gain": 0.1,
        "flops": 1000,
    }
    return fixed | told | more


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = write_run(tmp_path / "run", problems=3, ladder=(1, 4))
    (found / "decisions").mkdir()
    rows = [row(0, "0", "1"), row(1, "1", None), row(0, "0", "4", key="another", problem_id="p0002")]
    pq.write_table(pa.Table.from_pylist(rows), found / "decisions" / "part-000001.parquet")
    return found


def test_decisions_stand_in_their_order_with_how_it_ended(folder: Path) -> None:
    [one] = decided(Run(folder), "p0001")
    assert (one.strategy, one.seed, one.state) == ("beam(n=4,width=4)", 0, "answered")
    assert [(step.stage, step.option) for step in one.steps] == [("0", "1"), ("1", None)]


def test_of_an_outcome_that_was_made_again_the_newest_count(folder: Path) -> None:
    again = [row(0, "0", "1"), row(1, "1", "2", price=5e-10), row(2, "2", None)]
    logged(folder, 2, {"decisions": again})
    [one] = decided(Run(folder), "p0001")
    assert [(step.stage, step.option) for step in one.steps] == [("0", "1"), ("1", "2"), ("2", None)]
    assert one.steps[1].price == 5e-10


def test_a_problem_without_decisions_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"problem = 'p0000': no strategy of .* went by a plan on it"):
        decided(Run(folder), "p0000")


def test_the_command_shows_each_with_its_price(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(folder), "p0001"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "p0001, beam(n=4,width=4), seed 0: answered" in text
    assert "nothing drawn 2 - 1.00e-09 1 sample +10.0 1.00e3" in text.replace("1.00e-9", "1.00e-09")
    assert "1 sample 2 25.0% 1.00e-09 stopped - -" in text.replace("1.00e-9", "1.00e-09")
    assert main(["explain", str(folder), "p0001", "figures=[svg]"]) == 2
    assert "settings are for a plan" in capsys.readouterr().err
