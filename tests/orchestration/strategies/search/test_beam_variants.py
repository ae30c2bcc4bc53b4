"""Beam search that verifies every g steps, and that merges equal beams."""

from __future__ import annotations

import asyncio

from actors.strategy import PurseEmpty
from orchestration.strategies.search.beam import Beam
from tests.support.fakes import answer_of, models, solve, step


async def test_survivors_are_drawn_on_alone_and_branch_at_the_last_of_every_g_steps() -> None:
    samples = {
        (0,): step(2, 1),
        (1,): step(3, 1),
        # (1,) wins the first round; two steps alone, unscored, then two continuations.
        (1, 0): step(4, 1),
        (1, 0, 0): step(5, 1),
        (1, 0, 0, 0): step(6, 0),
        (1, 0, 0, 1): step(7, 0),
    }
    scores = {(2, 1): 0.25, (3, 1): 0.5, (3, 1, 4, 1): 0.0, (3, 1, 4, 1, 5, 1): 0.0}
    scores |= {(3, 1, 4, 1, 5, 1, 6, 0): 0.5, (3, 1, 4, 1, 5, 1, 7, 0): 0.75}
    given = models(samples=samples, scores=scores)
    solution = await solve(Beam(2, width=2, every=3), given)
    assert [r[1] for r in given.policy.requests] == list(samples)
    assert given.verifier.requests == [(2, 1), (3, 1), *([(3, 1, 4, 1, 5, 1, w, 0) for w in (6, 7)])]
    assert [(c.token_ids[-2], c.kept, c.parent, c.depth) for c in solution.candidates] == [
        (6, True, -1, 0),
        (7, True, 0, 3),
        (2, False, -1, 0),
    ]
    assert solution.answer == answer_of((7,))
    assert solution.kept_tokens == 6 + 4
    assert solution.generations == 2


async def test_a_survivor_that_ends_before_it_branches_competes_with_its_value() -> None:
    samples = {
        (0,): step(2, 1),
        (1,): step(3, 1),
        (0, 0): step(4, 0),
        (1, 0): step(5, 1),
        (1, 0, 0): step(6, 1),
        (1, 0, 0, 0): step(7, 1),
        (1, 0, 0, 0, 0): step(8, 0),
    }
    scores = {(2, 1, 4, 0): 0.5, (3, 1, 5, 1, 6, 1): 0.25}
    given = models(samples=samples, scores=scores)
    solution = await solve(Beam(2, width=1, every=2), given)
    assert {r[1] for r in given.policy.requests} == set(samples)
    assert (2, 1, 4, 0) in given.verifier.requests
    assert (3, 1, 5, 1) not in given.verifier.requests
    assert [(c.token_ids[-2], c.finish, c.kept) for c in solution.candidates] == [
        (4, "eos", True),
        (8, "eos", True),
    ]


async def test_a_survivor_whose_drawing_on_is_refused_is_a_leaf_with_the_steps_it_has() -> None:
    samples = {(0,): step(2, 1), (1,): step(3, 1), (1, 0): step(4, 1), (1, 0, 0): step(5, 1)}
    scores = {(2, 1): 0.25, (3, 1): 0.5, (3, 1, 4, 1): 0.75, (3, 1, 4, 1, 5, 1): 1.0}
    given = models(samples=samples, scores=scores)
    original = given.policy.sample

    async def refuses_fourth_steps(prefix, place, **how):  # type: ignore[no-untyped-def]
        if len(place) == 4:
            raise PurseEmpty("empty")
        return await original(prefix, place, **how)

    given.policy.sample = refuses_fourth_steps  # type: ignore[method-assign]
    for every in (3, 4):
        solution = await solve(Beam(2, width=2, every=every), given)
        assert [(c.token_ids, c.scores) for c in solution.candidates] == [
            ((3, 1, 4, 1, 5, 1), (0.5, 0.75, 1.0)),
            ((2, 1), (0.25,)),
        ]
        assert solution.answer == answer_of((5,))


async def test_survivors_go_on_alone_without_waiting_for_each_other() -> None:
    samples = {
        (0,): step(2, 1),
        (1,): step(3, 1),
        (0, 0): step(4, 1),
        (1, 0): step(5, 1),
        (1, 0, 0): step(6, 0),
    }
    given = models(samples=samples)
    held = asyncio.Event()
    original = given.policy.sample

    async def one_is_slow(prefix, place, **how):  # type: ignore[no-untyped-def]
        if place == (0, 0):
            await held.wait()
        return await original(prefix, place, **how)

    given.policy.sample = one_is_slow  # type: ignore[method-assign]
    running = asyncio.create_task(solve(Beam(2, width=1, every=2), given))
    for _ in range(20):
        await asyncio.sleep(0)
    assert (3, 1, 5, 1, 6, 0) in given.verifier.requests
    held.set()
    await running


