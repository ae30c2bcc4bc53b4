"""What holds for every strategy there is, over real engines and purses: what is paid, drawn, extended, counted as a vote.

Methods against plain readings of their papers are in their own files. A strategy that is registered and stands not in
`SETTINGS` fails a test.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest

from actors.engines.base import ScoreRequest, Scores
from actors.seeds import derive
from actors.strategy import ROLES, Described, PurseEmpty, Role, Solution, asked_by, drawn_by
from actors.work import Cost, Unit
from orchestration.allocation.plan import read_plan
from orchestration.analysis.collect import Named
from orchestration.api import Run
from orchestration.commands.main import main
from orchestration.setup.domains import folder_of
from orchestration.strategies.choice import Chooser, chooser_of
from orchestration.strategies.compute_optimal import ComputeOptimal
from orchestration.strategies.parse import parse
from orchestration.strategies.registry import STRATEGIES
from orchestration.strategies.revision.selection import chains_in, select
from orchestration.strategies.selection import AGGREGATIONS, best, majority, weighted
from tests.support.here import without_ray
from tests.support.plans import bound, made_plan, plan_for
from tests.support.table import PLENTY, PROMPT, Table, said
from tests.support.tiny import EOS_IDS, MAX_TOKENS, save_policy, save_verifier

PLAN = made_plan()
SETTINGS: dict[str, tuple[str, ...]] = {
    "greedy": ("greedy",),
    "majority": ("majority(n=5)",),
    "early_stopping": ("early_stopping(n=6,window=2)",),
    "adaptive_consistency": ("adaptive_consistency(n=8,threshold=0.8)",),
    "best_of_n": ("best_of_n(n=5)", "best_of_n(n=5,weighted=false,aggregation=min)"),
    "beam": (
        "beam(n=8,width=2)",
        "beam(n=4,width=4,aggregation=mean)",
        "beam(n=8,width=2,every=2)",
        "beam(n=8,width=2,merge=true,temperature=0.3)",
        "beam(n=6,width=3,every=2,merge=true,temperature=0.3)",
        "beam(n=8,width=2,finished=vote)",
    ),
    "lookahead": ("lookahead(n=6,width=2,k=1)", "lookahead(n=4,width=2,k=3,temperature=0.3)"),
    "dvts": ("dvts(n=6,width=3)", "dvts(n=6,width=3,finished=vote)"),
    "rebase": ("rebase(n=6)", "rebase(n=6,temperature_b=0.01,temperature=0.3)"),
    "particle_filtering": (
        "particle_filtering(n=6)",
        "particle_filtering(n=6,softmax_temperature=0.1,weighted=false,temperature=0.3)",
    ),
    "mcts": ("mcts(n=8,width=2,parallel=1)", "mcts(n=8,width=2,parallel=4,exploration=0.2)"),
    "monte_carlo": ("monte_carlo(samples=3,rollouts=2)",),
    "revision": (
        "revision(sequential=3,parallel=2)",
        "revision(sequential=6,parallel=1,context=2,aggregation=min)",
        "revision(sequential=2,parallel=3,select=weighted)",
        "revision(sequential=1,parallel=4,select=majority)",
        "revision(sequential=3,parallel=2,first=policy)",
    ),
    "refine": (
        "refine(of='best_of_n(n=4)',best=2,attempts=2)",
        "refine(of='beam(n=4,width=2)',best=3,attempts=2,context=1)",
    ),
    "revision_search": (
        "revision_search(of='best_of_n(n=4)',search='beam(n=4,width=2)',best=2)",
        "revision_search(of='beam(n=4,width=2)',search='lookahead(n=2,width=2,k=1)',best=1)",
        "revision_search(of='best_of_n(n=3)',search='best_of_n(n=3)',best=3,aggregation=min)",
    ),
    "rsa": ("rsa(population=3,k=2,rounds=2)", "rsa(population=2,k=1,rounds=2,select=weighted)"),
    "compute_optimal": (f"compute_optimal(plan={PLAN.name},n=4)", f"compute_optimal(plan={PLAN.name})"),
}


def made(text: str) -> Described:
    strategy = parse(text)
    return bound(strategy.n, PLAN) if isinstance(strategy, ComputeOptimal) else strategy  # type: ignore[return-value]


ALL = [made(text) for texts in SETTINGS.values() for text in texts]
every_strategy = pytest.mark.parametrize("strategy", ALL, ids=lambda strategy: strategy.text)

# Searches that leave out what scored worse: what they keep is not all that finished.
PRUNING = ("beam", "lookahead", "dvts", "particle_filtering", "rsa", "refine", "revision_search")

MakeTable = Callable[..., Table]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    policy, reviser = save_policy(folder / "policy"), save_policy(folder / "reviser", seed=9)
    return policy, save_verifier(folder / "verifier"), reviser


@pytest.fixture
async def table(folders: tuple[Path, Path, Path]) -> AsyncIterator[MakeTable]:
    tables: list[Table] = []
    policy, verifier, reviser = folders

    def make(**how: Any) -> Table:
        tables.append(Table(policy, verifier, reviser=reviser, **how))
        return tables[-1]

    yield make
    for one in tables:
        await one.close()


def name_of(strategy: Described) -> str:
    return strategy.text.partition("(")[0]


def drawn_of(one: Table) -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], str]]:
    """Everything drawn: place, prefix, tokens with the prefix, and how it ended."""
    found: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], str]] = []
    for (prefix, place, _, _), done in one.bench.draws.items():
        sample = done.result()
        found.append((place, prefix, prefix + sample.token_ids, sample.finish))
    for (_, prefix, place, _, _), done in one.bench.revisions.items():
        sample = done.result()
        found.append((place, prefix, prefix + sample.token_ids, sample.finish))
    return found


def drawn_for(strategy: Described, cost: Cost) -> int:
    """Tokens of those who draw for a strategy."""
    return sum(cost.of(role) for role in drawn_by(strategy))


def test_every_registered_strategy_is_here_and_no_parameter_is_left_out() -> None:
    assert set(SETTINGS) == set(STRATEGIES)
    assert [name_of(strategy) for strategy in ALL] == [
        name for name, texts in SETTINGS.items() for _ in texts
    ]


# Costs


def generations_of(strategy: Any, solution: Solution) -> int:
    """What the docstrings say that a solution costs in generations."""
    name = name_of(strategy)
    if name == "greedy":
        return 1
    if name in ("early_stopping", "adaptive_consistency", "monte_carlo"):
        return len(solution.candidates)
    if name == "compute_optimal" and strategy.n is None:
        return solution.generations  # as many as its table let it have: tests of its own know how many
    if name == "lookahead":
        return int(strategy.n * (1 + strategy.k))
    if name == "revision":
        return int(strategy.sequential * strategy.parallel)
    if name == "refine":
        # Of a search that found fewer to revise, fewer are.
        attempts = strategy.attempts
        chains = [chain for chain in chains_in(solution.candidates) if len(chain) > 1]
        assert {len(chain) for chain in chains} == {1 + attempts}
        assert 0 < len(chains) <= strategy.best
        return int(strategy.of.n + len(chains) * attempts)
    if name == "revision_search":
        return generations_of(strategy.of, solution) + generations_of(strategy.search, solution)
    if name == "rsa":
        return int(strategy.population * (strategy.rounds + 1))
    if name == "mcts":
        return (
            solution.generations
        )  # its own test knows how many: as many as steps at the depth where most are
    return int(strategy.n)


@every_strategy
@pytest.mark.parametrize("unit", ["paper", "exact"])
async def test_it_costs_what_its_docstring_says_and_never_takes_more_than_it_reserved(
    table: MakeTable, strategy: Described, unit: Unit
) -> None:
    one = table(unit=unit)
    [solution] = await one.solve(strategy)
    assert solution.generations == generations_of(strategy, solution)
    assert solution.generations <= (strategy.grouping.n or 1 << 30)
    # Before each request its worst case was set aside, in the budget's accounting.
    for role in drawn_by(strategy):
        engine, cost = one.drawing[role], one.costs[role]
        for asked, reserved in zip(engine.requests, engine.reserved, strict=True):
            context, most = len(asked.token_ids), asked.max_tokens
            paper, exact = cost.paper(most), cost.exact(0, context - 1 + most, most)
            assert reserved >= (paper if unit == "paper" else exact)
    assert all(one.scorer.reserved)
    assert bool(one.scorer.requests) == strategy.uses_verifier
    # What it took is on the books, is what it costs alone, and is less than it was estimated at.
    meter, total = one.meters[0], one.spent()
    assert one.purse.spent == (total.paper if unit == "paper" else total.exact)
    assert one.purse.reserved == 0
    drawn = drawn_for(strategy, meter.spent)
    assert drawn == sum(len(text) - len(prefix) for _, prefix, text, _ in drawn_of(one))
    assert all(meter.attributed.of(role) == meter.spent.of(role) for role in drawn_by(strategy))
    assert set(meter.spent.tokens) == asked_by(strategy)
    # Of siblings that are scored at once each computes the steps that they share, if nobody had before.
    assert meter.attributed.of("verifier") <= meter.spent.of("verifier")
    assert meter.attributed.exact <= meter.spent.exact
    told = strategy.forecast(MAX_TOKENS, MAX_TOKENS)
    assert told.bound is not None
    bounds: dict[Role, int] = {"policy": told.bound - told.most_revised, "reviser": told.most_revised}
    for role, most in bounds.items():
        assert len(one.drawing[role].requests) <= most
        assert meter.spent.of(role) <= most * MAX_TOKENS
    assert 0 < solution.kept_tokens <= drawn


@every_strategy
async def test_whatever_the_purse_holds_it_is_not_overdrawn(table: MakeTable, strategy: Described) -> None:
    """A purse of every second tenth of what the strategy takes, refused at once where it does not fit."""
    free = table()
    [whole] = await free.solve(strategy)
    shorter = 0
    for tenths in range(1, 11, 2):
        one = table(granted=free.purse.spent * tenths // 10)
        one.purse.refill(None)
        try:
            [solution] = await one.solve(strategy)
        except PurseEmpty:
            assert all(finish == "stop" for *_, finish in drawn_of(one))
        else:
            assert 1 <= solution.generations <= whole.generations
            shorter += said(solution) != said(whole)
        assert one.purse.reserved == 0
        assert one.purse.spent <= one.purse.granted
        assert one.purse.spent == one.spent().paper
    assert shorter or name_of(strategy) == "greedy"


# What it says of itself

# Of that which goes by a plan, n alone says nothing.
WITH_N = [
    name
    for name, kind in STRATEGIES.items()
    if {field.name for field in fields(kind)} & {"n", "plan"} == {"n"}  # type: ignore[arg-type]
]
ONES = [parse(f"{name}(n=1)") for name in WITH_N]


@pytest.mark.parametrize("strategy", [*ALL, *ONES], ids=lambda strategy: strategy.text)
async def test_what_it_says_to_share_with_others_is_all_that_it_draws(
    table: MakeTable, strategy: Described
) -> None:
    one = table()
    await one.solve(strategy)
    told = strategy.forecast(MAX_TOKENS, MAX_TOKENS)
    if told.shared is None:
        assert (
            name_of(strategy) == "compute_optimal"
            or any(prefix or one_step for prefix, _, one_step, _ in one.bench.draws)
            or one.bench.revisions
        )
        assert (told.revised > 0) == bool(one.bench.revisions)
    else:
        assert set(one.bench.draws) <= {((), (place,), False, told.shared) for place in range(told.sequences)}
        assert told.tokens == told.sequences * MAX_TOKENS
        assert told.bound == told.candidates == told.generations == told.sequences
    # So a report judges it by difficulty on no sample that a bin was made from.
    name = Named.of(strategy.text)
    for prefix, place, one_step, sampling in one.bench.draws:
        reads = name.reads(sampling)
        if not prefix and len(place) == 1 and not one_step:
            assert reads is None or place[0] < reads


@pytest.mark.parametrize("strategy", [*ALL, *ONES], ids=lambda strategy: strategy.text)
def test_a_forecast_grows_with_the_solution_and_stays_below_its_bound(strategy: Described) -> None:
    told = [strategy.forecast(typical, 200) for typical in (1, 11, 12, 40, 200)]
    assert [one.tokens for one in told] == sorted(one.tokens for one in told)
    assert len({one.bound for one in told}) == 1, "it depends on the limit alone"
    for one in told:
        assert 1 <= one.generations <= (strategy.grouping.n or one.generations)
        assert one.bound is not None
        assert one.sequences <= one.bound
        assert 1 <= one.tokens <= one.bound * 200


@every_strategy
def test_a_report_groups_it_by_its_name_and_by_its_text_without_n(strategy: Any) -> None:
    assert strategy.grouping.family == name_of(strategy)
    if name_of(strategy) in ("revision", "rsa", "refine", "revision_search"):
        return  # its budget is a product, or a sum: tests of its own know its curves
    n = getattr(strategy, "n", None)
    without = strategy.text.replace(f"(n={n})", "").replace(f"n={n},", "").replace(f",n={n}", "")
    if name_of(strategy) == "compute_optimal" and n is None:
        # No curve has a place for what has no budget of its own.
        without += " by price"
    assert strategy.grouping.series == without
    assert (strategy.grouping.n is None) == (name_of(strategy) == "monte_carlo" or "by price" in without)


@pytest.mark.parametrize(
    "strategy", [one for one in ALL if chooser_of(one)], ids=lambda strategy: strategy.text
)
async def test_a_choice_tells_the_answer_for_any_number_of_its_samples(
    table: MakeTable, strategy: Chooser
) -> None:
    rules: dict[str, Callable[..., str | None]] = {"weighted": weighted, "best": best}
    choice = strategy.choice
    for seed in range(3):
        one = table(seed=seed)
        [whole] = await one.solve(strategy)
        for n in range(1, len(whole.candidates) + 1):
            fewer = strategy.at(n)
            assert fewer.grouping == replace(strategy.grouping, n=n)
            [solution] = await one.solve(fewer)
            some = whole.candidates[:n]
            expected = rules[choice.rule](some, choice.aggregation) if choice.scored else majority(some)
            assert solution.answer == expected
        assert strategy.forecast(MAX_TOKENS, MAX_TOKENS).shared == choice.sampling


# Draws


@every_strategy
async def test_nothing_finished_is_extended_and_no_solution_exceeds_its_limit(
    table: MakeTable, strategy: Described
) -> None:
    finished = 0
    for seed in range(3):
        one = table(seed=seed)
        [solution] = await one.solve(strategy)
        for asked in one.engine.requests:
            assert not set(asked.token_ids[len(PROMPT.token_ids) :]) & set(EOS_IDS)
            # There is one limit for a whole solution: no step brings an allowance of its own.
            assert len(asked.token_ids) - len(PROMPT.token_ids) + asked.max_tokens == MAX_TOKENS
        begun = {before + prefix: prefix for before, prefix, *_ in one.bench.revisions}
        for asked in one.drawing["reviser"].requests:
            prefix = begun[asked.token_ids]
            assert not set(prefix) & set(EOS_IDS)
            assert len(prefix) + asked.max_tokens == MAX_TOKENS
        for candidate in solution.candidates:
            assert len(candidate.token_ids) <= MAX_TOKENS
            assert (candidate.finish == "eos") == (candidate.token_ids[-1] in EOS_IDS)
            finished += candidate.finish == "eos"
    assert finished


@every_strategy
async def test_a_vote_belongs_to_one_draw_and_never_to_a_copy(table: MakeTable, strategy: Described) -> None:
    """As many candidates of the same tokens as draws that ended in them, and one alone where equal ones are merged."""
    for seed in range(3):
        one = table(seed=seed)
        [solution] = await one.solve(strategy)
        # Steps that only value a step stand at no place: nothing that they end in may vote. A step that fills the solution
        # is its end, too.
        draws = Counter(
            text
            for place, _, text, finish in drawn_of(one)
            if place and (finish != "stop" or len(text) == MAX_TOKENS)
        )
        ended = [candidate for candidate in solution.candidates if candidate.finish != "stop"]
        assert Counter(c.token_ids for c in ended) <= draws
        assert len({c.index for c in solution.candidates}) == len(solution.candidates)
        kept = Counter(c.token_ids for c in ended if c.kept)
        if getattr(strategy, "merge", False):
            assert set(kept.values()) <= {1}
        prunes = name_of(strategy) in (*PRUNING, "monte_carlo", "compute_optimal")
        if not prunes or getattr(strategy, "finished", None) == "vote":
            assert kept == draws, "nothing that ended is left out"


@every_strategy
async def test_the_answer_follows_from_the_candidates_alone(table: MakeTable, strategy: Any) -> None:
    """By the rule and the aggregation that the strategy's text names; who was dropped has no vote."""
    for seed in range(3):
        one = table(seed=seed)
        [solution] = await one.solve(strategy)
        how = getattr(strategy, "aggregation", "last")
        assert how in AGGREGATIONS
        if not strategy.uses_verifier:
            expected = majority(solution.candidates)
        elif name_of(strategy) == "revision":
            chains = [
                [one for one in solution.candidates if one.index // strategy.sequential == chain]
                for chain in range(strategy.parallel)
            ]
            expected = select(chains, strategy.select, how)
        elif name_of(strategy) == "refine":
            expected = select(chains_in(solution.candidates), "hierarchical", how)
        else:
            choose = weighted if getattr(strategy, "weighted", True) else best
            expected = choose(solution.candidates, how)
        assert solution.answer == expected


# Seeds


@dataclass
class Slow:
    """A scorer whose answers come in another order than they were asked for."""

    scorer: Any
    seed: int

    async def score(self, request: ScoreRequest) -> Scores:
        await asyncio.sleep(derive(self.seed, request.token_ids) % 5 / 1000)
        scores: Scores = await self.scorer.score(request)
        return scores


@every_strategy
async def test_a_seed_gives_the_same_tree_and_the_same_price_in_whatever_order_answers_come(
    table: MakeTable, strategy: Described
) -> None:
    [expected] = await (first := table()).solve(strategy)
    for slots, delays in ((1, 0), (3, 1), (8, 2)):
        one = table(slots=slots)
        one.bench.scorer = Slow(one.scorer, delays)
        [solution] = await one.solve(strategy)
        assert said(solution) == said(expected)
        assert one.meters[0].attributed == first.meters[0].attributed
        assert all(one.spent().of(role) == first.spent().of(role) for role in drawn_by(strategy))
    others = [(await table(seed=seed).solve(strategy))[0] for seed in (1, 2)]
    assert name_of(strategy) == "greedy" or any(said(other) != said(expected) for other in others)


@every_strategy
async def test_without_likelihoods_it_finds_the_same(table: MakeTable, strategy: Described) -> None:
    with_them, without = table(), table(likelihoods=False)
    [told], [bare] = await with_them.solve(strategy), await without.solve(strategy)
    assert said(told) == said(bare)
    assert all(len(c.logprobs) == len(c.step_ends) for c in told.candidates)
    assert all(c.logprobs == () for c in bare.candidates)


async def test_all_strategies_together_draw_what_each_draws_alone(table: MakeTable) -> None:
    """Beside others a strategy finds draws and scores that exist; its tree and its price are its own."""
    together = table(granted=PLENTY)
    solutions = await together.solve(*ALL)
    for strategy, solution, meter in zip(ALL, solutions, together.meters, strict=True):
        one = table()
        [alone] = await one.solve(strategy)
        assert said(solution) == said(alone), strategy.text
        assert meter.attributed == one.meters[0].attributed, strategy.text
    attributed = sum((meter.attributed for meter in together.meters), Cost())
    assert together.spent().of("policy") < attributed.of("policy") / 2
    # What the verifier reads anew depends on which of the siblings it is given first.
    assert together.spent().of("verifier") < attributed.of("verifier") * 0.7
    assert together.purse.spent == together.spent().paper


# The command


@pytest.mark.timeout(300)
def test_every_strategy_runs_by_its_name_on_the_bundled_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plan.yaml"
    plan_for(["dataset.count=2"], file)
    name = read_plan(file).name
    texts = [text.replace(PLAN.name, f"'{file}'") for texts in SETTINGS.values() for text in texts]
    folder = tmp_path / "all"
    # A reviser that was not trained to be one: what it is shown, and what that costs, is the same.
    reviser = ["reviser=folder", f"reviser.path={folder_of('countdown', 'policy')}"]
    cores = [f"cluster.{role}.cpus=0.5" for role in ROLES]
    words = [f"strategies=[{','.join(texts)}]", "dataset.count=2", f"folder={folder}", *reviser, *cores]
    with without_ray():
        assert main(["evaluate", *words]) == 0
    run = Run(folder)
    rows = run.outcomes().to_pylist()
    by_text = {strategy.text.replace(PLAN.name, name): strategy for strategy in ALL}
    assert Counter(row["strategy"] for row in rows) == dict.fromkeys(by_text, 2)
    assert {row["state"] for row in rows} == {"answered"}
    assert all(row["answer"] is not None for row in rows)
    for result in run.results():
        strategy = by_text[result.outcome["strategy"]]
        # A lone end token is no step, and a reviser that was not trained to be one may draw it.
        scored = {bool(one["scores"]) for one in result.candidates if one["step_tokens"]}
        # Of a population, the last round alone is scored.
        first = {False} if name_of(strategy) == "rsa" else set[bool]()
        assert scored == {strategy.uses_verifier} | first, strategy.text
        assert 1 <= result.outcome["generations"] <= (strategy.grouping.n or 1 << 30)
    shown = (folder / "report" / "report.md").read_text()
    for text in by_text:
        assert re.search(rf"^\| {re.escape(text)} \|", shown, re.MULTILINE), text
    assert "Paired differences" in capsys.readouterr().out
