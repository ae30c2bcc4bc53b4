"""Requests that fail, are lost or aborted, and purses that run empty: all of it is on the books."""

from __future__ import annotations

import asyncio
import random
from array import array
from dataclasses import dataclass, field
from typing import Any

import pytest

from actors.engines.base import ScoreRequest, Scores
from actors.replicas.clients import TaskModels
from actors.replicas.meter import Meter
from actors.replicas.peers import CallLost
from actors.store.library import Prior
from actors.strategy import PurseEmpty, Role, Sample, Strategy
from actors.work import Cost, Unit
from orchestration.strategies.sampling.adaptive_consistency import AdaptiveConsistency
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.early_stopping import EarlyStopping
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.search.dvts import Dvts
from orchestration.strategies.search.lookahead import Lookahead
from orchestration.strategies.search.mcts import Mcts
from orchestration.strategies.search.particle_filtering import ParticleFiltering
from orchestration.strategies.search.rebase import Rebase
from tests.support.table import PLENTY, PROMPT, said
from tests.support.tiny import MAX_TOKENS


@pytest.mark.parametrize("strategy", [Majority(3), BestOfN(3), Beam(4, 2)], ids=lambda s: s.text)
async def test_a_request_that_fails_is_charged_its_worst_case_and_may_be_asked_again(
    table: Any, strategy: Strategy
) -> None:
    undisturbed = table()
    [expected] = await undisturbed.solve(strategy)
    for fail_at in range(1, len(undisturbed.engine.requests) + 1):
        one = table()
        one.engine.fail_at = fail_at
        with pytest.raises(RuntimeError, match="engine step failed"):
            await one.solve(strategy)
        # What ran beside it is stopped where nobody waits for it any more.
        await asyncio.gather(*one.bench.running, return_exceptions=True)
        assert one.purse.reserved == 0
        worst = one.costs["policy"].paper(one.engine.requests[fail_at - 1].max_tokens)
        kept = sum(entry.flops for entry in one.purse.entries if entry.kind == "kept")
        assert kept == one.spent().paper
        assert one.purse.spent >= kept + worst
        [again] = await one.solve(strategy)
        assert said(again) == said(expected)
        assert one.purse.reserved == 0


async def test_a_verifier_that_fails_is_charged_and_may_be_asked_again(table: Any) -> None:
    one = table()
    one.scorer.fail_at = 1
    models = one.models()
    solution = (40, 41, 13, 42, 1)
    with pytest.raises(RuntimeError, match="no verifier"):
        await models.verifier.score(solution)
    assert (one.purse.reserved, one.purse.spent) == (0, one.costs["verifier"].paper(5))
    assert one.meters[0] == Meter()
    assert len(await models.verifier.score(solution)) == 2
    assert one.purse.spent == 2 * one.costs["verifier"].paper(5)
    one.scorer.short = True
    with pytest.raises(RuntimeError, match="1 score for 2 steps"):
        await models.verifier.score((50, 13, 51, 1))
    assert one.purse.reserved == 0


async def test_a_run_without_a_verifier_says_so(table: Any) -> None:
    one = table()
    one.bench.scorer = None
    with pytest.raises(ValueError, match="no verifier"):
        await one.models().verifier.score((40, 13))


async def test_what_is_cancelled_stops_and_leaves_nothing_reserved(table: Any) -> None:
    one = table()
    work = asyncio.create_task(one.solve(Majority(12), Beam(8, 2)))
    await asyncio.wait_for(one.engine.answered.wait(), 10)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await one.bench.end()
    assert one.purse.reserved == 0
    assert 0 < one.purse.spent < PLENTY
    with pytest.raises(RuntimeError, match="has ended"):
        await one.models().policy.sample((), (99,))
    one.bench.ended = False
    await asyncio.wait_for(one.models().policy.sample((), (99,)), 10)
    assert one.engine.counters().running == 0


