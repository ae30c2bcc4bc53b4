"""Lookahead search: what a look ahead decides, what it costs, and that it is no more than a valuation."""

from __future__ import annotations

import asyncio

import pytest

from actors.errors import UserError
from actors.strategy import PurseEmpty, Sampling
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.search.lookahead import Lookahead
from tests.support.fakes import EOS, PROMPT, answer_of, models, step

FIRST = {(0,): step(2, 1), (1,): step(3, 1)}
OWN = {(2, 1): 0.25, (3, 1): 0.75}


@pytest.mark.parametrize("n", [1, 2, 4, 8])
@pytest.mark.parametrize("limit", [None, 3, 9, 20])
async def test_no_steps_ahead_is_beam(n: int, limit: int | None) -> None:
    for seed in range(20):
        ahead, beam = models(seed, limit=limit), models(seed, limit=limit)
        try:
            expected = await Beam(n).solve(PROMPT, beam)
        except PurseEmpty:
            with pytest.raises(PurseEmpty):
                await Lookahead(n, k=0).solve(PROMPT, ahead)
        else:
            assert await Lookahead(n, k=0).solve(PROMPT, ahead) == expected
        assert ahead.policy.requests == beam.policy.requests
        assert ahead.verifier.requests == beam.verifier.requests


async def test_a_step_is_worth_what_follows_it() -> None:
    samples = FIRST | {(0, 0): step(5, 0), (0, 1): step(6, 0), (1, 0): step(5, 0), (1, 1): step(6, 0)}
    rollouts = {(2, 1): step(7, 1), (2, 1, 7, 1): step(8, 1), (3, 1): step(4, 1), (3, 1, 4, 1): step(7, 0)}
    # Of the two first steps the second looks better at once, the first better two steps ahead.
    scores = OWN | {(2, 1, 7, 1): 0.0, (2, 1, 7, 1, 8, 1): 1.0, (3, 1, 4, 1): 0.5, (3, 1, 4, 1, 7, 0): 0.125}
    scores |= {(2, 1, 5, 0): 0.5, (2, 1, 6, 0): 0.25}
    for k, winner in ((0, 1), (1, 1), (2, 0), (3, 0)):
        given = models(samples=samples, scores=scores, rollouts=rollouts)
        solution = await Lookahead(2, width=2, k=k).solve(PROMPT, given)
        assert {r[1] for r in given.policy.requests if len(r[1]) == 2} == {(winner, 0), (winner, 1)}
        assert solution.generations == 2 * (k + 1)
    # Candidates are what was drawn for the tree, with the scores of their own steps alone.
    assert [(c.token_ids, c.scores, c.kept) for c in solution.candidates] == [
        ((2, 1, 5, 0), (0.25, 0.5), True),
        ((2, 1, 6, 0), (0.25, 0.25), True),
        ((3, 1), (0.75,), False),
    ]
    assert solution.answer == answer_of((5,))
    assert solution.kept_tokens == 2 + 2 + 2


@pytest.mark.parametrize(("how", "winner"), [("last", 0), ("min", 1), ("product", 1), ("mean", 0)])
async def test_aggregation_takes_all_steps_up_to_the_end_of_the_rollout(how: str, winner: int) -> None:
    scores = OWN | {(2, 1, 7, 0): 1.0, (3, 1, 4, 0): 0.375}
    rollouts = {(2, 1): step(7, 0), (3, 1): step(4, 0)}
    given = models(samples=FIRST, scores=scores, rollouts=rollouts)
    await Lookahead(2, width=2, k=1, aggregation=how).solve(PROMPT, given)  # type: ignore[arg-type]
    assert {r[1][0] for r in given.policy.requests if len(r[1]) == 2} == {winner}


async def test_what_is_scored_is_longer_than_what_is_kept_and_starts_with_it() -> None:
    for seed in range(20):
        given = models(seed)
        solution = await Lookahead(4, k=2).solve(PROMPT, given)
        prefixes = {r[0] for r in given.policy.requests if not r[1]}
        drawn = {r[0] + given.policy.drawn(*r[:3]).token_ids for r in given.policy.requests if r[1]}
        assert len(given.verifier.requests) == sum(bool(r[1]) for r in given.policy.requests)
        for asked in given.verifier.requests:
            assert asked in drawn or any(
                asked[: len(p)] == p and len(asked) > len(p) for p in prefixes & drawn
            )
        assert any(asked not in drawn for asked in given.verifier.requests)
        # No candidate holds a token of a rollout that the search did not draw itself.
        assert {c.token_ids for c in solution.candidates} <= drawn


