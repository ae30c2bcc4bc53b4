"""Beam search with a purse that runs empty: it answers with what it has, whatever the size."""

from __future__ import annotations

import pytest

from actors.strategy import PurseEmpty
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.selection import weighted
from tests.support.fakes import EOS, FakeModels, answer_of, models, solve, step


@pytest.mark.parametrize("strategy", [Beam(4), Beam(8, width=2), Beam(9, width=3)], ids=lambda s: s.text)
@pytest.mark.parametrize("delays", [None, 1])
async def test_anytime_for_every_size_of_the_purse(strategy: Beam, delays: int | None) -> None:
    for seed in range(6):
        free = models(seed, delays=delays)
        whole = await solve(strategy, free)
        needed = free.policy.purse.used
        for limit in range(needed + 1):
            given = models(seed, limit=limit, delays=delays)
            try:
                solution = await solve(strategy, given)
            except PurseEmpty:
                drawn = [given.policy.drawn(p, place, o).finish for p, place, o, _ in taken(given)]
                assert all(finish == "stop" for finish in drawn)
                continue
            assert given.policy.purse.used <= limit
            assert not any(EOS in prefix for prefix, *_ in given.policy.requests)
            assert 1 <= solution.generations <= strategy.n
            assert solution.answer == weighted(solution.candidates)
            finished = [c for c in solution.candidates if c.finish == "eos" and c.answer is not None]
            assert solution.answer is not None or not finished
        assert solution == whole


def taken(given: FakeModels) -> list[tuple[tuple[int, ...], tuple[int, ...], bool, object]]:
    """The requests whose draw came back."""
    return [r for r in given.policy.requests if r[1] in given.policy.completed]


async def test_empty_purse_lets_the_best_beam_be_completed_by_one_sample() -> None:
    samples = {(0,): step(2, 1), (1,): step(3, 1), (1, 0): step(4, 0)}
    given = models(samples=samples, scores={(2, 1): 0.25, (3, 1): 0.5})
    original = given.policy.sample

    async def refuses_second_steps(prefix, place, *, one_step, sampling):  # type: ignore[no-untyped-def]
        if one_step and len(place) == 2:
            raise PurseEmpty("the siblings' worst cases do not fit at once")
        return await original(prefix, place, one_step=one_step, sampling=sampling)

    given.policy.sample = refuses_second_steps  # type: ignore[method-assign]
    solution = await solve(Beam(2, width=2), given)
    assert [r[1:3] for r in given.policy.requests] == [((0,), True), ((1,), True), ((1, 0), False)]
    assert solution.answer == answer_of((4,))
    assert [c.token_ids for c in solution.candidates] == [(3, 1, 4, 0), (2, 1)]
    assert solution.generations == 2


async def test_refused_score_ends_the_rounds_too() -> None:
    given = models(samples={(0,): step(2, 1), (1,): step(3, 1), (0, 0): step(5, 0)})

    async def refuses(solution: tuple[int, ...]) -> tuple[float, ...]:
        raise PurseEmpty("empty")

    given.verifier.score = refuses  # type: ignore[method-assign]
    solution = await solve(Beam(2, width=2), given)
    assert [r[1:3] for r in given.policy.requests] == [((0,), True), ((1,), True), ((0, 0), False)]
    assert solution.answer == answer_of((5,))


async def test_nothing_drawn_or_nothing_to_read_is_an_empty_purse() -> None:
    with pytest.raises(PurseEmpty):
        await solve(Beam(4), models(limit=0))
    unread = {(i,): step(9, 1) for i in range(4)}
    with pytest.raises(PurseEmpty):
        await solve(Beam(4), models(samples=unread, limit=8))


async def test_parent_whose_children_were_all_refused_is_a_leaf_again() -> None:
    samples = {(0,): step(2, 1), (1,): step(3, 1), (0, 0): step(5, 0)}
    given = models(samples=samples, limit=5, scores={(2, 1): 0.5, (3, 1): 0.5})
    solution = await solve(Beam(2, width=1), given)
    assert [c.token_ids for c in solution.candidates] == [(2, 1, 5, 0), (3, 1)]
    assert [c.scores for c in solution.candidates] == [(), (0.5,)]
    assert solution.answer == answer_of((5,))
