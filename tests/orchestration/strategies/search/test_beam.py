"""Beam search, against a plain reading of the algorithm and against what goes wrong in other
implementations.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest

from actors.errors import UserError
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.selection import aggregate
from tests.support.fakes import (
    EOS,
    PROMPT,
    FakePolicy,
    FakeVerifier,
    answer_of,
    models,
    solve,
    step,
    step_ends,
)

SETTINGS = [
    Beam(4),
    Beam(8),
    Beam(16),
    Beam(9, width=3),
    Beam(8, width=2, aggregation="min"),
    Beam(3, width=1),
    Beam(2, width=4),
    Beam(16, width=4, rounds=3),
    Beam(16, width="sqrt", aggregation="product"),
]


@dataclass
class Reading:
    """Beam search, step by step and one request at a time, as the paper has it."""

    policy: FakePolicy
    verifier: FakeVerifier
    strategy: Beam
    text: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)
    finish: dict[tuple[int, ...], str] = field(default_factory=dict)
    extended: list[set[tuple[int, ...]]] = field(default_factory=list)

    def value(self, place: tuple[int, ...]) -> float:
        text = self.text[place]
        return aggregate(
            [self.verifier.value(text[:end]) for end in step_ends(text)], self.strategy.aggregation
        )

    def draw(self, parent: tuple[int, ...], index: int) -> tuple[int, ...]:
        place = (*parent, index)
        prefix = self.text.get(parent, ())
        sample = self.policy.drawn(prefix, place, True)
        self.text[place] = prefix + sample.token_ids
        full = sample.finish == "stop" and len(self.text[place]) >= self.policy.max_tokens
        self.finish[place] = "length" if full else sample.finish
        return place

    def run(self) -> set[tuple[int, ...]]:
        """Return the finished places of the last pool."""
        n, width = self.strategy.n, self.strategy.continuations
        pool = [self.draw((), i) for i in range(n)]
        for _ in range(self.strategy.rounds - 1):
            useful = sorted(
                (p for p in pool if self.finish[p] != "length"), key=lambda p: (-self.value(p), p)
            )
            places = useful[: n // width]
            parents = [p for p in places if self.finish[p] == "stop"]
            if not parents:
                break
            self.extended.append(set(parents))
            spare = [p for p in pool if self.finish[p] == "length"][: n // width - len(places)]
            pool = [p for p in places if p not in parents] + spare
            pool += [self.draw(p, i) for p in parents for i in range(width)]
        return {p for p in pool if self.finish[p] == "eos"}


@pytest.mark.parametrize("strategy", SETTINGS, ids=lambda s: s.text)
async def test_same_draws_and_votes_as_a_plain_reading_of_the_paper(strategy: Beam) -> None:
    ended_by_vote = 0
    for seed in range(40):
        given = models(seed)
        solution = await solve(strategy, given)
        reading = Reading(given.policy, given.verifier, strategy)
        finished = reading.run()
        assert {r[1] for r in given.policy.requests} == set(reading.text)
        kept = Counter(c.token_ids for c in solution.candidates if c.kept and c.finish == "eos")
        expected = Counter(reading.text[p] for p in finished)
        assert kept >= expected
        if any(answer_of(reading.text[p]) is not None for p in finished):
            ended_by_vote += 1
            assert kept == expected
            votes: dict[str, float] = {}
            for place in sorted(finished):
                answer = answer_of(reading.text[place])
                if answer is not None:
                    votes[answer] = votes.get(answer, 0.0) + reading.value(place)
            assert solution.answer == max(votes, key=lambda a: votes[a])
    assert ended_by_vote >= 10


@pytest.mark.parametrize("strategy", SETTINGS, ids=lambda s: s.text)
async def test_finished_is_never_extended_nor_cloned_and_no_place_is_drawn_twice(strategy: Beam) -> None:
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
        finished = sum(c.finish == "eos" for c in solution.candidates)
        drawn = [given.policy.drawn(prefix, place, True) for prefix, place, _, _ in given.policy.requests]
        assert finished == sum(sample.finish == "eos" for sample in drawn)


async def test_prefix_of_a_step_is_the_tokens_of_the_steps_before() -> None:
    given = models(3)
    await solve(Beam(16), given)
    text: dict[tuple[int, ...], tuple[int, ...]] = {(): ()}
    for prefix, place, one_step, _ in given.policy.requests:
        assert one_step
        assert prefix == text[place[:-1]]
        text[place] = prefix + given.policy.drawn(prefix, place, True).token_ids


@pytest.mark.parametrize("strategy", SETTINGS, ids=lambda s: s.text)
async def test_cost_in_generations_is_the_number_of_beams(strategy: Beam) -> None:
    for seed in range(20):
        given = models(seed)
        solution = await solve(strategy, given)
        assert solution.generations == strategy.sequences == strategy.n
        for depth in range(1, 1 + max(len(r[1]) for r in given.policy.requests)):
            assert sum(len(r[1]) == depth for r in given.policy.requests) <= strategy.n
        assert len(given.verifier.requests) == len(given.policy.requests)


TREE = {
    # First steps and their values: 0.25, 0.75, 0.75, 1.
    (0,): step(2, 1),
    (1,): step(3, 1),
    (2,): step(4, 1),
    (3,): step(5, 0),
    # Two places: the finished (3,) keeps one of them, (1,) is extended, (2,) loses the tie.
    (1, 0): step(6, 0),
    (1, 1): step(7, 1),
    # (3,) and (1, 1) keep their places.
    (1, 1, 0): step(8, 0),
    (1, 1, 1): step(8, finish="length"),
}
VALUES = {
    (2, 1): 0.25,
    (3, 1): 0.75,
    (4, 1): 0.75,
    (5, 0): 1.0,
    (3, 1, 6, 0): 0.25,
    (3, 1, 7, 1): 0.5,
    (3, 1, 7, 1, 8, 0): 0.125,
    (3, 1, 7, 1, 8): 1.0,
}


async def test_tree_by_hand() -> None:
    given = models(samples=TREE, scores=VALUES)
    solution = await solve(Beam(4, width=2), given)
    assert {r[1] for r in given.policy.requests} == set(TREE)
    shown = [(c.token_ids, c.finish, c.kept, c.parent, c.depth, c.answer) for c in solution.candidates]
    assert shown == [
        ((3, 1, 7, 1, 8, 0), "eos", True, -1, 0, "2"),
        ((3, 1, 7, 1, 8), "length", True, 0, 2, "2"),
        ((5, 0), "eos", True, -1, 0, "2"),
        ((2, 1), "stop", False, -1, 0, None),
        ((3, 1, 6, 0), "eos", False, 0, 1, "0"),
        ((4, 1), "stop", False, -1, 0, None),
    ]
    assert solution.candidates[0].scores == (0.75, 0.5, 0.125)
    assert solution.answer == "2"
    assert solution.generations == 4
    assert solution.kept_tokens == 2 + 2 + 2 + 1 + 2


async def test_finished_beam_competes_with_its_value_and_may_lose_its_place() -> None:
    samples = {
        (0,): step(2, 0),
        (1,): step(3, 1),
        (1, 0): step(4, 0),
        (1, 1): step(4, 0),
    }
    scores = {(2, 0): 0.25, (3, 1): 0.5, (3, 1, 4, 0): 0.125}
    solution = await solve(Beam(2, width=2), models(samples=samples, scores=scores))
    assert [c.kept for c in solution.candidates if c.token_ids == (2, 0)] == [False]
    assert solution.answer == answer_of((4,))


async def test_search_ends_when_the_finished_hold_all_places_and_all_finished_vote() -> None:
    samples = {(0,): step(2, 0), (1,): step(3, 0), (2,): step(3, 0), (3,): step(4, 1)}
    scores = {(2, 0): 1.0, (3, 0): 0.75, (4, 1): 0.5}
    given = models(samples=samples, scores=scores)
    solution = await solve(Beam(4, width=4), given)
    assert len(given.policy.requests) == 4
    assert solution.answer == answer_of((3,))
    assert [c.kept for c in solution.candidates] == [True, True, True, False]


async def test_identical_beams_are_separate_draws_with_a_vote_each() -> None:
    samples = {(0,): step(2, 0), (1,): step(3, 0), (2,): step(3, 0)}
    scores = {(2, 0): 0.75, (3, 0): 0.5}
    solution = await solve(Beam(3, width=1), models(samples=samples, scores=scores))
    assert solution.answer == answer_of((3,))
    assert len(solution.candidates) == 3


async def test_cut_off_step_is_not_an_end_and_ranks_behind_all_others() -> None:
    samples = {
        (0,): step(5, finish="length"),
        (1,): step(3, 1),
        (1, 0): step(4, 0),
        (1, 1): step(4, finish="length"),
    }
    scores = {(5,): 1.0, (3, 1): 0.125, (3, 1, 4, 0): 0.125, (3, 1, 4): 1.0}
    given = models(samples=samples, scores=scores)
    solution = await solve(Beam(2, width=2), given)
    assert {r[1] for r in given.policy.requests} == set(samples)
    assert solution.answer == answer_of((4,))
    assert [c.finish for c in solution.candidates if c.kept] == ["eos", "length"]


async def test_step_that_fills_the_solution_is_cut_off_and_not_asked_to_go_on() -> None:
    samples = {(0,): step(2, 3, 4, 1), (1,): step(2, 3, 1), (1, 0): step(5), (1, 1): step(5)}
    given = models(max_tokens=4, samples=samples)
    solution = await solve(Beam(2, width=2), given)
    assert {r[1] for r in given.policy.requests} == set(samples)
    assert {c.finish for c in solution.candidates} == {"length"}


async def test_unfinished_text_never_votes_beside_a_finished_one() -> None:
    samples = {(0,): step(2, 0), (1,): step(3, 1), (2,): step(3, 1), (3,): step(3, 1)}
    scores = {(2, 0): 0.0625, (3, 1): 1.0}
    given = models(samples=samples, scores=scores)
    solution = await solve(Beam(4, width=1, rounds=1), given)
    assert solution.answer == answer_of((2,))
    assert [c.kept for c in solution.candidates] == [True] * 4


async def test_readable_unfinished_text_answers_where_nothing_finished() -> None:
    samples = {(0,): step(2, 1), (1,): step(3, 1)}
    scores = {(2, 1): 0.25, (3, 1): 0.5}
    given = models(samples=samples, scores=scores)
    assert (await solve(Beam(2, width=2, rounds=1), given)).answer == answer_of((3,))
    unread = {(0,): step(9, 1), (1,): step(9, 1)}
    assert (await solve(Beam(2, width=2, rounds=1), models(samples=unread))).answer is None


async def test_finished_beams_are_taken_back_where_none_of_the_last_pool_can_vote() -> None:
    samples = {(0,): step(2, 0), (1,): step(3, 1), (1, 0): step(4, 1), (1, 1): step(9, 0)}
    scores = {(2, 0): 0.25, (3, 1): 1.0}
    solution = await solve(Beam(2, width=2, rounds=2), models(samples=samples, scores=scores))
    assert solution.answer == answer_of((2,))
    assert [c.kept for c in solution.candidates if c.token_ids == (2, 0)] == [True]
    assert solution.kept_tokens == 8


async def test_rounds_are_a_limit() -> None:
    for rounds in (1, 2, 5):
        given = models(0, end_rate=0.0, max_tokens=10_000)
        await solve(Beam(4, rounds=rounds), given)
        assert max(len(r[1]) for r in given.policy.requests) <= rounds


async def test_model_that_never_ends_stops_at_forty_rounds() -> None:
    given = models(max_tokens=10_000)

    async def endless(prefix, place, **how):  # type: ignore[no-untyped-def]
        given.policy.requests.append((prefix, place, True, how["sampling"]))
        return step(2 + len(place) % 7, 1)

    given.policy.sample = endless  # type: ignore[method-assign]
    solution = await solve(Beam(4), given)
    assert len(given.policy.requests) == 40 * 4
    assert {c.finish for c in solution.candidates} == {"stop"}


async def test_one_beam_is_one_sample() -> None:
    for seed in range(10):
        beam, sample = models(seed), models(seed)
        assert await solve(Beam(1), beam) == await BestOfN(1).solve(PROMPT, sample)
        assert beam.policy.requests == sample.policy.requests


async def test_fewer_beams_than_the_width_keep_one() -> None:
    assert (Beam(2).survivors, Beam(2).continuations) == (1, 2)
    given = models(1)
    solution = await solve(Beam(2), given)
    assert solution == await solve(Beam(2, width=2), models(1))


async def test_first_steps_are_shared_by_all_n() -> None:
    small, large = models(5), models(5)
    await solve(Beam(4), small)
    await solve(Beam(16), large)
    first = [{r for r in given.policy.requests if len(r[1]) == 1} for given in (small, large)]
    assert first[0] < first[1]


@pytest.mark.parametrize("strategy", SETTINGS, ids=lambda s: s.text)
async def test_result_depends_on_places_and_not_on_order_of_completion(strategy: Beam) -> None:
    for seed in range(5):
        expected = await solve(strategy, models(seed))
        orders = set()
        for delays in range(5):
            given = models(seed, delays=delays)
            assert await solve(strategy, given) == expected
            orders.add(tuple(given.policy.completed))
        assert len(orders) > 1


async def test_branches_are_scored_without_waiting_for_their_siblings() -> None:
    given = models()
    held = asyncio.Event()
    original = given.policy.sample

    async def first_is_slow(prefix, place, **how):  # type: ignore[no-untyped-def]
        if place == (0,):
            await held.wait()
        return await original(prefix, place, **how)

    given.policy.sample = first_is_slow  # type: ignore[method-assign]
    running = asyncio.create_task(solve(Beam(4), given))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(given.verifier.requests) == 3
    held.set()
    await running


@pytest.mark.parametrize("strategy", SETTINGS, ids=lambda s: s.text)
async def test_tree_can_be_drawn_again_from_the_candidates(strategy: Beam) -> None:
    for seed in range(20):
        given = models(seed)
        solution = await solve(strategy, given)
        nodes = 0
        kept_nodes = 0
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
        if [c.kept for c in solution.candidates] == sorted(
            (c.kept for c in solution.candidates), reverse=True
        ):
            assert solution.kept_tokens == kept_nodes


@pytest.mark.parametrize(
    ("n", "width", "nearest"),
    [(6, 4, "3 and 6"), (16, 5, "4 and 8"), (7, 2, "1 and 7"), (64, 33, "32 and 64")],
)
def test_width_that_does_not_divide_is_refused_with_the_nearest_that_do(
    n: int, width: int, nearest: str
) -> None:
    with pytest.raises(UserError, match=f"the nearest that do are {nearest}"):
        Beam(n, width=width)


@pytest.mark.parametrize("width", [0, -4, 2.0, True, None, "root"])
def test_impossible_widths_are_refused(width: object) -> None:
    with pytest.raises(UserError, match=r"beam\.width"):
        Beam(8, width=width)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("n", "root"), [(1, 1), (2, 1), (4, 2), (8, 2), (16, 4), (32, 4), (64, 8), (256, 16), (12, 3), (7, 1)]
)
def test_square_root_width(n: int, root: int) -> None:
    assert Beam(n, width="sqrt").continuations == root
    assert Beam(n, width="sqrt").survivors * root == n


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Beam(0), "beam.n"),
        (lambda: Beam(4, rounds=0), "beam.rounds"),
        (lambda: Beam(4, aggregation="sum"), "beam.aggregation"),  # type: ignore[arg-type]
        (lambda: Beam(4, temperature=0.0), "beam.temperature"),
        (lambda: Beam(4, top_p=2.0), "beam.top_p"),
        (lambda: Beam(4, every=0), "beam.every"),
        (lambda: Beam(4, merge=1), "beam.merge"),  # type: ignore[arg-type]
    ],
)
def test_impossible_settings_are_refused(make, field: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=field):
        make()
