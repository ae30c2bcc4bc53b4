"""The commands of planning on a run that is there: what they print, what they write, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.allocation.plan import read_plan
from orchestration.commands.main import main
from tests.support.planned import write_planned


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and a plan of it."""
    found = write_planned(tmp_path_factory.mktemp("planning") / "run", problems=50, ladder=(1, 4))
    assert main(["calibrate", str(found), "plan.orders=1", "plan.cells=3"]) == 0
    return found


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_a_plan_is_made_of_a_run_that_is_there(folder: Path) -> None:
    plan = read_plan(folder / "plan.yaml")
    assert plan.offer.samples == (1, 2, 4)
    assert all(stage.cells <= 3 for stage in plan.table.stages)


def test_a_plan_is_explained_and_drawn(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", str(folder / "plan.yaml"), f"out={tmp_path / 'out'}", "figures=[svg]"]) == 0
    text = said(capsys)
    assert "made on" in text
    assert "from 50 problems (made by hand; " in text
    for title in ("Best strategy by difficulty", "Value table", "Calibration"):
        assert title in text
    assert "noise" in text
    page = (tmp_path / "out" / "explanation.md").read_text()
    assert "| stage | cell | right now | problems | goes on below | by |" in page
    # Every state of the table is a row.
    plan = read_plan(folder / "plan.yaml")
    rows = page.partition("## Value table")[2].partition("## Calibration")[0].count("\n| ")
    assert rows == plan.table.states + 1
    assert "beam(n=4,width=4)" in (tmp_path / "out" / "value_table.svg").read_text()


def test_other_budgets_and_prices_are_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["whatif", str(folder), "orders=1", "figures=[svg]", "cells=3"]
    assert main([*words, "budgets=[3e8,1e9]"]) == 0
    text = said(capsys)
    assert "one price 3.00e8" in text
    assert "the same for each: 4" in text
    assert {one.name for one in (folder / "whatif").iterdir()} == {"whatif.md", "whatif.svg"}
    assert main([*words, "prices=[1e-9]", "vote=majority"]) == 0
    assert "at the price 1.00e-09" in said(capsys).replace("1.00e-9", "1.00e-09")
    assert main([*words, "prices=[1e-9]", "budgets=[1e9]"]) == 2
    assert "give budgets or prices" in capsys.readouterr().err


def test_allocators_are_compared(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = write_planned(tmp_path / "known", problems=50, ladder=(1, 4), seed=1)
    words = ["compare-allocators", str(folder), "orders=1", "figures=[svg]"]
    assert main([*words, f"known={known}"]) == 0
    text = said(capsys)
    for name in ("best-of-N weighted", "UAB", "AdaBoN", "Zuo-Zhu elimination", "Blend-ASC", "one price"):
        assert name in text
    for told in ("predicted bins", "predicted bins for free", "oracle bins"):
        assert f"compute-optimal, {told}" in text
    for name in ("O1, static", "O2, stops at success", "O3, clairvoyant"):
        assert f"~ {name}" in text
    assert "outside noise at" in text
    page = (folder / "allocators" / "report.md").read_text()
    for title in (
        "Accuracy at the same FLOPs a problem, 50 problems",
        "FLOPs saved at equal accuracy",
        "N = 2: ",
    ):
        assert f"## {title}" in page
    assert "one price" in (folder / "allocators" / "allocators.svg").read_text()
    assert {one.name for one in (folder / "allocators").iterdir()} == {
        "report.md",
        "allocators.svg",
        *(f"{name}.{kind}" for name in ("allocators", "savings") for kind in ("csv", "parquet")),
    }


def test_difficulty_is_shown_with_what_it_is_held_against(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["difficulty", str(folder), "samples=2"]) == 0
    text = said(capsys)
    assert "predicted, 2 samples oracle 50" in text
    assert "oracle length 50" in text
    assert "oracle bin predicted 1 predicted 2" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["calibrate", "a", "b"], "name one run to fit to"),
        (["calibrate", "a", "dataset.count=3"], "a run that is named is fitted to as it is"),
        (["explain"], "name one plan"),
        (["whatif"], "name one run"),
        (["whatif", "a", "budgets=[-1]"], "budgets = -1.0: each must be above 0"),
        (["whatif", "a", "vote=mean"], "choose one of majority, weighted, best"),
        (["whatif", "a", "cells=1"], "cells = 1: it must be at least 2"),
        (["compare-allocators", "a", "figures=[gif]"], "figures = 'gif': choose one of png, svg, pdf"),
        (["compare-allocators", "a", "b"], "name one run"),
        (["difficulty", "a", "samples=0"], "samples = 0: it must be at least 1"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", ["calibrate", "explain", "whatif", "compare-allocators", "difficulty"])
def test_help_teaches_with_examples_and_every_setting(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"flopwise {command}")
    assert text.count(f"flopwise {command} ") >= 3
    assert "Settings, with their defaults" in text
