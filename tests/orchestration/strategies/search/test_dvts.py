"""Diverse verifier tree search: subtrees apart from each other, one vote of what each finished."""

from __future__ import annotations

import asyncio

import pytest

from actors.errors import UserError
from actors.strategy import PurseEmpty, Sampling
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.search.dvts import Dvts
from tests.support.fakes import EOS, PROMPT, FakeModels, answer_of, models, step, step_ends

Request = tuple[tuple[int, ...], tuple[int, ...], bool, Sampling]


def of_subtree(given: FakeModels, firsts: range) -> list[Request]:
    return [r for r in given.policy.requests if r[1][0] in firsts]


async def test_tree_by_hand() -> None:
    samples = {
        # Two subtrees of two. In the first, (1,) is best and goes on; in the second, (2,) is best and has ended.
        (0,): step(2, 1),
        (1,): step(3, 1),
        (2,): step(4, 0),
        (3,): step(5, 1),
        # (1, 1) has not ended and is best of its subtree: (1, 0) is dropped although it has.
        (1, 0): step(6, 0),
        (1, 1): step(7, 1),
        (1, 1, 0): step(8, 0),
        (1, 1, 1): step(5, finish="length"),
    }
    scores = {
        (2, 1): 0.25,
        (3, 1): 0.375,
        (4, 0): 0.875,
        (5, 1): 0.75,
        (3, 1, 6, 0): 0.5,
        (3, 1, 7, 1): 0.625,
        (3, 1, 7, 1, 8, 0): 1.0,
        (3, 1, 7, 1, 5): 1.0,
    }
    given = models(samples=samples, scores=scores)
    solution = await Dvts(4, width=2).solve(PROMPT, given)
    assert {r[1] for r in given.policy.requests} == set(samples)
    assert [(c.token_ids, c.finish, c.kept, c.parent, c.depth) for c in solution.candidates] == [
        ((3, 1, 7, 1, 8, 0), "eos", True, -1, 0),
        ((3, 1, 7, 1, 5), "length", True, 0, 2),
        ((4, 0), "eos", True, -1, 0),
        ((2, 1), "stop", False, -1, 0),
        ((3, 1, 6, 0), "eos", False, 0, 1),
        ((5, 1), "stop", False, -1, 0),
    ]
    assert solution.answer == answer_of((8,))
    assert solution.generations == 4
    assert solution.kept_tokens == 2 + 2 + 2 + 1 + 2


async def test_no_subtree_pushes_out_another() -> None:
    """Beam search keeps the two first steps of the left half, a verifier tree the best of each half."""
    samples = {(i,): step(2 + i, 1) for i in range(4)}
    samples |= {(i, j): step(2 + j, 0) for i in range(4) for j in range(2)}
    scores = {(2, 1): 0.75, (3, 1): 1.0, (4, 1): 0.25, (5, 1): 0.125}
    extended = []
    for strategy in (Beam(4, width=2), Dvts(4, width=2)):
        given = models(samples=samples, scores=scores)
        await strategy.solve(PROMPT, given)
        extended.append({r[1][0] for r in given.policy.requests if len(r[1]) == 2})
    assert extended == [{0, 1}, {1, 2}]


@pytest.mark.parametrize("width", [1, 2, 4])
async def test_subtrees_do_not_depend_on_each_other(width: int) -> None:
    for seed in range(20):
        many, few = models(seed), models(seed)
        await Dvts(16, width).solve(PROMPT, many)
        await Dvts(4, width).solve(PROMPT, few)
        assert set(of_subtree(many, range(4))) == set(few.policy.requests)


async def test_one_subtree_is_the_beam_with_one_survivor() -> None:
    for seed in range(20):
        for n, width in ((4, 4), (2, 4), (1, 1), (3, 3)):
            tree, beam = models(seed), models(seed)
            assert await Dvts(n, width).solve(PROMPT, tree) == await Beam(n, width).solve(PROMPT, beam)
            assert tree.policy.requests == beam.policy.requests


async def test_first_steps_are_those_of_beam() -> None:
    tree, beam = models(5), models(5)
    await Dvts(8).solve(PROMPT, tree)
    await Beam(8).solve(PROMPT, beam)
    assert [r for r in tree.policy.requests if len(r[1]) == 1] == [
        r for r in beam.policy.requests if len(r[1]) == 1
    ]


