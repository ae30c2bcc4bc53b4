"""Values of another type, and texts that a command line would read otherwise, given from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.errors import UserError
from orchestration import api
from orchestration.allocation.plan import read_plan
from orchestration.runs.run import Run
from orchestration.setup.prepare import Prepared
from tests.support.planned import write_planned


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Settings that were prepared, in place of a run."""
    given: list[Any] = []

    def prepare(settings: Any) -> Any:
        given.append(settings)
        return settings

    monkeypatch.setattr(api, "prepare", prepare)
    monkeypatch.setattr(api, "evaluate_prepared", lambda prepared, on_progress: prepared)
    return given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strategies": 3}, "strategies = 3: give a list of strategies' texts or mappings, or one text"),
        ({"strategies": None}, "strategies = None: give a list"),
        ({"strategies": ["greedy", 3]}, "strategies = 3: each must be a text"),
        ({"strategies": [{"_target_": object}]}, "strategies = .*it takes texts, numbers"),
        ({"folder": None}, "folder = None: give a text or a Path"),
        ({"folder": 3}, "folder = 3: give a text or a Path"),
        ({"folder": "a\0b"}, "folder = .*: it must be the name of a file or folder"),
        ({"count": "many"}, "dataset.count = 'many': it must be a whole number"),
        ({"seeds": 3}, "seeds = 3: give a list of numbers"),
        ({"seeds": "01"}, "seeds = '01': give a list of numbers"),
        ({"dataset": ["a"]}, r"dataset = \['a'\]: give the name of a data set, or a file"),
        ({"policy": 3}, "policy = 3: give an option's name, or a model's folder"),
        ({"policy": b"x"}, "policy = b'x': give an option's name"),
        ({"verifier": 3}, "verifier = 3: give an option's name"),
        ({"reviser": {"_target_": "my.C"}}, "reviser = .*: give an option's name, or a model's folder"),
        ({"verifier": {"_target_": "my.C", "weight": object()}}, "verifier = .*it takes texts, numbers"),
        ({"budget": [1]}, r"budget.flops = \[1\]: it must be a whole number"),
        ({"settings": "seeds=[1]"}, r"settings = 'seeds=\[1\]': give a list of key=value texts"),
        ({"settings": [1]}, "settings = 1: each must be a text"),
        ({"settings": {"seeds": [1]}}, "settings = .*: give a list of key=value texts"),
        ({"max_tokens": 64}, r"max_tokens = 64: it is a setting: give settings=\['policy.max_tokens=64'\]"),
        ({"stop": ["a, b"]}, r"""give settings=\['policy.stop=\["a, b"\]'\]"""),
        ({"path": "x"}, r"give settings=\['dataset.path=x'\] or settings=\['policy.path=x'\] or "),
        (
            {"polcy": "x"},
            r"polcy = 'x': evaluate takes no such argument \(did you mean 'policy'\?\); it takes str",
        ),
        ({"on_progress": 3}, "on_progress = 3: give a function that takes a Progress"),
    ],
)
def test_a_value_of_another_type_is_named(
    given: dict[str, Any], message: str, nothing_runs: list[Prepared]
) -> None:
    with pytest.raises(api.UserError, match=message) as error:
        api.evaluate(**{"strategies": "greedy", "folder": "r"} | given)
    assert "\n" not in str(error.value)
    assert nothing_runs == []


def test_a_setting_of_a_report_is_named_as_one() -> None:
    mend = r"level = 0.9: it is a setting: give settings=ReportSettings\(level=0.9\)"
    with pytest.raises(api.UserError, match=mend):
        api.report("r", level=0.9)  # type: ignore[arg-type]


@pytest.mark.parametrize("ask", [api.load, api.report, api.status])
def test_what_is_no_run_is_named(ask: Any) -> None:
    with pytest.raises(api.UserError, match="run = None: give a run, or its folder"):
        ask(None)


def test_texts_from_python_are_taken_as_they_are(nothing_runs: list[Any], tmp_path: Path) -> None:
    odd = """it's, "a" [b] \\n ü"""
    policy = tmp_path / odd
    policy.mkdir()
    api.evaluate(["majority(n=2)"], folder=odd, dataset=Path(odd), policy=policy, reviser=policy)
    api.evaluate("greedy,majority(n=2)", folder="r", dataset="my/d.CSV", settings=['folder="s"'])
    first, second = nothing_runs
    assert (first.strategies, first.folder, first.dataset.path) == (["majority(n=2)"], odd, odd)
    assert first.policy.path == first.reviser.path == str(policy)
    assert second.strategies == ["greedy", "majority(n=2)"]
    assert (second.folder, second.dataset.path) == ("s", "my/d.CSV")


def test_a_plan_from_python_takes_the_words_of_the_command(
    nothing_runs: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(write_planned(tmp_path / "run", problems=50, ladder=(1, 4)))
    monkeypatch.setattr(api, "check_sweep", lambda prepared, difficulty: None)
    monkeypatch.setattr(api, "evaluate_prepared", lambda prepared, on_progress: run)
    out = tmp_path / "plan.yaml"
    plan = api.calibrate(
        ["best_of_n(n=4)"], folder=tmp_path / "sweep", count=60, settings=["plan.orders=1", f"out={out}"]
    )
    assert nothing_runs[0].strategies == ["best_of_n(n=4)"]
    assert (nothing_runs[0].dataset.split, nothing_runs[0].dataset.count) == ("validation", 60)
    assert read_plan(out) == plan
    assert (plan.made.orders, plan.made.problems) == (1, 50)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"plan": 3}, "plan = 3: calibrate takes no such argument"),
        ({"orders": 3}, "orders = 3: it is a setting: give settings="),
        ({"on_progress": 3}, "on_progress = 3: give a function"),
        ({"settings": ["plan.cells=1"]}, "plan.cells = 1: it must be at least 2"),
        ({"count": 20}, "dataset.count = 20: a plan is fitted to 50 problems at least"),
    ],
)
def test_a_plan_from_python_refuses_what_the_command_would(
    given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        api.calibrate(folder=tmp_path, **given)
    assert message in str(error.value)
