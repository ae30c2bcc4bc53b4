"""Strategies made of whole samples: greedy, majority, best-of-N."""

import asyncio
import math
from dataclasses import replace

import pytest

from actors.errors import UserError
from actors.strategy import PurseEmpty, Sampling, Solution, Strategy
from orchestration.strategies.drawing import together
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.selection import best, majority, weighted
from tests.support.fakes import PROMPT, FakeModels, answer_of, models, step, step_ends

ALL = [Greedy(), Majority(8), BestOfN(8), BestOfN(8, weighted=False), BestOfN(8, aggregation="min")]


async def solve(strategy: Strategy, given: FakeModels) -> Solution:
    return await strategy.solve(PROMPT, given)


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.text)
async def test_cost_in_generations(strategy: Strategy) -> None:
    given = models(1)
    solution = await solve(strategy, given)
    n = 1 if isinstance(strategy, Greedy) else 8
    assert solution.generations == strategy.sequences == len(solution.candidates) == n
    assert [r[1] for r in given.policy.requests] == [(i,) for i in range(n)]
    assert len(given.verifier.requests) == (n if strategy.uses_verifier else 0)
    assert solution.kept_tokens == sum(len(c.token_ids) for c in solution.candidates)


async def test_candidates_hold_what_was_drawn() -> None:
    given = models(2)
    solution = await solve(BestOfN(16), given)
    for index, c in enumerate(solution.candidates):
        sample = given.policy.drawn((), (index,), False)
        assert (c.index, c.token_ids, c.finish) == (index, sample.token_ids, sample.finish)
        assert c.answer == answer_of(c.token_ids)
        assert c.step_ends == step_ends(c.token_ids)
        assert len(c.scores) == len(c.logprobs) == len(c.step_ends)
        assert c.scores[-1] == given.verifier.value(c.token_ids[: c.step_ends[-1]])
        assert math.fsum(c.logprobs) == pytest.approx(math.fsum(sample.logprobs[: c.step_ends[-1]]))
        assert (c.kept, c.parent, c.depth) == (True, -1, 0)


async def test_answers_follow_the_rule_of_each() -> None:
    for seed in range(20):
        majority_solution = await solve(Majority(8), models(seed))
        scored = await solve(BestOfN(8), models(seed))
        plain = await solve(BestOfN(8, weighted=False, aggregation="min"), models(seed))
        assert majority_solution.answer == majority(majority_solution.candidates)
        assert scored.answer == weighted(scored.candidates)
        assert plain.answer == best(scored.candidates, "min")


async def test_greedy_is_temperature_zero() -> None:
    given = models()
    await solve(Greedy(), given)
    assert given.policy.requests == [((), (0,), False, Sampling(0.0, 1.0))]


async def test_all_strategies_and_all_n_draw_the_same_samples() -> None:
    drawn = [{r for r in await requests(strategy)} for strategy in (Majority(4), Majority(8), BestOfN(8))]
    assert drawn[0] < drawn[1] == drawn[2]
    assert not drawn[0] & await requests(Majority(4, temperature=0.7))


async def requests(strategy: Strategy) -> set[object]:
    given = models()
    await solve(strategy, given)
    return set(given.policy.requests)


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.text)
async def test_result_depends_on_places_and_not_on_order_of_completion(strategy: Strategy) -> None:
    for seed in range(5):
        expected = await solve(strategy, models(seed))
        orders = set()
        for delays in range(5):
            given = models(seed, delays=delays)
            assert await solve(strategy, given) == expected
            orders.add(tuple(given.policy.completed))
        assert len(orders) > 1 or strategy.sequences == 1


@pytest.mark.parametrize("strategy", ALL, ids=lambda s: s.text)
async def test_anytime_for_every_size_of_the_purse(strategy: Strategy) -> None:
    whole = await solve(strategy, models(3))
    with pytest.raises(PurseEmpty):
        await solve(strategy, models(3, limit=0))
    for limit in range(1, 2 * strategy.sequences + 1):
        for delays in (None, 1, 2):
            given = models(3, limit=limit, delays=delays)
            solution = await solve(strategy, given)
            assert given.policy.purse.used <= limit
            assert solution.generations == len(solution.candidates) >= 1
            assert {replace(c, scores=()) for c in solution.candidates} <= {
                replace(c, scores=()) for c in whole.candidates
            }
            readable = any(c.answer is not None for c in solution.candidates)
            assert (solution.answer is not None) == readable


