"""What a prompt gets by its bin, and at a price; held against a replay of the same samples by the objects of the bench."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from actors.errors import UserError
from actors.seeds import derive
from actors.strategy import Candidate, Decision, PurseEmpty, Solution, Terms
from orchestration.allocation.courses import course_of
from orchestration.allocation.plan import Difficulty, Plan
from orchestration.allocation.price import GlobalPrice, lot_of
from orchestration.allocation.value_table import JUDGED, Offer, work_of
from orchestration.allocation.walk import Walk
from orchestration.planning.bench import Bench
from orchestration.planning.one_price import OnePrice
from orchestration.planning.pools import Drawn, Found, Judgement, Pool
from orchestration.strategies.compute_optimal import SAMPLING, ComputeOptimal
from orchestration.strategies.drawing import whole_samples
from orchestration.strategies.parse import parse
from orchestration.strategies.selection import weighted
from tests.support import fakes
from tests.support.fakes import PROMPT, FakeModels
from tests.support.plans import DIFFICULTY, OFFER, PICKS, PROMPTED, SEARCH, bound, made_plan

PLAN = made_plan()
TOLD = made_plan(offer=PROMPTED)
PRICES = (0.0, 1e-4, 1e-3, 3e-3, 1.0)


@dataclass
class Stall:
    """A market that charges ten FLOPs a request."""

    given: FakeModels
    terms: Terms | None = None
    past: tuple[Decision, ...] = ()
    begun: int = 0

    async def afford(self, flops: int) -> None:
        if self.given.policy.purse.used == self.given.policy.purse.limit:
            raise PurseEmpty("empty")

    @property
    def spent(self) -> int:
        return 10 * (self.given.policy.purse.used - self.begun)


@dataclass
class Models:
    """Models made of hashes that also have a market. What was asked before is there, and costs nothing."""

    given: FakeModels
    market: Stall = field(init=False)
    seed: int = 0

    def __post_init__(self) -> None:
        self.market = Stall(self.given)

    @property
    def policy(self) -> fakes.FakePolicy:
        return self.given.policy

    @property
    def verifier(self) -> fakes.FakeVerifier:
        return self.given.verifier

    @property
    def reader(self) -> fakes.FakeReader:
        return self.given.reader


def models(seed: int, price: float | None = None, *, floor: bool = True, limit: int | None = None) -> Models:
    found = Models(fakes.models(seed, limit=limit))
    found.market.terms = None if price is None else Terms(price, floor)
    return found


async def solved(strategy: ComputeOptimal, given: Models) -> Solution:
    return await strategy.solve(PROMPT, given)  # type: ignore[arg-type]


def voting(solution: Solution) -> list[Candidate]:
    return [one for one in solution.candidates if one.kept]


# By its bin


async def test_a_bin_is_told_by_the_first_samples_and_gets_the_strategy_that_was_best_there() -> None:
    bins = set()
    for seed in range(16):
        solution = await solved(bound(4, PLAN), models(seed))
        probes = await whole_samples(fakes.models(seed), DIFFICULTY.samples, SAMPLING, with_scores=True)
        value = float(np.mean([one.scores[-1] if one.scores else 0.0 for one in probes]))
        [decision] = solution.decisions
        assert (decision.cell, decision.chance) == (DIFFICULTY.bin_of(value), pytest.approx(value))
        assert decision.option == PICKS[decision.cell]
        expected = await fakes.solve(parse(decision.option), fakes.models(seed))
        mine = [one for one in solution.candidates if one.index not in solution.probes]
        assert mine == list(expected.candidates)
        assert (solution.answer, solution.generations) == (expected.answer, expected.generations)
        # A search draws none of the samples that told the bin, best-of-N all of them.
        extra = [one.token_ids for one in solution.candidates if one.index in solution.probes]
        assert extra == ([] if decision.cell == 1 else [one.token_ids for one in probes])
        assert not any(one.kept for one in solution.candidates if one.index in solution.probes)
        bins.add(decision.cell)
    assert bins == set(PICKS)


async def test_with_nothing_left_after_its_probes_they_are_the_answer() -> None:
    found = 0
    for seed in range(8):
        given = models(seed, limit=6)
        solution = await solved(bound(4, PLAN), given)
        assert given.policy.purse.used == 6
        if solution.decisions[0].cell != 1:
            assert solution.answer == weighted(solution.candidates)
            assert len(solution.candidates) == 3
            found += 1
    assert found
    with pytest.raises(PurseEmpty):
        await solved(bound(4, PLAN), models(0, limit=0))


async def test_a_bin_that_the_prompt_alone_tells_costs_no_sample() -> None:
    plan = replace(PLAN, difficulty=Difficulty(0, DIFFICULTY.thresholds))
    strategy = bound(4, plan)
    assert strategy.judges_prompts
    for value, cell in ((0.9, 1), (0.5, 2), (0.1, 3)):
        given = models(3)
        given.verifier.alone = value
        solution = await solved(strategy, given)
        [decision] = solution.decisions
        assert (decision.cell, decision.chance, decision.flops) == (cell, value, 10)
        expected = await fakes.solve(parse(PICKS[cell]), fakes.models(3))
        assert (solution.answer, solution.probes) == (expected.answer, ())
        assert solution.candidates == expected.candidates
    for limit in (0, 1):
        with pytest.raises(PurseEmpty):
            await solved(strategy, models(3, limit=limit))


# At a price


def pool_of(seed: int, samples: list[Candidate], search: Solution, order_seed: int) -> Pool:
    """The same prompt as a pool, whose samples the bench draws in the order in which they were drawn."""
    order = np.random.default_rng(derive(order_seed, "samples", "p")).permutation(len(samples))
    placed = dict(zip(order.tolist(), samples, strict=True))
    drawn = tuple(Drawn(placed[at], False, 20, ()) for at in range(len(samples)))
    found = {SEARCH: Found(search.candidates, False, 100)}
    return Pool("p", drawn, found, Judgement(0.5, 10))


@pytest.mark.parametrize(("plan", "offer"), [(PLAN, OFFER), (TOLD, PROMPTED)], ids=["plain", "told"])
async def test_live_it_decides_as_the_replay_does_and_gives_the_answer_that_stands_there(
    plan: Plan, offer: Offer
) -> None:
    """At the same price, over the same samples: one object walks in both, one function tells where it stands."""
    options: Counter[str] = Counter()
    for seed in range(12):
        samples = list(await whole_samples(fakes.models(seed), offer.samples[-1], SAMPLING, with_scores=True))
        search = await fakes.solve(parse(SEARCH), fakes.models(seed))
        for budget in (50, 120, 200, 300, 600, 10_000):
            price = GlobalPrice(plan.table, budget=budget, prompts=1)
            rule, bench = (
                OnePrice(plan.table),
                Bench([pool_of(seed, samples, search, seed)], 1e9, seed=seed),
            )
            walk = Walk(price.chooser)
            told = price.price.of(lot_of(seed, "p"))
            rule._go(bench, price, 0, walk, 0)
            solution = await solved(bound(None, plan), models(seed, told))
            live = [replace(one, flops=0) for one in solution.decisions]
            assert live == [replace(one, flops=0) for one in walk.decisions]
            options.update(one.option or "" for one in live)
            assert solution.answer == bench.standing(0).answer
            assert solution.answer == weighted(voting(solution))
            assert course_of(plan.table, solution.decisions).states == walk.course.states
    works = {work_of(option) for option in options}
    assert works >= {"", "1", "2", "4", SEARCH, *(["prompt"] if offer.prompt else [])}
    assert offer.prompt == any(option.startswith(JUDGED) for option in options)


async def test_the_dearer_a_flop_the_less_is_bought_and_the_first_sample_is_no_matter_of_price() -> None:
    spent = [0] * len(PRICES)
    for seed in range(8):
        for at, price in enumerate(PRICES):
            given = models(seed, price)
            await solved(bound(None, PLAN), given)
            spent[at] += given.market.spent
    assert spent == sorted(spent, reverse=True)
    assert len(set(spent)) > 2
    assert spent[-1] == 8 * 20
    nothing = await solved(bound(None, PLAN), models(0, 1.0, floor=False))
    assert (nothing.answer, nothing.candidates, len(nothing.decisions)) == (None, (), 1)
    assert nothing.decisions[0].option is None


async def test_a_prompt_that_its_value_gives_up_gets_no_sample_and_says_so() -> None:
    given = models(0, 3e-3, floor=False)
    given.verifier.alone = 0.01
    solution = await solved(bound(None, TOLD), given)
    assert (solution.answer, solution.candidates, given.market.spent) == (None, (), 10)
    asked, stopped = solution.decisions
    assert (asked.stage, asked.option, asked.flops) == ("0", "prompt", 10)
    assert (stopped.stage, stopped.option) == ("prompt", None)
    # A hopeful one is drawn at the same price.
    given = models(0, 3e-3, floor=False)
    given.verifier.alone = 0.6
    assert (await solved(bound(None, TOLD), given)).candidates


async def test_whatever_the_purse_holds_what_was_drawn_has_an_answer() -> None:
    strategy = bound(None, PLAN)
    for seed in range(6):
        free = models(seed, 0.0)
        whole = await solved(strategy, free)
        for limit in range(free.policy.purse.used + 1):
            given = models(seed, 0.0, limit=limit)
            try:
                solution = await solved(strategy, given)
            except PurseEmpty:
                assert limit == 0
                continue
            assert solution.candidates
            assert len({one.index for one in solution.candidates}) == len(solution.candidates)
            assert solution.answer == weighted(voting(solution))
            short = limit < free.policy.purse.used
            # It stands where the last move ended that was paid to its end; what was cut short is on its books.
            assert (solution.decisions[-1].option is not None) == short
            assert sum(one.flops for one in solution.decisions) == given.market.spent
            ended = solution.decisions[:-1]
            assert ended == whole.decisions[: len(ended)]


async def test_what_stands_on_record_is_repeated_at_its_price_and_then_it_decides_anew() -> None:
    strategy, further = bound(None, PLAN), 0
    for seed in range(8):
        first = await solved(strategy, models(seed, 1e-3))
        past = tuple(replace(one, repeated=True) for one in first.decisions)
        for price in (0.0, 1.0):
            given = models(seed, price)
            given.market.past = past
            again = await solved(strategy, given)
            kept = again.decisions[: len(past) - 1]
            assert [one.price for one in kept] == [1e-3] * len(kept)
            assert all(one.repeated for one in kept)
            assert [one.option for one in kept] == [one.option for one in first.decisions[:-1]]
            fresh = again.decisions[len(past) - 1 :]
            assert {one.price for one in fresh} == {price}
            assert not any(one.repeated for one in fresh)
            further += len(fresh) > 1
            if price == 1.0:
                assert (again.answer, len(fresh)) == (first.answer, 1)
        # One that was decided elsewhere is no record of this.
        given = models(seed, 0.0)
        given.market.past = (replace(past[0], cell=7),)
        assert await solved(strategy, given) == await solved(strategy, models(seed, 0.0))
    assert further


async def test_what_was_cut_short_is_taken_to_its_end_and_counts_as_taken_then() -> None:
    strategy, cut = bound(None, PLAN), 0
    for seed in range(6):
        whole = await solved(strategy, models(seed, 0.0))
        for limit in range(2, models(seed).policy.purse.used + 40, 3):
            short = await solved(strategy, models(seed, 0.0, limit=limit))
            if short.decisions[-1].option is None:
                break
            given = models(seed, 0.0)
            given.market.past = tuple(replace(one, repeated=True) for one in short.decisions)
            again = await solved(strategy, given)
            last = len(short.decisions) - 1
            assert [one.repeated for one in again.decisions] == [
                at < last for at in range(len(again.decisions))
            ]
            assert (again.answer, len(again.decisions)) == (whole.answer, len(whole.decisions))
            # From where it stood: the move is counted once, when it came to its end.
            stood = course_of(PLAN.table, short.decisions).states[-1]
            assert course_of(PLAN.table, again.decisions, again=True).states[0] == stood
            cut += 1
    assert cut > 10


# What it says of itself


def test_it_is_known_by_its_plans_content_and_not_by_its_file() -> None:
    strategy = bound(4, PLAN)
    assert strategy.text == f"compute_optimal(plan={PLAN.name},n=4)"
    assert parse(strategy.text) == strategy
    assert parse("compute_optimal(plan='a b/plan.yaml')") == ComputeOptimal("a b/plan.yaml")
    other = replace(PLAN, difficulty=Difficulty(3, (0.6, 0.4)))
    assert bound(4, other).text != strategy.text
    assert pickle.loads(pickle.dumps(strategy)).bound.name == PLAN.name


@pytest.mark.parametrize(
    "text", ["compute_optimal(plan='',n=4)", "compute_optimal(plan=3)", "compute_optimal(plan=a,n=0)"]
)
def test_what_cannot_be_meant_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="compute_optimal"):
        parse(text)


async def test_without_its_plan_it_solves_nothing() -> None:
    with pytest.raises(ValueError, match="bind it first"):
        await solved(ComputeOptimal("plan.yaml", 4), models(0))