async def test_verifying_less_often_draws_fewer_tokens() -> None:
    drawn = {}
    for every in (1, 2, 4):
        drawn[every] = 0
        for seed in range(40):
            given = models(seed, end_rate=0.05, max_tokens=40)
            solution = await solve(Beam(8, every=every), given)
            drawn[every] += len(given.policy.requests) / max(len(c.step_ends) for c in solution.candidates)
    assert drawn[4] < drawn[2] < drawn[1]


EQUAL = {(0,): step(2, 1), (1,): step(2, 1), (2,): step(2, 1), (3,): step(3, 1)}


async def test_equal_continuations_are_one_node_and_the_places_go_to_others() -> None:
    scores = {(2, 1): 0.75, (3, 1): 0.5}
    plain, merged = models(samples=EQUAL, scores=scores), models(samples=EQUAL, scores=scores)
    await solve(Beam(4, width=2), plain)
    await solve(Beam(4, width=2, merge=True), merged)
    second = [[r[1] for r in given.policy.requests if len(r[1]) == 2] for given in (plain, merged)]
    assert second == [[(0, 0), (0, 1), (1, 0), (1, 1)], [(0, 0), (0, 1), (3, 0), (3, 1)]]


async def test_what_is_left_over_goes_to_the_best_where_merging_leaves_fewer_than_places() -> None:
    samples = {(0,): step(2, 1), (1,): step(3, 1), (2,): step(2, 1), (3,): step(2, 1), (4,): step(3, 1)}
    given = models(samples=samples, scores={(2, 1): 0.25, (3, 1): 0.5})
    await solve(Beam(5, width=1, merge=True), given)
    second = [r[1] for r in given.policy.requests if len(r[1]) == 2]
    assert second == [(1, 0), (1, 1), (1, 2), (0, 0), (0, 1)]


async def test_a_merged_copy_never_votes_not_even_where_dropped_ones_are_taken_back() -> None:
    samples = {(0,): step(2, 0), (1,): step(2, 0), (2,): step(3, 0), (3,): step(3, 0)}
    scores = {(2, 0): 0.5, (3, 0): 0.75}
    # Finished first steps lose to (4,), which never ends; two votes against one of more weight, if copies had any.
    samples[(4,)], samples[(5,)] = step(2, 0), step(4, 1)
    samples |= {(5, i): step(9, 0) for i in range(6)}
    scores |= {(4, 1): 1.0}
    given = models(samples=samples, scores=scores)
    solution = await solve(Beam(6, width=6, merge=True), given)
    votes = [(c.token_ids, c.kept) for c in solution.candidates if c.answer is not None]
    assert sorted(votes) == [
        ((2, 0), False),
        ((2, 0), False),
        ((2, 0), True),
        ((3, 0), False),
        ((3, 0), True),
    ]
    assert solution.answer == answer_of((3,))
    assert solution.kept_tokens == 2 + 2 + 4
    unmerged = await solve(Beam(6, width=6), models(samples=samples, scores=scores))
    assert unmerged.answer == answer_of((2,))


async def test_kept_candidates_of_a_merging_beam_are_distinct_and_all_draws_are_on_the_books() -> None:
    copies = 0
    for seed in range(40):
        given = models(seed, words=(2, 3), max_tokens=12)
        solution = await solve(Beam(8, merge=True), given)
        kept = [c.token_ids for c in solution.candidates if c.kept]
        assert len(set(kept)) == len(kept)
        drawn = {r[1] for r in given.policy.requests}
        assert len(solution.candidates) == len(drawn - {place[:-1] for place in drawn})
        copies += len(solution.candidates) - len({c.token_ids for c in solution.candidates})
    assert copies > 40


async def test_where_nothing_is_equal_merging_changes_nothing() -> None:
    same = 0
    for seed in range(40):
        solution = await solve(Beam(8), models(seed))
        if len({c.token_ids for c in solution.candidates}) == len(solution.candidates):
            same += 1
            assert await solve(Beam(8, merge=True), models(seed)) == solution
    assert same >= 5
