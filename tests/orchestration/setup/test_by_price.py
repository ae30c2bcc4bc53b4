"""A budget that nobody says how to spend goes by the price of a plan that fits, and by nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from actors.errors import UserError
from orchestration.allocation.plan import Plan, read_plan
from orchestration.api import settings_of
from orchestration.runs.session import opened
from orchestration.setup import plans
from orchestration.setup.by_price import by_price
from orchestration.setup.compose import CONF
from orchestration.setup.domains import MODELS, domains
from orchestration.setup.prepare import prepare
from orchestration.setup.settings import EvaluateSettings
from tests.support.plans import made_plan

BUDGET = "budget.flops=1e11"
PLANNED = [
    name
    for name in domains()
    if "plan" in yaml.safe_load((CONF / "domain" / f"{name}.yaml").read_text())["evaluate"]
]


def told(*words: str) -> tuple[EvaluateSettings, str]:
    return by_price(settings_of(words), words)


def test_a_budget_alone_goes_by_the_plan_that_comes_with_the_models_and_says_so() -> None:
    settings, said = told(BUDGET)
    assert settings.strategies == ["compute_optimal"]
    assert (settings.budget.allocation, settings.budget.flops) == ("global", 10**11)
    assert "bundled/countdown" in said
    assert "strategies=[...]" in said
    assert "plan=null" in said
    prepared = prepare(settings)
    plan = read_plan(MODELS / "countdown" / "plan.yaml")
    assert [one.text for one in prepared.strategies] == [f"compute_optimal(plan={plan.name})"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        [BUDGET, "plan=null"],
        [BUDGET, "strategies=[greedy]"],
        [BUDGET, "budget.allocation=first_come"],
        [BUDGET, "domain=arithmetic"],
        [BUDGET, "verifier={_target_: mine.Verifier}"],
        [BUDGET, "policy.path=elsewhere"],
    ],
    ids=" ".join,
)
def test_all_stays_as_it_is_where_something_says_how_it_is_spent_or_the_models_are_others(
    words: list[str],
) -> None:
    assert told(*words) == (settings_of(words), "")


def test_a_plan_that_is_named_is_taken_whatever_the_models(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    settings, said = told(BUDGET, f"plan={file}", "policy.path=elsewhere")
    assert (settings.strategies, settings.budget.allocation) == (["compute_optimal"], "global")
    assert str(file) in said


@pytest.mark.parametrize("change", [{"models": {"policy": "5b2f"}}, {"grader": "mine 1"}, {"unit": "exact"}])
def test_a_bundled_plan_that_does_not_fit_is_left_alone_and_says_why(
    change: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = read_plan(MODELS / "countdown" / "plan.yaml")
    replace(plan, made=replace(plan.made, **change)).write(tmp_path / "plan.yaml")  # type: ignore[arg-type]
    monkeypatch.setattr(plans, "plan_of", lambda domain: tmp_path / "plan.yaml")
    settings, said = told(BUDGET)
    assert settings == settings_of([BUDGET])
    assert "it was made with another" in said


@pytest.mark.parametrize("word", ["policy.max_tokens=96", "policy.prompt.shots=2", "policy.delimiter=null"])
def test_a_bundled_plan_of_other_samples_is_left_alone_and_says_why(word: str) -> None:
    settings, said = told(BUDGET, word)
    assert settings == settings_of([BUDGET, word])
    assert word.partition("=")[0].removesuffix(".shots") in said


def test_a_strategy_that_names_no_plan_has_the_one_of_the_run(tmp_path: Path) -> None:
    name = read_plan(MODELS / "countdown" / "plan.yaml").name
    prepared = prepare(settings_of(["strategies=[compute_optimal(n=4)]"]))
    assert [one.text for one in prepared.strategies] == [f"compute_optimal(plan={name},n=4)"]
    made_plan().write(tmp_path / "mine.yaml")
    mine = [f"plan={tmp_path / 'mine.yaml'}", "strategies=[compute_optimal(n=4)]"]
    assert prepare(settings_of(mine)).strategies[0].text != prepared.strategies[0].text
    with pytest.raises(UserError, match="it goes by a plan, and none comes with these models"):
        prepare(settings_of(["domain=arithmetic", "strategies=[compute_optimal(n=4)]"]))


@pytest.mark.parametrize("domain", PLANNED)
def test_the_plan_of_a_domain_is_of_its_models_grader_and_validation_problems(
    domain: str, tmp_path: Path
) -> None:
    plan: Plan = read_plan(MODELS / domain / "plan.yaml")
    prepared = prepare(
        settings_of([f"domain={domain}", "strategies=[compute_optimal]", f"folder={tmp_path / 'run'}"])
    )
    opened(prepared)
    sweep = settings_of(
        [f"domain={domain}", "dataset.split=validation", f"dataset.count={plan.made.problems}"]
    )
    assert plan.made.data == prepare(replace(sweep, strategies=["greedy"])).dataset.description
    assert plan.made.problems >= 100
    # Whoever takes the usual numbers of generations finds them there.
    prepare(settings_of([f"domain={domain}", "strategies=[compute_optimal(n=4),compute_optimal(n=8)]"]))