async def test_purse_that_ends_before_the_scores_leaves_a_majority() -> None:
    given = models(4, limit=8)
    solution = await solve(BestOfN(8), given)
    assert not any(c.scores for c in solution.candidates)
    assert solution.answer == majority(solution.candidates) is not None


async def test_index_is_the_place_also_where_others_were_refused() -> None:
    given = models(3)
    original = given.policy.sample

    async def refuses_even_places(prefix, place, **how):  # type: ignore[no-untyped-def]
        if place[0] % 2 == 0:
            raise PurseEmpty("empty")
        return await original(prefix, place, **how)

    given.policy.sample = refuses_even_places  # type: ignore[method-assign]
    solution = await solve(Majority(6), given)
    assert [c.index for c in solution.candidates] == [1, 3, 5]
    assert solution.generations == 3


async def test_identical_samples_are_separate_draws_with_a_vote_each() -> None:
    samples = {(0,): step(2, 0), (1,): step(3, 0), (2,): step(3, 0)}
    solution = await solve(Majority(3), models(samples=samples))
    assert solution.generations == 3
    assert solution.answer == answer_of((3,))


async def test_scores_are_asked_for_as_soon_as_a_sample_is_there() -> None:
    given = models()
    held = asyncio.Event()
    original = given.policy.sample

    async def first_is_slow(prefix, place, **how):  # type: ignore[no-untyped-def]
        if place == (0,):
            await held.wait()
        return await original(prefix, place, **how)

    given.policy.sample = first_is_slow  # type: ignore[method-assign]
    running = asyncio.create_task(solve(BestOfN(4), given))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(given.verifier.requests) == 3
    held.set()
    assert (await running).generations == 4


@pytest.mark.parametrize("bad", [math.nan, 1.5, -1.0])
async def test_bad_score_is_an_error_and_never_a_number(bad: float) -> None:
    given = models(samples={(0,): step(2, 0)}, scores={(2, 0): bad})
    with pytest.raises(UserError, match="verifier score"):
        await solve(BestOfN(4), given)


async def test_failed_score_is_an_error_and_never_a_number() -> None:
    given = models()

    async def fails(solution: tuple[int, ...]) -> tuple[float, ...]:
        raise ConnectionError("gone")

    given.verifier.score = fails  # type: ignore[method-assign]
    with pytest.raises(ConnectionError, match="gone"):
        await solve(BestOfN(4), given)


async def test_one_score_per_step_or_an_error() -> None:
    given = models(samples={(0,): step(2, 1, 3, 1, 0)})

    async def scores_an_empty_step_too(solution: tuple[int, ...]) -> tuple[float, ...]:
        return (0.5,) * (len(step_ends(solution)) + 1)

    given.verifier.score = scores_an_empty_step_too  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="3 scores for a solution of 2 steps"):
        await solve(BestOfN(1), given)


async def test_no_room_for_a_single_token_is_a_candidate_without_answer() -> None:
    given = models(max_tokens=0, samples={(0,): step(finish="length")})
    solution = await solve(BestOfN(1), given)
    assert solution.answer is None
    assert solution.candidates[0].scores == ()


async def test_failure_cancels_the_others_and_surfaces_as_itself() -> None:
    cancelled = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def fails() -> None:
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        await together([waits(), fails(), waits()])
    assert cancelled == [True, True]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Majority(0), "majority.n"),
        (lambda: Majority(True), "majority.n"),
        (lambda: Majority(2.0), "majority.n"),  # type: ignore[arg-type]
        (lambda: Majority(2, temperature=0), "majority.temperature"),
        (lambda: Majority(2, temperature=math.nan), "majority.temperature"),
        (lambda: Majority(2, temperature="warm"), "majority.temperature"),  # type: ignore[arg-type]
        (lambda: Majority(2, top_p=0.0), "majority.top_p"),
        (lambda: Majority(2, top_p=1.1), "majority.top_p"),
        (lambda: BestOfN(2, weighted=1), "best_of_n.weighted"),  # type: ignore[arg-type]
        (lambda: BestOfN(2, aggregation="lst"), "did you mean 'last'"),  # type: ignore[arg-type]
        (lambda: BestOfN(2, aggregation=None), "best_of_n.aggregation"),  # type: ignore[arg-type]
    ],
)
def test_impossible_settings_are_refused(make, field: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=field):
        make()