async def test_one_step_of_each_subtree_goes_on_and_it_is_the_best() -> None:
    went_on = 0
    for seed in range(40):
        given = models(seed)
        await Dvts(12, width=4).solve(PROMPT, given)
        texts = {r[1]: r[0] + given.policy.drawn(*r[:3]).token_ids for r in given.policy.requests}
        parents = {place[:-1] for place in texts} - {()}
        for parent in parents:
            start = parent[0] - parent[0] % 4
            rivals = (
                [(start + i,) for i in range(4)]
                if len(parent) == 1
                else [(*parent[:-1], i) for i in range(4)]
            )
            assert parents & set(rivals) == {parent}
            open_or_finished = [
                p for p in rivals if texts[p][-1] == EOS or len(texts[p]) < given.policy.max_tokens
            ]
            assert value(given, texts[parent]) == max(value(given, texts[p]) for p in open_or_finished)
            went_on += 1
    assert went_on > 60


def value(given: FakeModels, text: tuple[int, ...]) -> float:
    """The score of the last step: a lone end token is none."""
    return given.verifier.value(text[: step_ends(text)[-1]])


async def test_unfinished_text_never_votes_beside_a_finished_one() -> None:
    samples = {(0,): step(2, 0), (1,): step(3, 1), (2,): step(3, 1), (3,): step(3, 1)}
    scores = {(2, 0): 0.0625, (3, 1): 1.0}
    solution = await Dvts(4, width=1, rounds=1).solve(PROMPT, models(samples=samples, scores=scores))
    assert solution.answer == answer_of((2,))


async def test_finished_siblings_of_the_last_round_vote_and_unfinished_ones_are_dropped() -> None:
    samples = {(0,): step(2, 0), (1,): step(3, 0), (2,): step(3, 0), (3,): step(4, 1)}
    scores = {(2, 0): 1.0, (3, 0): 0.75, (4, 1): 0.5}
    solution = await Dvts(4, width=4).solve(PROMPT, models(samples=samples, scores=scores))
    assert [c.kept for c in solution.candidates] == [True, True, True, False]
    assert solution.answer == answer_of((3,))


async def test_a_subtree_never_waits_for_another() -> None:
    given = models(samples={(2,): step(4, 1), (3,): step(5, 1)})
    held = asyncio.Event()
    original = given.policy.sample

    async def first_is_slow(prefix, place, **how):  # type: ignore[no-untyped-def]
        if place == (0,):
            await held.wait()
        return await original(prefix, place, **how)

    given.policy.sample = first_is_slow  # type: ignore[method-assign]
    running = asyncio.create_task(Dvts(4, width=2).solve(PROMPT, given))
    for _ in range(200):
        await asyncio.sleep(0)
    assert any(len(r[1]) >= 2 for r in of_subtree(given, range(2, 4)))
    held.set()
    await running


async def test_an_empty_purse_completes_the_best_of_all_subtrees_and_only_where_nothing_finished() -> None:
    samples = {(i,): step(2 + i, 1) for i in range(4)} | {(2, 0): step(7, 0)}
    scores = {(2, 1): 0.25, (3, 1): 0.5, (4, 1): 1.0, (5, 1): 0.0}
    for finished in (False, True):
        given = models(samples=samples | ({(0,): step(2, 0)} if finished else {}), scores=scores)
        original = given.policy.sample

        async def refuses_second_steps(prefix, place, *, one_step, sampling, original=original):  # type: ignore[no-untyped-def]
            if one_step and len(place) == 2:
                raise PurseEmpty("the siblings' worst cases do not fit at once")
            return await original(prefix, place, one_step=one_step, sampling=sampling)

        given.policy.sample = refuses_second_steps  # type: ignore[method-assign]
        solution = await Dvts(4, width=2).solve(PROMPT, given)
        whole = [r[1] for r in given.policy.requests if not r[2]]
        assert whole == ([] if finished else [(2, 0)])
        assert solution.answer == answer_of((2,) if finished else (7,))


async def test_one_is_one_sample() -> None:
    tree, sample = models(1), models(1)
    assert await Dvts(1).solve(PROMPT, tree) == await BestOfN(1).solve(PROMPT, sample)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Dvts(0), "dvts.n"),
        (lambda: Dvts(6), "dvts.width"),
        (lambda: Dvts(4, width=0), "dvts.width"),
        (lambda: Dvts(4, rounds=0), "dvts.rounds"),
        (lambda: Dvts(4, aggregation="sum"), "dvts.aggregation"),  # type: ignore[arg-type]
        (lambda: Dvts(4, temperature=0.0), "dvts.temperature"),
        (lambda: Dvts(4, top_p=2.0), "dvts.top_p"),
    ],
)
def test_impossible_settings_are_refused(make, field: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=field):
        make()