async def test_rollouts_are_greedy_one_step_long_and_end_with_the_solution_or_after_k() -> None:
    for seed in range(20):
        given = models(seed, max_tokens=12)
        await Lookahead(4, k=3).solve(PROMPT, given)
        ahead = [r for r in given.policy.requests if not r[1]]
        assert {r[2:] for r in ahead} == {(True, Sampling(0.0, 1.0))}
        assert all(r[0][-1] == 1 and len(r[0]) < 12 for r in ahead)
        assert not any(EOS in r[0] for r in ahead)
    given = models(samples=FIRST | {(i, j): step(4, 0) for i in range(2) for j in range(2)}, end_rate=0.0)
    given.policy.rollouts = {(2, 1): step(5, 1), (3, 1): step(5, 1)}
    given.policy.rollouts |= {(w, 1, 5, 1): step(6, 1) for w in (2, 3)}
    given.policy.rollouts |= {(2, 1, 5, 1, 6, 1): step(7, 0), (3, 1, 5, 1, 6, 1): step(7, 1)}
    await Lookahead(2, width=2, k=4).solve(PROMPT, given)
    lengths = sorted(len(r[0]) for r in given.policy.requests if not r[1] and r[0][0] == 2)
    assert lengths == [2, 4, 6], "the third rollout step ended it"


async def test_equal_prefixes_ask_for_the_very_same_rollout() -> None:
    samples = {(0,): step(2, 1), (1,): step(2, 1), (0, 0): step(3, 0), (0, 1): step(3, 0)}
    given = models(samples=samples, rollouts={(2, 1): step(4, 0)})
    await Lookahead(2, width=2, k=1).solve(PROMPT, given)
    ahead = [r for r in given.policy.requests if not r[1]]
    assert len(ahead) == 2
    assert len(set(ahead)) == 1
    assert given.verifier.requests[:2] == [(2, 1, 4, 0)] * 2


async def test_a_rollout_never_votes_nor_answers() -> None:
    samples = FIRST | {(1, 0): step(9, 0), (1, 1): step(9, 0)}
    given = models(samples=samples, scores=OWN, rollouts={(2, 1): step(2, 0), (3, 1): step(2, 0)})
    given.verifier.table |= {(2, 1, 2, 0): 0.5, (3, 1, 2, 0): 1.0}
    solution = await Lookahead(2, width=2, k=1).solve(PROMPT, given)
    assert all(c.answer is None for c in solution.candidates)
    assert solution.answer is None


async def test_one_beam_is_one_sample_and_one_generation() -> None:
    ahead, sample = models(1), models(1)
    assert await Lookahead(1).solve(PROMPT, ahead) == await BestOfN(1).solve(PROMPT, sample)
    assert ahead.policy.requests == sample.policy.requests
    assert (Lookahead(1).generations, Lookahead(2).generations) == (1, 8)


async def test_a_purse_that_cannot_pay_all_first_steps_is_not_spent_on_looking_ahead() -> None:
    samples = FIRST | {(1, 0): step(4, 0)}
    given = models(samples=samples, scores=OWN)
    original = given.policy.sample

    async def refuses_the_first(prefix, place, **how):  # type: ignore[no-untyped-def]
        if place == (0,):
            # The other step is there long before this one is refused.
            for _ in range(20):
                await asyncio.sleep(0)
            raise PurseEmpty("empty")
        return await original(prefix, place, **how)

    given.policy.sample = refuses_the_first  # type: ignore[method-assign]
    solution = await Lookahead(2, width=2, k=2).solve(PROMPT, given)
    assert [r[1:3] for r in given.policy.requests] == [((1,), True), ((1, 0), False)]
    assert solution.answer == answer_of((4,))
    assert solution.generations == 3


async def test_a_refused_rollout_costs_its_valuation_alone() -> None:
    given = models(samples=FIRST | {(0, 0): step(4, 0), (1, 0): step(5, 0)}, scores=OWN)
    original = given.policy.sample

    async def refuses_rollouts(prefix, place, **how):  # type: ignore[no-untyped-def]
        if not place:
            raise PurseEmpty("empty")
        return await original(prefix, place, **how)

    given.policy.sample = refuses_rollouts  # type: ignore[method-assign]
    solution = await Lookahead(2, width=2, k=2).solve(PROMPT, given)
    assert given.verifier.requests[:2] == [(2, 1), (3, 1)]
    # No further round; the best by its own value is completed.
    assert [r[1] for r in given.policy.requests if r[1]] == [(0,), (1,), (1, 0)]
    assert solution.answer == answer_of((5,))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Lookahead(0), "lookahead.n"),
        (lambda: Lookahead(6, width=4), "lookahead.width"),
        (lambda: Lookahead(4, k=-1), "lookahead.k"),
        (lambda: Lookahead(4, k=True), "lookahead.k"),
        (lambda: Lookahead(4, rounds=0), "lookahead.rounds"),
        (lambda: Lookahead(4, aggregation="sum"), "lookahead.aggregation"),  # type: ignore[arg-type]
        (lambda: Lookahead(4, temperature=0.0), "lookahead.temperature"),
        (lambda: Lookahead(4, top_p=2.0), "lookahead.top_p"),
    ],
)
def test_impossible_settings_are_refused(make, field: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=field):
        make()
