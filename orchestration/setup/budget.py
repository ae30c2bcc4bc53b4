"""A budget as it is given, in FLOPs, and whether it can pay anything at all.

It knows settings and costs, nothing of what is spent. Invariant: a budget that no task could start with is refused.
"""

from __future__ import annotations

from collections.abc import Mapping

from actors.errors import UserError, counted
from actors.strategy import Role
from actors.work import CostModel, Unit
from orchestration.flops import flops_of_generations, flops_of_tokens
from orchestration.setup.settings import MOST_FLOPS, BudgetSettings, EvaluateSettings


def budget_flops(
    settings: EvaluateSettings, costs: Mapping[Role, CostModel], prompt: int, unit: Unit
) -> int | None:
    """The budget in FLOPs of `unit`, whatever it was given in; None where there is none. `prompt` is in tokens.

    UserError where tokens or generations come to more FLOPs than the books take.
    """
    given, typical = settings.budget, settings.policy.typical
    if given.flops is not None:
        return given.flops
    if given.tokens is not None:
        budget = flops_of_tokens(given.tokens, costs, prompt, typical, unit)
    elif given.generations is not None:
        budget = flops_of_generations(given.generations, costs, prompt, typical, unit)
    else:
        return None
    if budget > MOST_FLOPS:
        raise unfit(given, budget, "a budget has at most 1e30: give less, or null for no limit")
    return budget


def check_budget(settings: EvaluateSettings, budget: int, first: int, *, scored: bool) -> None:
    """Raise UserError where a budget cannot pay one generation, which is what a task needs to start."""
    if budget >= first:
        return
    raise unfit(
        settings.budget,
        budget,
        f"one generation of policy.max_tokens = {counted(settings.policy.max_tokens, 'token')}"
        f"{', scored,' if scored else ''} may take {first:,}: give more, or lower policy.max_tokens",
    )


def unfit(given: BudgetSettings, budget: int, why: str) -> UserError:
    """The error of a budget, `budget` in FLOPs, that is too small or too large, whatever it was given in."""
    name = next(one for one in ("flops", "tokens", "generations") if getattr(given, one) is not None)
    mend = f"it is {budget:,} FLOPs ({given.unit}), and {why}"
    return UserError.of(f"budget.{name}", getattr(given, name), mend)
