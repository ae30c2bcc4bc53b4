"""Plans, and budgets that are shared by a price, that cannot be meant."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from actors.engines.model_config import model_hash
from orchestration.allocation.plan import Plan
from orchestration.allocation.value_table import Offer
from orchestration.problems import make_grader
from tests.support.bad_input.cases import Words, case, evaluate
from tests.support.plans import SEARCH, made_plan

_PRICED = "strategies=[compute_optimal(plan='plan.yaml')]"
_GLOBAL = ("budget.flops=1e10", "budget.allocation=global")


@cache
def _made() -> Plan:
    return made_plan()


def _of_these_models(**changes: str) -> Plan:
    """A plan of the models that are here, but for what is changed."""
    models = {"policy": model_hash(Path("policy")), "verifier": model_hash(Path("prm"))}
    return replace(_made(), made=replace(_made().made, models=models, **changes))  # type: ignore[arg-type]


def _grader() -> str:
    return make_grader("countdown").version


@case
def price_without_a_budget() -> Words:
    """a price without a budget"""
    _made().write(Path("plan.yaml"))
    return evaluate(_PRICED, "budget.allocation=global")


@case
def price_without_a_plan() -> Words:
    """a price without a plan"""
    return evaluate("strategies=[greedy]", *_GLOBAL)


@case
def price_for_other_strategies() -> Words:
    """a price for other strategies, too"""
    _made().write(Path("plan.yaml"))
    return evaluate("strategies=[compute_optimal(plan='plan.yaml'),greedy]", *_GLOBAL)


@case
def no_price_to_go_by() -> Words:
    """a strategy that goes by a price, and none set"""
    _made().write(Path("plan.yaml"))
    return evaluate(_PRICED, "budget.flops=1e10")


@case
def misspelt_allocation() -> Words:
    """a misspelt allocation"""
    return evaluate("budget.allocation=globl")


@case
def a_floor_without_a_price() -> Words:
    """no first sample promised, and no price"""
    return evaluate("strategies=[greedy]", "budget.flops=1e10", "budget.floor=0")


@case
def more_than_one_first_sample() -> Words:
    """more than one first sample whatever the price"""
    return evaluate("budget.floor=2")


@case
def plan_of_other_models() -> Words:
    """a plan of other models"""
    plan = _of_these_models()
    models = plan.made.models | {"policy": "5b2f"}  # type: ignore[operator]
    replace(plan, made=replace(plan.made, models=models)).write(Path("plan.yaml"))
    return evaluate(_PRICED, "dataset.count=2")


@case
def plan_of_another_grader() -> Words:
    """a plan of another grader"""
    _of_these_models(grader="my own 1").write(Path("plan.yaml"))
    return evaluate(_PRICED, "dataset.count=2")


@case
def plan_of_another_prompt() -> Words:
    """a plan of another prompt"""
    _of_these_models(grader=_grader(), setup="5b2f").write(Path("plan.yaml"))
    return evaluate(_PRICED, "dataset.count=2")


@case
def plan_of_another_accounting() -> Words:
    """a plan in another accounting of FLOPs"""
    _of_these_models(grader=_grader()).write(Path("plan.yaml"))
    return evaluate(_PRICED, "dataset.count=2", "budget.unit=exact")


@case
def no_such_bundled_plan() -> Words:
    """a plan that does not come with flopwise"""
    return evaluate("strategies=[compute_optimal(n=16)]", "plan=bundled/arithmetic")


@case
def no_plan_at_hand() -> Words:
    """a strategy that goes by a plan, and none there"""
    return evaluate("strategies=[compute_optimal(n=16)]", "plan=null")


@case
def plan_without_that_budget() -> Words:
    """a plan without the number of generations"""
    _made().write(Path("plan.yaml"))
    return evaluate("strategies=[compute_optimal(plan='plan.yaml',n=16)]")


@case
def plan_without_difficulty() -> Words:
    """a plan without difficulty, and n"""
    replace(_made(), difficulty=None).write(Path("plan.yaml"))
    return evaluate("strategies=[compute_optimal(plan='plan.yaml',n=4)]")


def _offering(text: str) -> Words:
    """A run by a plan that offers another search than its own."""
    plan = _made()
    table = replace(
        plan.table,
        stages=tuple(replace(s, name=s.name.replace(SEARCH, text)) for s in plan.table.stages),
        moves=tuple(
            replace(m, source=m.source.replace(SEARCH, text), target=m.target.replace(SEARCH, text))
            for m in plan.table.moves
        ),
    )
    replace(plan, table=table, offer=Offer(plan.offer.samples, (text,))).write(Path("plan.yaml"))
    return evaluate(_PRICED)


@case
def plan_with_an_unknown_option() -> Words:
    """a plan with an option that is not known"""
    return _offering(SEARCH.replace("beam", "baem"))
