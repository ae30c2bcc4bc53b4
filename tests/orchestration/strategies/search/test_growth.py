"""What holds for every tree search that grows its tree step by step, whatever it chooses by."""

from __future__ import annotations

from collections import Counter

import pytest

from actors.errors import UserError
from actors.strategy import PurseEmpty, Solution, Strategy
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.search.mcts import Mcts
from orchestration.strategies.search.particle_filtering import ParticleFiltering
from orchestration.strategies.search.rebase import Rebase
from orchestration.strategies.selection import weighted
from tests.support.fakes import EOS, PROMPT, FakeModels, answer_of, models, step

SEARCHES: list[Strategy] = [
    Rebase(4),
    Rebase(16),
    Rebase(7, temperature_b=1.0),
    Rebase(16, temperature_b=0.01, rounds=3),
    Rebase(8, aggregation="min"),
    ParticleFiltering(4),
    ParticleFiltering(16),
    ParticleFiltering(7, softmax_temperature=0.2, weighted=False),
    ParticleFiltering(8, rounds=3, aggregation="mean"),
    Mcts(4),
    Mcts(16),
    Mcts(16, width=2, parallel=1),
    Mcts(9, width=3, exploration=0.0, parallel=8),
    Mcts(12, width="sqrt", exploration=9.0, parallel=2, rounds=3, aggregation="min"),
]
every_search = pytest.mark.parametrize("strategy", SEARCHES, ids=lambda s: s.text)


async def solve(strategy: Strategy, given: FakeModels) -> Solution:
    return await strategy.solve(PROMPT, given)


def drawn_of(given: FakeModels) -> Counter[tuple[int, ...]]:
    """The whole token ids of every finished solution that was drawn."""
    solutions = [
        prefix + given.policy.drawn(prefix, place, o).token_ids
        for prefix, place, o, _ in given.policy.requests
    ]
    return Counter(solution for solution in solutions if solution[-1:] == (EOS,))


@every_search
async def test_finished_is_never_extended_nor_cloned_and_no_place_is_drawn_twice(strategy: Strategy) -> None:
    for seed in range(40):
        given = models(seed)
        solution = await solve(strategy, given)
        places = [place for _, place, _, _ in given.policy.requests]
        assert len(set(places)) == len(places)
        assert not any(EOS in prefix for prefix, *_ in given.policy.requests)
        assert not any(len(prefix) >= given.policy.max_tokens for prefix, *_ in given.policy.requests)
        # Leaves and inner nodes together are what was drawn: nobody is listed twice, nothing is lost.
        inner = {place[:-1] for place in places} - {()}
        assert len(solution.candidates) == len(set(places) - inner)
        # A vote is a draw: as many finished candidates as finished draws, with their tokens.
        assert Counter(c.token_ids for c in solution.candidates if c.finish == "eos") == drawn_of(given)


@every_search
async def test_prefix_of_a_step_is_the_tokens_of_the_steps_before(strategy: Strategy) -> None:
    for seed in range(5):
        given = models(seed)
        await solve(strategy, given)
        text: dict[tuple[int, ...], tuple[int, ...]] = {(): ()}
        for prefix, place, one_step, _ in given.policy.requests:
            assert one_step
            assert prefix == text[place[:-1]]
            text[place] = prefix + given.policy.drawn(prefix, place, True).token_ids


@every_search
async def test_result_depends_on_places_and_not_on_order_of_completion(strategy: Strategy) -> None:
    for seed in range(5):
        expected = await solve(strategy, models(seed))
        orders = set()
        for delays in range(5):
            given = models(seed, delays=delays)
            assert await solve(strategy, given) == expected
            orders.add(tuple(given.policy.completed))
        assert len(orders) > 1


@every_search
async def test_no_more_sequences_at_once_than_declared(strategy: Strategy) -> None:
    for seed in range(5):
        given = models(seed, delays=3)
        running = peak = 0
        original = given.policy.sample

        async def counted(prefix, place, *, original=original, **how):  # type: ignore[no-untyped-def]
            nonlocal running, peak
            running += 1
            peak = max(peak, running)
            sample = await original(prefix, place, **how)
            running -= 1
            return sample

        given.policy.sample = counted  # type: ignore[method-assign]
        await solve(strategy, given)
        assert peak <= strategy.sequences


@every_search
async def test_tree_can_be_drawn_again_from_the_candidates(strategy: Strategy) -> None:
    for seed in range(20):
        given = models(seed)
        solution = await solve(strategy, given)
        nodes = kept_nodes = 0
        for position, c in enumerate(solution.candidates):
            assert c.index == position
            assert -1 <= c.parent < c.index
            assert 0 <= c.depth <= len(c.step_ends) == len(c.scores) == len(c.logprobs)
            shared = 0
            if c.parent >= 0:
                parent = solution.candidates[c.parent]
                assert c.depth >= 1
                shared = c.step_ends[c.depth - 1]
                assert c.token_ids[:shared] == parent.token_ids[:shared]
            nodes += len(c.token_ids) - shared
            kept_nodes += (len(c.token_ids) - shared) if c.kept else 0
        drawn = sum(len(given.policy.drawn(r[0], r[1], True).token_ids) for r in given.policy.requests)
        assert nodes == drawn
        assert solution.kept_tokens <= drawn
        # Kept leaves come first, so what they add to each other is what they stand on, unless some were taken back.
        kept = [c.kept for c in solution.candidates]
        if kept == sorted(kept, reverse=True):
            assert solution.kept_tokens == kept_nodes


