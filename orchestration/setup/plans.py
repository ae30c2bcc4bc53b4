"""Plans that settings name, in the hands of their strategies, and whether a run may go by them.

It reads plan files, and knows nothing of prices. Invariant: what a run goes by was calibrated with its own models, grader and
accounting; and whoever asks a price is in a run that has one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from actors.engines.verifiers.families.known import family_of
from actors.errors import UserError, nearest
from actors.strategy import Role, Strategy
from orchestration.allocation.plan import Plan, read_plan
from orchestration.setup.domains import BUNDLED, domains, plan_of
from orchestration.setup.model_folders import is_bundled, resolved
from orchestration.setup.models import ModelSetup
from orchestration.setup.settings import BudgetSettings
from orchestration.strategies.bound import Bound, bound_to
from orchestration.strategies.compute_optimal import ComputeOptimal
from orchestration.strategies.parse import parse


def plan_file(given: str) -> Path:
    """The file of a plan; "bundled/countdown" is the one that comes with a domain. UserError where none does."""
    if not is_bundled(given):
        return resolved(given)
    known = [one for one in domains() if plan_of(one).is_file()]
    domain = given.partition("/")[2]
    if domain not in known:
        names = [f"{BUNDLED}/{one}" for one in known]
        mend = f"plans come with {', '.join(names)}{nearest(given, names)}; flopwise calibrate makes another"
        raise UserError.of("plan", given, mend)
    return plan_of(domain)


def with_plan(strategy: Strategy, usual: str | None) -> Strategy:
    """The strategy with its plan read, where it goes by one: the one that it names, or the `usual` one of the run."""
    if not isinstance(strategy, ComputeOptimal):
        return strategy
    given = usual if strategy.plan is None else strategy.plan
    if given is None:
        mend = (
            "it goes by a plan, and none comes with these models: name one, as in plan=plan.yaml; flopwise calibrate makes "
            "one"
        )
        raise UserError.of("strategies", strategy.text, mend)
    path = plan_file(given)
    plan = read_plan(path)

    def make(text: str) -> Strategy:
        try:
            made = parse(text)
        except UserError as error:
            raise UserError.of("plan", str(path), f"an option of it is not known here: {error}") from None
        if isinstance(made, ComputeOptimal):
            raise UserError.of("plan", str(path), f"its option {text} is no strategy that a plan can offer")
        return made

    return strategy.bind(bound_to(plan, path, strategy.n, make))


def priced(strategies: Sequence[Strategy]) -> Bound | None:
    """The plan of the strategy that goes by a price; None where none does."""
    found = (one.bound for one in strategies if isinstance(one, ComputeOptimal) and one.n is None)
    return next(found, None)


def check_allocation(budget: BudgetSettings, strategies: Sequence[Strategy]) -> None:
    """Raise UserError for a price that nobody asks or that shares nothing, and for what asks one where there is none."""
    plan = priced(strategies)
    if budget.allocation != "global":
        if plan is not None and budget.given:
            mend = (
                "without n it takes what the price of a FLOP allows, and this budget has none: set budget.allocation=global, "
                "or give it n"
            )
            raise UserError.of("strategies", _given(plan), mend)
        if budget.floor != BudgetSettings.floor:
            mend = (
                "without a price nobody is passed over, so no sample is to be promised: set budget.allocation=global, or "
                "leave it out"
            )
            raise UserError.of("budget.floor", budget.floor, mend)
        return
    if not budget.given:
        mend = "it shares a budget, and there is none: give budget.flops, budget.tokens or budget.generations"
        raise UserError.of("budget.allocation", budget.allocation, mend)
    if plan is None:
        mend = "its price comes from a plan: name it, as in strategies=[compute_optimal(plan='plan.yaml')]"
        raise UserError.of("budget.allocation", budget.allocation, mend)
    others = [one.text for one in strategies if getattr(one, "bound", None) is not plan]
    if others:
        mend = (
            f"it shares the budget among prompts, all of them with {_given(plan)}: give {', '.join(others)} a folder of "
            "their own, which can reuse what is drawn here"
        )
        raise UserError.of("budget.allocation", budget.allocation, mend)


def judges_prompts(strategies: Sequence[Strategy]) -> bool:
    """Whether a plan asks the verifier for the value of each prompt alone."""
    return any(isinstance(one, ComputeOptimal) and one.judges_prompts for one in strategies)


def check_judging(
    strategies: Sequence[Strategy], models: Mapping[Role, ModelSetup], measure: str | None = None
) -> None:
    """Raise UserError for a plan that asks for the value of each prompt alone where the verifier or its engine tells none.
    With a `measure` there is no verifier model."""
    if not judges_prompts(strategies):
        return
    if measure is not None:
        mend = (
            "the plan asks what the verifier makes of each prompt alone, and there is no token yet to be confident of: "
            "calibrate with this verifier"
        )
        raise UserError.of("verifier.measure", measure, mend)
    family = models["verifier"].family
    if family is not None:
        mend = (
            f"the plan asks what the verifier makes of each prompt alone, and one of the family {family.name} judges steps "
            "only: calibrate with it and plan.prompt_value=false"
        )
        raise UserError.of("verifier.path", str(family.path), mend)
    if models["verifier"].engine == "vllm":
        mend = (
            "the plan asks what the verifier makes of each prompt alone, which it does not tell on vLLM: set "
            "verifier.engine=local, or calibrate with plan.prompt_value=false"
        )
        raise UserError.of("verifier.engine", "vllm", mend)


_MANY = re.compile(r"aggregation=(?:min|product|mean)")


def check_whole(strategies: Sequence[Strategy], models: Mapping[Role, ModelSetup]) -> None:
    """Raise UserError for a value that is made of several steps' scores, where a judge has one for all of them."""
    family = models["verifier"].family if "verifier" in models else None
    if family is None or not family_of(family.name).whole:
        return
    for strategy in strategies:
        if found := _MANY.search(strategy.text):
            mend = (
                f"{found[0]} asks for a score of each step, and one of the family {family.name} writes one judgement of all "
                "steps together: leave it out, which takes the last"
            )
            raise UserError.of("strategies", strategy.text, mend)


def _given(bound: Bound) -> str:
    """A strategy that goes by a price, as it was given."""
    return f"compute_optimal(plan='{bound.path}')"


def plans_of(strategies: Sequence[Strategy]) -> list[tuple[Plan, Path]]:
    """The plans that strategies go by, with their files."""
    found = [one.bound for one in strategies if isinstance(one, ComputeOptimal)]
    return [(bound.plan, bound.path) for bound in found if bound is not None]
