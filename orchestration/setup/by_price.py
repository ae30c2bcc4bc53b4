"""Where a budget is set and nobody says how to spend it: by the price of a plan, where one is at hand that fits.

It knows settings and plans, nothing of commands. Invariant: what a user names stands; nothing else is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from actors.engines.model_config import model_hash
from actors.errors import UserError
from actors.strategy import Role
from orchestration.allocation.plan import read_plan
from orchestration.problems import make_grader
from orchestration.setup.compose import compose
from orchestration.setup.domains import domain_of_model
from orchestration.setup.model_folders import is_bundled, model_folder
from orchestration.setup.plans import plan_file
from orchestration.setup.settings import EvaluateSettings

_HOW = ("strategies", "budget.allocation")
"""What says how a budget is spent."""

_SAMPLES = ("prompt", "max_tokens", "delimiter", "stop", "end_after_answer")
"""What of the policy's settings decides a sample."""


def by_price(settings: EvaluateSettings, words: Sequence[str]) -> tuple[EvaluateSettings, str]:
    """The settings that were made of `key=value` words, so that their budget goes where a FLOP buys most by their plan; and
    what to say of it. As they are, and nothing to say, without a budget or a plan, and where the words say how it is spent.

    A plan that is named is taken, and refused later if it does not fit; that of the domain only where it fits.
    """
    named = {word.partition("=")[0].strip() for word in words}
    if settings.plan is None or not settings.budget.given or named.intersection(_HOW):
        return settings, ""
    if is_bundled(settings.plan):
        domain = settings.plan.partition("/")[2]
        paths: dict[Role, str | None] = {"policy": settings.policy.path, "verifier": settings.verifier.path}
        if settings.verifier._target_ is not None or any(
            domain_of_model(role, path) != domain for role, path in paths.items()
        ):
            # Models of a user's own, for which nobody made a plan.
            return settings, ""
        if why := _other_samples(settings, domain) or _unfit(settings):
            return settings, f"the budget goes to who comes first, and not by a price: {why}"
    budget = replace(settings.budget, allocation="global")
    return (
        replace(settings, strategies=["compute_optimal"], budget=budget),
        f"the budget goes where a FLOP buys most, by the plan {settings.plan} (compute_optimal at one price for all): "
        "strategies=[...] names others, plan=null turns this off",
    )


def _other_samples(settings: EvaluateSettings, domain: str) -> str:
    """Which setting makes other samples than the plan of a domain was made from; empty where none does."""
    usual = compose("evaluate", [f"domain={domain}"], EvaluateSettings).policy
    changed = [name for name in _SAMPLES if getattr(settings.policy, name) != getattr(usual, name)]
    return f"its plan was made with another policy.{changed[0]}" if changed else ""


def _unfit(settings: EvaluateSettings) -> str:
    """Why the plan is not for these models, this grader or this accounting; empty where it is."""
    assert settings.plan is not None
    assert settings.policy.path is not None
    assert settings.verifier.path is not None
    path = plan_file(settings.plan)
    models = {
        "policy": model_hash(model_folder(settings.policy.path, "policy")),
        "verifier": model_hash(model_folder(settings.verifier.path, "verifier")),
    }
    try:
        plan = read_plan(path)
        if settings.reviser.path is not None:
            # Whether it is the plan's own is told once it is known how it is asked.
            models |= {role: known for role, known in plan.made.models.items() if role == "reviser"}
        plan.check(models, make_grader(settings.dataset.grader).version, None, settings.budget.unit, path)
    except UserError as error:
        return str(error)
    return ""
