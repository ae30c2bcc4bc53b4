"""Plans made of seeds for strategies that are there: what they decide is by chance, but it is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestration.allocation.fitting import fit_table
from orchestration.allocation.plan import Difficulty, Made, Pick, Plan
from orchestration.allocation.value_table import Offer, ValueTable
from orchestration.api import settings_of
from orchestration.flops import generation_flops
from orchestration.planning.pools import Found, Pool
from orchestration.planning.tracing import traces_of
from orchestration.runs.identity import identify, model_hashes, setup_hash
from orchestration.setup.prepare import prepare
from orchestration.strategies.bound import bound_to
from orchestration.strategies.compute_optimal import ComputeOptimal
from orchestration.strategies.parse import parse
from tests.support.pools import judged, made_pools

SEARCH = "beam(n=4,width=2)"
OFFER = Offer((1, 2, 4), (SEARCH,))
PROMPTED = replace(OFFER, prompt=True)
PICKS = {1: "best_of_n(n=4)", 2: SEARCH, 3: "beam(n=4,width=4)"}
DIFFICULTY = Difficulty(3, (0.55, 0.45))


def made_plan(
    models: Mapping[str, str] | None = None,
    *,
    grader: str = "number-1",
    setup: str = "",
    problems: int = 60,
    sample: float | None = None,
    offer: Offer = OFFER,
) -> Plan:
    """A plan of problems whose verifier tells right from wrong, with noise, and so it does of prompts alone; a search, the
    one of the offer, is right where one of six samples is. A first `sample` takes so many FLOPs, and all else in
    proportion."""
    [search] = offer.searches
    pools = judged([_with_search(pool, search) for pool in made_pools(problems, seed=3)])
    made = Made(models or {}, grader, setup, "paper", "made", "d" * 8, problems, 2, "2026-11-29")
    chosen = PICKS if search == SEARCH else PICKS | {2: search, 3: search}
    picks = [Pick(one, 4, text, 0.5, 0.4, 0.6, 20, "", 0.0, 0.0, 0.0) for one, text in chosen.items()]
    table = fit_table(offer, traces_of(pools, offer, orders=2, seed=0))
    if sample is not None:
        scale = sample / table.moves[0].flops[0]
        moves = [replace(move, flops=tuple(scale * flops for flops in move.flops)) for move in table.moves]
        table = ValueTable(table.stages, tuple(moves), table.thresholds)
    return Plan(made, offer, table, (), tuple(picks), DIFFICULTY)


def plan_for(words: Sequence[str], file: Path, typical: int | None = None, *, offer: Offer = OFFER) -> int:
    """Write a plan for the models, grader and accounting of these settings; returns the FLOPs of a sample."""
    options = ",".join(("best_of_n(n=1)", *offer.searches))
    prepared = prepare(settings_of([*words, f"strategies=[{options}]"]))
    identity = identify(prepared)
    tokens = typical or prepared.settings.policy.typical
    sample = generation_flops(prepared.costs, prepared.prompt_tokens, tokens, prepared.unit)
    models, setup = model_hashes(identity.flat()), setup_hash(identity.flat())
    made_plan(models, grader=identity.grader, setup=setup, sample=sample, offer=offer).write(file)
    return sample


def _with_search(pool: Pool, search: str) -> Pool:
    first = next((one for one in pool.samples[:6] if one.correct), pool.samples[0])
    return Pool(pool.problem, pool.samples, {search: Found((first.candidate,), first.correct, 460)})


def bound(n: int | None, plan: Plan) -> ComputeOptimal:
    """The strategy with a plan in hand."""
    strategy = ComputeOptimal("plan.yaml", n)
    return strategy.bind(bound_to(plan, Path("plan.yaml"), n, parse))