@pytest.mark.parametrize(
    "strategy",
    [
        Greedy(),
        Majority(4),
        EarlyStopping(5, window=2),
        AdaptiveConsistency(6),
        BestOfN(4),
        Beam(4, 2),
        Beam(6, 6),
        Beam(1, 1),
        Rebase(4),
        ParticleFiltering(4),
        Beam(4, 2, every=2),
        Beam(4, merge=True),
        Lookahead(4, 2, k=2),
        Dvts(4, 2),
        Mcts(4, 2),
    ],
    ids=lambda s: s.text,
)
@pytest.mark.parametrize("unit", ["paper", "exact"])
async def test_with_the_purse_empty_a_strategy_answers_with_what_it_has(
    table: Any, strategy: Strategy, unit: Unit
) -> None:
    """Refused at once where it does not fit: a purse for each number of whole candidates, and for less than one."""
    whole = table(unit=unit)
    await whole.solve(strategy)
    cost = whole.costs["policy"]
    one_sample = (
        cost.paper(MAX_TOKENS)
        if unit == "paper"
        else cost.exact(0, len(PROMPT.token_ids) - 1 + MAX_TOKENS, MAX_TOKENS)
    )
    answered = []
    for halves in range(14):
        one = table(granted=halves * one_sample // 2, unit=unit)
        one.purse.refill(None)
        try:
            [solution] = await one.solve(strategy)
        except PurseEmpty:
            assert not any(drawn.result().finish != "stop" for drawn in one.bench.draws.values())
            answered.append(False)
        else:
            assert solution.candidates
            assert 1 <= solution.generations <= getattr(strategy, "generations", getattr(strategy, "n", 1))
            readable = {c.answer for c in solution.candidates if c.kept and c.answer is not None}
            assert solution.answer in readable or not readable
            answered.append(True)
        assert one.purse.reserved == 0
        assert one.purse.spent <= one.purse.granted
    assert not any(answered[:2])
    assert answered[2] or not isinstance(strategy, Greedy | Majority | BestOfN)
    assert all(answered[4:]), "two candidates' worth is enough for one answer"


async def test_a_refill_that_comes_late_goes_on_where_it_stopped(table: Any) -> None:
    one, rich = table(granted=0), table()
    work = asyncio.create_task(one.solve(Beam(4, 2), Majority(3)))
    refills = 0
    while not work.done():
        await asyncio.sleep(0)
        if one.purse.lacking:
            one.purse.refill(one.purse.granted + one.purse.lacking)
            refills += 1
    expected = await rich.solve(Beam(4, 2), Majority(3))
    assert [said(solution) for solution in work.result()] == [said(solution) for solution in expected]
    assert refills > 1
    assert one.purse.spent == rich.purse.spent


class Dying:
    """A scorer whose first calls are lost."""

    def __init__(self, scorer: Any, lost: int) -> None:
        self.scorer, self.lost = scorer, lost

    async def score(self, request: ScoreRequest) -> Scores:
        scores: Scores = await self.scorer.score(request)
        if self.lost:
            self.lost -= 1
            raise CallLost("the verifier died after its work")
        return scores


async def test_lost_calls_are_asked_again_and_paid_for_as_waste(table: Any) -> None:
    plain, unlucky = table(), table()
    unlucky.bench.scorer = Dying(unlucky.bench.scorer, 3)
    [first] = await plain.solve(BestOfN(4))
    [second] = await unlucky.solve(BestOfN(4))
    assert [c.scores for c in first.candidates] == [c.scores for c in second.candidates]
    lost = sum(entry.flops for entry in unlucky.purse.entries if entry.kind == "lost")
    assert not any(entry.wasted for entry in plain.purse.entries)
    assert unlucky.purse.spent == plain.purse.spent + lost
    assert lost
    assert unlucky.purse.reserved == 0


@dataclass
class Cached:
    """A scorer over a cache that stands in the way of scores: it tells none, of `computed` tokens, unless asked for all."""

    scorer: Any
    computed: int
    asked: list[ScoreRequest] = field(default_factory=list)

    async def score(self, request: ScoreRequest) -> Scores:
        self.asked.append(request)
        if not request.whole:
            return Scores((), self.computed)
        scores: Scores = await self.scorer.score(request)
        return Scores(scores.values, len(request.token_ids))


def not_wasted(one: Any) -> int:
    """What stands on the purse's books as spent."""
    return sum(entry.flops for entry in one.purse.entries if not entry.wasted)


@pytest.mark.parametrize("unit", ["paper", "exact"])
@pytest.mark.parametrize("computed", [3, 10])
@pytest.mark.parametrize("left", [0, 5, PLENTY])
async def test_a_second_pass_is_paid_before_it_is_made_or_not_made(
    table: Any, unit: Unit, computed: int, left: int
) -> None:
    """Trap: the first pass has used some of what was set aside; the second takes all of it again, and nobody has it."""
    solution = (40, 41, 13, 42, 1)
    one = table(unit=unit)
    cost, length = one.costs["verifier"], len(PROMPT.token_ids) + len(solution)
    assert length == 10
    whole = cost.exact(0, length, len(solution))
    first = cost.exact(length - computed, computed, min(computed, len(solution)))
    one.purse.granted = (whole if unit == "exact" else cost.paper(len(solution))) + left
    one.purse.refill(None)
    scorer = one.bench.scorer = Cached(one.bench.scorer, computed)
    if unit == "exact" and left < first:
        with pytest.raises(PurseEmpty):
            await one.models().verifier.score(solution)
        assert [request.whole for request in scorer.asked] == [False]
        assert one.meters[0].spent == Cost(exact=first)
    else:
        assert len(await one.models().verifier.score(solution)) == 2
        assert [request.whole for request in scorer.asked] == [False, True]
        assert one.meters[0].spent.exact == first + whole
        assert one.meters[0].spent.paper == cost.paper(len(solution))
        assert one.meters[0].attributed.exact == whole, "alone, with an ideal cache"
    assert one.purse.reserved == 0
    assert one.purse.spent == not_wasted(one) == one.bench.run.price(one.meters[0].spent)


class Odd:
    """A scorer whose answers are now lost, now kept from it by a cache."""

    def __init__(self, scorer: Any) -> None:
        self.scorer, self.random, self.lost = scorer, random.Random(3), 0

    async def score(self, request: ScoreRequest) -> Scores:
        if self.random.random() < 0.2:
            self.lost += 1
            raise CallLost("the verifier died")
        if not request.whole and self.random.random() < 0.3:
            return Scores((), self.random.randrange(len(request.token_ids) + 1))
        scores: Scores = await self.scorer.score(request)
        return scores


@pytest.mark.parametrize(
    ("unit", "passes", "drawn"),
    [("exact", 1, True), ("exact", 3, False), ("exact", None, False), ("paper", None, True)],
)
async def test_what_outcomes_say_they_spent_is_what_the_books_say(
    table: Any, unit: Unit, passes: int | None, drawn: bool
) -> None:
    """With scores that are lost or asked for again, with some that exist already, with purses that run empty. Where all is
    `drawn` already, the purse is the verifier's alone."""
    strategies = Beam(4, 2), BestOfN(3), Lookahead(4, 2, k=2), Mcts(4, 2)
    rich = table(unit=unit)
    await rich.solve(*strategies)
    one = table(unit=unit)
    one.bench.prior = Prior(
        {row["key"]: sample_of(row) for row in rich.bench.samples} if drawn else {},
        {row["key"]: row["value"] for row in rich.bench.score_rows[::5]},
    )
    odd = one.bench.scorer = Odd(one.bench.scorer)
    if passes is not None:
        role: Role = "verifier" if drawn else "policy"
        most = max(len(request.token_ids) for request in rich.scorer.requests) if drawn else 5 + MAX_TOKENS
        one.purse.granted = passes * one.bench.run.price(
            Cost(paper=one.costs[role].paper(most - 5), exact=one.costs[role].exact(0, most, most - 5))
        )
        one.purse.refill(None)
    await asyncio.gather(
        *(strategy.solve(PROMPT, one.models()) for strategy in strategies), return_exceptions=True
    )
    await one.bench.end()
    assert one.purse.reserved == 0
    assert one.purse.spent <= one.purse.granted
    assert one.bench.run.price(one.spent()) == not_wasted(one)
    assert one.purse.spent > 0
    lost = [entry.flops for entry in one.purse.entries if entry.kind == "lost"]
    assert bool(odd.lost) == any(lost)
    assert passes is not None or odd.lost


def sample_of(row: dict[str, Any]) -> Sample:
    logprobs = tuple(array("f", row["logprobs"]))
    return Sample(tuple(array("i", row["token_ids"])), logprobs, row["finish_reason"])


@pytest.mark.parametrize("computed", [-1, 11])
async def test_a_verifier_that_claims_more_than_there_is_is_an_error(table: Any, computed: int) -> None:
    class Boasts:
        async def score(self, request: ScoreRequest) -> Scores:
            return Scores((0.5, 0.5), computed)

    one = table(unit="exact")
    one.bench.scorer = Boasts()
    with pytest.raises(RuntimeError, match=f"computed {computed} of 10 tokens"):
        await one.models().verifier.score((40, 41, 13, 42, 1))
    assert one.purse.reserved == 0
    assert one.purse.spent > 0


async def test_what_is_aborted_is_charged_what_it_had_drawn_and_what_never_began_nothing(table: Any) -> None:
    """Many requests on few slots: most have not begun when they are stopped."""
    one = table()
    models = TaskModels.of(one.bench, Meter())
    work = asyncio.gather(*(models.policy.sample((), (i,)) for i in range(200)))
    while one.engine.counters().tokens_out < 40:  # noqa: ASYNC110
        await asyncio.sleep(0.002)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await one.bench.end()
    await asyncio.sleep(0.05)
    drawn = one.engine.counters().tokens_computed
    assert one.purse.reserved == 0
    # Each of the eight slots may be charged the token of a step that was under way.
    assert one.purse.spent <= (drawn + 2 * 8) * one.costs["policy"].paper(1)
