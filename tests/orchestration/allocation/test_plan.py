"""The plan's file: read back equal, refused where it does not belong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.errors import UserError
from orchestration.allocation.fitting import calibrate, fit_table
from orchestration.allocation.plan import Difficulty, Made, Pick, Plan, read_plan
from orchestration.allocation.price import GlobalPrice
from orchestration.planning.difficulty import Bins
from tests.support.traces import OFFER, made_traces

MODELS = {"policy": "p" * 8, "verifier": "v" * 8}
MADE = Made(MODELS, "number 3", "s" * 8, "paper", "arithmetic, validation", "d" * 8, 60, 2, "2026-11-29")


EASY = Difficulty(2, ())


@pytest.fixture(scope="module")
def plan() -> Plan:
    traces = made_traces(60)
    pick = Pick(1, 4, "beam(n=4)", 0.7, 0.6, 0.8, 60, "best_of_n(n=4)", 0.05, -0.02, 0.12)
    return Plan(MADE, OFFER, fit_table(OFFER, traces), tuple(calibrate(OFFER, traces, seed=0)), (pick,), EASY)


@pytest.fixture
def path(plan: Plan, tmp_path: Path) -> Path:
    plan.write(tmp_path / "plan.yaml")
    return tmp_path / "plan.yaml"


def test_a_plan_is_read_back_equal_and_decides_the_same(plan: Plan, path: Path) -> None:
    found = read_plan(path)
    assert found == plan
    assert found.name == plan.name != replace(plan, difficulty=None).name
    assert (
        GlobalPrice(found.table, budget=10**6, prompts=100).price
        == GlobalPrice(plan.table, budget=10**6, prompts=100).price
    )


def test_a_person_can_read_it(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert lines[0] == "format: 2"
    assert any("weights: {mass:" in line for line in lines)
    assert max(len(line) for line in lines) < 140


def test_a_plan_of_the_same_models_is_taken(plan: Plan, path: Path) -> None:
    plan.check(MODELS, "number 3", "s" * 8, "paper", path)
    assert plan.need("beam(n=4)", path) == "beam(n=4)"


@pytest.mark.parametrize(
    ("models", "grader", "unit", "named"),
    [
        ({**MODELS, "policy": "other"}, "number 3", "paper", "another policy"),
        ({"policy": "p" * 8}, "number 3", "paper", "another verifier"),
        (MODELS, "math 1", "paper", "another grader"),
        (MODELS, "number 3", "exact", "another unit .*; set budget.unit=paper"),
    ],
)
def test_a_plan_of_others_is_refused(
    plan: Plan, path: Path, models: dict[str, str], grader: str, unit: str, named: str
) -> None:
    with pytest.raises(UserError, match=named if "unit" in named else f"{named}.*calibrate again"):
        plan.check(models, grader, "s" * 8, unit, path)


def test_a_plan_of_other_prompts_is_refused(plan: Plan, path: Path) -> None:
    with pytest.raises(UserError, match=r"another policy.prompt, policy.max_tokens or .*calibrate again"):
        plan.check(MODELS, "number 3", "t" * 8, "paper", path)


def test_an_option_that_it_lacks_is_named(plan: Plan, path: Path) -> None:
    with pytest.raises(UserError, match=r"no option beam\(n=5\).*did you mean"):
        plan.need("beam(n=5)", path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("format: 2", "format: 1"),
        ("format: 2", "format: ["),
        ("format: 2", "- format"),
        ("bias:", "bios:"),
        ("problems:", "puzzles:"),
        ("from: '0'", "from: '8'"),
        ("samples: [1, 2, 4, 8]", "samples: [1, 2, 4]"),
        ("flops: [1000.0]", "flops: [0.0]"),
        ("flops: [1000.0]", "flops: [.nan]"),
        ("flops: [1000.0]", "flops: [x]"),
        ("leads:\n  - [", "leads:\n  - [0.5, "),
        ("flops: [1000.0]", f"flops: [1{'0' * 400}]"),
        ("flops: [1000.0]", "flops: [-1000.0]"),
        ("flops: [1000.0]", "flops: [.inf]"),
        ("weights: {mass:", "weights: {weight:"),
        ("samples: [1, 2, 4, 8]", "samples: [1, 2.0, 4, 8]"),
        ("samples: [1, 2, 4, 8]", "samples: []"),
        ("orders: 2", "orders: two"),
        ("orders: 2", "orders: true"),
        ("models: {", "models: {3: x, "),
        ("accuracy: 0.7", "accuracy: high"),
        ("accuracy: 0.7", "accuracy: .nan"),
        ("n: 4", "n: 4.5"),
        ("{told: ", "{said: 1, told: "),
        ("problems: [60.0]", "problems: [-60.0]"),
    ],
)
def test_what_is_no_plan_is_refused_in_one_line(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=r"^plan = ") as refused:
        read_plan(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("key", ["stages", "moves", "calibration", "best by difficulty", "made", "options"])
@pytest.mark.parametrize("value", [None, [], {}, "x", [{}], 3])
def test_a_part_that_is_empty_or_something_else_is_refused(path: Path, key: str, value: Any) -> None:
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(content | {key: value}))
    if key in ("calibration", "best by difficulty") and value in ([], {}):
        assert not (read_plan(path).picks if key != "calibration" else read_plan(path).calibration)
        return
    with pytest.raises(UserError, match=r"^plan = .*is no plan"):
        read_plan(path)


def test_a_move_without_rows_or_a_file_of_endless_depth_is_refused(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    content["moves"][0] |= {"flops": [], "leads": []}
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match="is no plan"):
        read_plan(path)
    path.write_text("[" * 5_000)
    with pytest.raises(UserError, match="is no plan"):
        read_plan(path)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_plan(tmp_path / "none.yaml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text"):
        read_plan(tmp_path / "binary")


def test_a_bin_is_told_from_a_mean_value_as_difficulty_cuts_it() -> None:
    told = Difficulty(4, (0.8, 0.5, 0.1))
    values = [1.0, 0.8, 0.79, 0.5, 0.3, 0.1, 0.0]
    bins = Bins((0.8, 0.5, 0.1), (), 0)
    assert [told.bin_of(value) for value in values] == bins.of(values).tolist() == [1, 1, 2, 2, 3, 3, 4]


def test_the_best_strategy_of_each_bin_or_one_line_on_what_is_missing(plan: Plan, path: Path) -> None:
    assert plan.best(4, path) == {1: "beam(n=4)"}
    with pytest.raises(UserError, match="no best strategies for n=8; choose one of 4"):
        plan.best(8, path)
    with pytest.raises(UserError, match="it tells no difficulty"):
        replace(plan, difficulty=None).best(4, path)
    with pytest.raises(UserError, match="no best strategies for n=4"):
        replace(plan, difficulty=Difficulty(2, (0.5,))).best(4, path)