@every_search
async def test_unfinished_text_never_votes_beside_a_finished_one(strategy: Strategy) -> None:
    for seed in range(40):
        solution = await solve(strategy, models(seed, max_tokens=10, end_rate=0.1))
        finished = {
            c.answer for c in solution.candidates if c.finish == "eos" and c.kept and c.answer is not None
        }
        assert not finished or solution.answer in finished


@every_search
@pytest.mark.parametrize("delays", [None, 1])
async def test_anytime_for_every_size_of_the_purse(strategy: Strategy, delays: int | None) -> None:
    for seed in range(4):
        free = models(seed, delays=delays)
        whole = await solve(strategy, free)
        needed = free.policy.purse.used
        for limit in range(needed + 1):
            given = models(seed, limit=limit, delays=delays)
            try:
                solution = await solve(strategy, given)
            except PurseEmpty:
                back = [r for r in given.policy.requests if r[1] in given.policy.completed]
                assert all(given.policy.drawn(p, place, o).finish == "stop" for p, place, o, _ in back)
                continue
            assert given.policy.purse.used <= limit
            assert not any(EOS in prefix for prefix, *_ in given.policy.requests)
            assert 1 <= solution.generations <= strategy.n  # type: ignore[attr-defined]
            finished = [c for c in solution.candidates if c.finish == "eos" and c.answer is not None]
            assert (solution.answer is not None) >= bool(finished)
        assert solution == whole


@every_search
async def test_empty_purse_lets_the_best_be_completed_by_one_sample(strategy: Strategy) -> None:
    """Where all first steps can be paid for and nothing else but one plain sample, that is the answer."""
    samples = {(i,): step(2 + i % 2, 1) for i in range(16)}
    given = models(samples=samples, scores={(2, 1): 0.25, (3, 1): 0.5})
    original = given.policy.sample

    async def refuses_second_steps(prefix, place, *, one_step, sampling):  # type: ignore[no-untyped-def]
        if not one_step:
            return step(4, 0)
        if len(place) == 2:
            raise PurseEmpty("the siblings' worst cases do not fit at once")
        return await original(prefix, place, one_step=one_step, sampling=sampling)

    given.policy.sample = refuses_second_steps  # type: ignore[method-assign]
    solution = await solve(strategy, given)
    assert solution.answer == answer_of((4,))
    assert [c.token_ids for c in solution.candidates if c.finish == "eos"] == [(3, 1, 4, 0)]


@every_search
async def test_refused_scores_leave_an_answer(strategy: Strategy) -> None:
    given = models(1, samples={(0,): step(2, 0)})

    async def refuses(solution: tuple[int, ...]) -> tuple[float, ...]:
        raise PurseEmpty("empty")

    given.verifier.score = refuses  # type: ignore[method-assign]
    solution = await solve(strategy, given)
    assert {len(r[1]) for r in given.policy.requests} == {1}
    assert solution.answer is not None


@every_search
async def test_nothing_drawn_or_nothing_to_read_is_an_empty_purse(strategy: Strategy) -> None:
    with pytest.raises(PurseEmpty):
        await solve(strategy, models(limit=0))
    unread = {(i,): step(9, 1) for i in range(16)}
    with pytest.raises(PurseEmpty):
        await solve(strategy, models(samples=unread, limit=2))


@every_search
async def test_step_that_fills_the_solution_is_cut_off_and_not_asked_to_go_on(strategy: Strategy) -> None:
    samples = {(i,): step(2, 3, 4, 1) for i in range(16)}
    given = models(max_tokens=4, samples=samples)
    solution = await solve(strategy, given)
    assert {len(r[1]) for r in given.policy.requests} == {1}
    assert {c.finish for c in solution.candidates} == {"length"}
    assert solution.answer == answer_of((4,))


@every_search
async def test_bad_score_is_an_error_and_never_a_number(strategy: Strategy) -> None:
    samples = {(i,): step(2, 1) for i in range(16)}
    with pytest.raises(UserError, match="verifier score"):
        await solve(strategy, models(samples=samples, scores={(2, 1): 1.5}))


@every_search
async def test_model_that_never_ends_stops_at_the_last_round(strategy: Strategy) -> None:
    given = models(end_rate=0.0, max_tokens=10_000)

    async def endless(prefix, place, **how):  # type: ignore[no-untyped-def]
        given.policy.requests.append((prefix, place, True, how["sampling"]))
        return step(2 + len(place) % 7, 1)

    given.policy.sample = endless  # type: ignore[method-assign]
    solution = await solve(strategy, given)
    assert max(len(r[1]) for r in given.policy.requests) == strategy.rounds  # type: ignore[attr-defined]
    assert {c.finish for c in solution.candidates} == {"stop"}
    assert solution.answer == weighted(solution.candidates, strategy.aggregation)  # type: ignore[attr-defined]


@pytest.mark.parametrize("strategy", [Rebase(1), ParticleFiltering(1), Mcts(1)], ids=lambda s: s.text)
async def test_n_of_one_is_one_sample(strategy: Strategy) -> None:
    for seed in range(10):
        search, sample = models(seed), models(seed)
        assert await solve(strategy, search) == await solve(BestOfN(1), sample)
        assert search.policy.requests == sample.policy.requests


@pytest.mark.parametrize(
    "strategy", [Rebase(16), ParticleFiltering(16), Mcts(8, width=8)], ids=lambda s: s.text
)
async def test_first_steps_are_shared_with_beams_of_all_n(strategy: Strategy) -> None:
    search, beam = models(5), models(5)
    await solve(strategy, search)
    await solve(Beam(4), beam)
    first = [{r for r in given.policy.requests if len(r[1]) == 1} for given in (search, beam)]
    assert first[0] > first[1]
