"""Particle filtering: systematic resampling by odds, copies that never vote, and where its randomness comes from."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import UserError
from actors.seeds import derive
from actors.strategy import Solution
from orchestration.strategies.search.particle_filtering import ParticleFiltering, systematic
from orchestration.strategies.selection import aggregate, best, weighted
from tests.support.fakes import EOS, PROMPT, FakeModels, answer_of, models, step, step_ends


async def solve(strategy: ParticleFiltering, given: FakeModels) -> Solution:
    return await strategy.solve(PROMPT, given)


@pytest.mark.parametrize(
    ("weights", "draws", "start", "counts"),
    [
        ([1, 1, 1, 1], 4, 0.0, [1, 1, 1, 1]),
        ([1, 1, 1, 1], 4, 0.999, [1, 1, 1, 1]),
        # Ends at 0.4, 2.4, 4.0 of four spacings.
        ([1, 5, 4], 4, 0.0, [1, 2, 1]),
        ([1, 5, 4], 4, 0.3, [1, 2, 1]),
        ([1, 5, 4], 4, 0.5, [0, 2, 2]),
        ([0, 3, 0, 1, 0], 4, 0.9, [0, 3, 0, 1, 0]),
        ([0, 0, 7], 3, 0.0, [0, 0, 3]),
        ([1e-300, 1.0], 2, 0.0, [1, 1]),
        ([1, 1], 1, 0.4, [1, 0]),
        ([1, 1], 1, 0.6, [0, 1]),
    ],
)
def test_systematic_resampling_by_hand(
    weights: list[float], draws: int, start: float, counts: list[int]
) -> None:
    assert systematic(weights, draws, start) == counts


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=40).filter(any),
    st.integers(1, 300),
    st.floats(0, 1, exclude_max=True),
)
def test_everyone_gets_the_expectation_rounded_up_or_down(
    weights: list[float], draws: int, start: float
) -> None:
    counts = systematic(weights, draws, start)
    assert sum(counts) == draws
    total = sum(map(Fraction, weights))
    for weight, count in zip(weights, counts, strict=True):
        assert count == 0 or weight > 0
        assert abs(count - draws * Fraction(weight) / total) < 1 + Fraction(1, 10**6)


def test_expected_copies_are_the_weights() -> None:
    weights, draws = [0.1, 0.26, 0.64], 4
    starts = [(i + 0.5) / 1000 for i in range(1000)]
    counts = [systematic(weights, draws, start) for start in starts]
    for column, weight in enumerate(weights):
        assert sum(count[column] for count in counts) / 1000 == pytest.approx(draws * weight, abs=2e-3)


SAMPLES = {
    (0,): step(2, 1),
    (1,): step(3, 1),
    (2,): step(4, 0),
    (3,): step(5, finish="length"),
}
# Odds 1, 3, 4; what was cut off has no weight, whatever its score. In spacings: ends at 0.5, 2, 4.
SCORES = {(2, 1): 0.5, (3, 1): 0.75, (4, 0): 0.8, (5,): 1.0}


async def test_first_resampling_by_hand() -> None:
    seen = set()
    for seed in range(12):
        given = models(samples=SAMPLES, scores=SCORES)
        given.seed = seed
        strategy = ParticleFiltering(4)
        solution = await solve(strategy, given)
        start = (derive(seed, strategy.text, PROMPT.id, 1) >> 10) / 2**53
        # Points at start + 0..3: those below 0.5 are for the first, below 2 for the second, the others for the finished.
        copies = Counter(0 if start + k < 0.5 else 1 if start + k < 2 else 2 for k in range(4))
        second = {place for _, place, _, _ in given.policy.requests if len(place) == 2}
        assert second == {(parent, i) for parent in (0, 1) for i in range(copies[parent])}
        # Two particles stand on the finished one, which is one candidate; the one cut off is dropped.
        assert sum(c.token_ids == (4, 0) for c in solution.candidates) == 1
        assert [c.kept for c in solution.candidates if c.token_ids == (5,)] == [False]
        seen.add(tuple(sorted(copies.items())))
    assert len(seen) == 2


async def test_copies_of_a_finished_particle_have_one_vote() -> None:
    # One finished particle of the best score, whose copies would outvote two others of one answer.
    samples = {(0,): step(2, 0), (1,): step(3, 1), (2,): step(3, 1), (3,): step(3, 1)}
    samples |= {(i, j): step(6, 0) for i in (1, 2, 3) for j in range(4)}
    scores = {(2, 0): 0.9, (3, 1): 0.75, (3, 1, 6, 0): 0.6}
    given = models(samples=samples, scores=scores)
    solution = await solve(ParticleFiltering(4), given)
    kept = [c for c in solution.candidates if c.kept]
    assert [c.token_ids for c in kept].count((2, 0)) == 1
    # Odds 9, 3, 3, 3 of 18: the finished one holds two of the four particles.
    assert len(kept) == 3
    assert solution.answer == answer_of((6,))
    assert (await solve(ParticleFiltering(4, weighted=False), given)).answer == answer_of((2,))


@pytest.mark.parametrize("weighted_vote", [True, False])
async def test_answer_is_of_the_last_particles(weighted_vote: bool) -> None:
    for seed in range(40):
        solution = await solve(ParticleFiltering(8, weighted=weighted_vote), models(seed))
        assert solution.answer == (weighted if weighted_vote else best)(solution.candidates)
        kept = [c.kept for c in solution.candidates]
        # Kept ones come first unless some were taken back.
        assert kept.count(True) <= 8 or kept != sorted(kept, reverse=True)


def reading(
    given: FakeModels, strategy: ParticleFiltering
) -> tuple[set[tuple[int, ...]], list[tuple[int, ...]]]:
    """All places drawn and the last particles, one slot a particle: a slot holds a copy of whatever was resampled."""
    text: dict[tuple[int, ...], tuple[int, ...]] = {(): ()}
    finish: dict[tuple[int, ...], str] = {}

    def drawn(parent: tuple[int, ...], index: int) -> tuple[int, ...]:
        place = (*parent, index)
        sample = given.policy.drawn(text[parent], place, True)
        text[place] = text[parent] + sample.token_ids
        full = sample.finish == "stop" and len(text[place]) >= given.policy.max_tokens
        finish[place] = "length" if full else sample.finish
        return place

    def odds(place: tuple[int, ...]) -> float:
        if finish[place] == "length":
            return 0.0
        scores = [given.verifier.value(text[place][:end]) for end in step_ends(text[place])]
        value = min(max(aggregate(scores, strategy.aggregation), 1e-7), 1 - 1e-7)
        return float((value / (1 - value)) ** (1 / strategy.softmax_temperature))

    slots = [drawn((), i) for i in range(strategy.n)]
    for number in range(1, strategy.rounds):
        if all(finish[place] != "stop" for place in slots):
            break
        ends = list(accumulate(odds(place) for place in slots))
        start = (derive(given.seed, strategy.text, PROMPT.id, number) >> 10) / 2**53
        points = [(start + k) * ends[-1] / strategy.n for k in range(strategy.n)]
        resampled = [next(p for p, end in zip(slots, ends, strict=True) if point < end) for point in points]
        copies: Counter[tuple[int, ...]] = Counter()
        slots = []
        for place in resampled:
            slots.append(drawn(place, copies[place]) if finish[place] == "stop" else place)
            copies[place] += 1
    return set(text) - {()}, slots


@pytest.mark.parametrize(
    "strategy",
    [
        ParticleFiltering(4),
        ParticleFiltering(16),
        ParticleFiltering(9, softmax_temperature=0.5, aggregation="min"),
        ParticleFiltering(8, weighted=False, rounds=3),
    ],
    ids=lambda s: s.text,
)
async def test_same_particles_as_a_plain_reading_of_the_paper(strategy: ParticleFiltering) -> None:
    copied = 0
    for seed in range(40):
        given = models(seed)
        solution = await solve(strategy, given)
        places, slots = reading(given, strategy)
        assert {r[1] for r in given.policy.requests} == places
        text: dict[tuple[int, ...], tuple[int, ...]] = {(): ()}
        for prefix, place, one_step, _ in sorted(given.policy.requests, key=lambda r: r[1]):
            text[place] = prefix + given.policy.drawn(prefix, place, one_step).token_ids
        kept = Counter(c.token_ids for c in solution.candidates if c.kept)
        last = Counter(text[place] for place in set(slots))
        assert kept >= last
        if any(answer_of(text[place]) is not None and text[place][-1] == EOS for place in slots):
            assert kept == last
        copied += len(slots) - len(set(slots))
    assert copied > 10


async def test_cost_in_generations_is_the_number_of_particles() -> None:
    for seed in range(20):
        given = models(seed)
        strategy = ParticleFiltering(16)
        solution = await solve(strategy, given)
        assert solution.generations == strategy.sequences == 16
        depths = Counter(len(r[1]) for r in given.policy.requests)
        assert depths[1] == 16
        assert max(depths.values()) <= 16
        assert len(given.verifier.requests) == len(given.policy.requests)


async def test_resampling_differs_by_seed_strategy_problem_and_round_and_by_nothing_else() -> None:
    def places(given: FakeModels) -> set[tuple[int, ...]]:
        return {r[1] for r in given.policy.requests}

    trees = []
    for strategy, prompt_id, seed in [
        (ParticleFiltering(16), "p", 0),
        (ParticleFiltering(16), "p", 1),
        (ParticleFiltering(16, weighted=False), "p", 0),
        (ParticleFiltering(16), "q", 0),
    ]:
        given, again = (
            models(3, max_tokens=60, end_rate=0.1),
            models(3, max_tokens=60, end_rate=0.1, delays=2),
        )
        given.seed = again.seed = seed
        prompt = replace(PROMPT, id=prompt_id)
        assert await strategy.solve(prompt, given) == await strategy.solve(prompt, again)
        assert places(given) == places(again)
        trees.append(places(given))
    assert all(one != other for i, one in enumerate(trees) for other in trees[:i])
    # First steps are no choice of the strategy's own: all share them.
    assert {frozenset(p for p in tree if len(p) == 1) for tree in trees} == {
        frozenset((i,) for i in range(16))
    }


async def test_temperature_decides_between_copies_of_the_best_and_all_alive() -> None:
    samples = {(i,): step(2 + i, 1) for i in range(7)}
    scores = {(2 + i, 1): 0.2 + 0.1 * i for i in range(7)}
    cold, hot = (models(2, samples=samples, scores=scores) for _ in range(2))
    await solve(ParticleFiltering(7, softmax_temperature=1e-6), cold)
    await solve(ParticleFiltering(7, softmax_temperature=1e9), hot)
    second = [{r[1] for r in given.policy.requests if len(r[1]) == 2} for given in (cold, hot)]
    assert second == [{(6, i) for i in range(7)}, {(i, 0) for i in range(7)}]


async def test_scores_of_zero_and_one_have_finite_weights() -> None:
    samples = {(0,): step(2, 1), (1,): step(3, 1), (2,): step(4, 1)}
    given = models(samples=samples, scores={(2, 1): 0.0, (3, 1): 1.0, (4, 1): 1.0})
    await solve(ParticleFiltering(3), given)
    second = Counter(r[1][0] for r in given.policy.requests if len(r[1]) == 2)
    assert second[0] == 0
    assert sorted(second[i] for i in (1, 2)) == [1, 2]
    all_zero = models(samples=samples, scores={(2, 1): 0.0, (3, 1): 0.0, (4, 1): 0.0})
    await solve(ParticleFiltering(3), all_zero)
    assert {r[1] for r in all_zero.policy.requests if len(r[1]) == 2} == {(0, 0), (1, 0), (2, 0)}


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ParticleFiltering(0), r"particle_filtering\.n"),
        (lambda: ParticleFiltering(4, softmax_temperature=0), r"particle_filtering\.softmax_temperature = 0"),
        (
            lambda: ParticleFiltering(4, softmax_temperature=math.nan),
            r"particle_filtering\.softmax_temperature",
        ),
        (lambda: ParticleFiltering(4, weighted=1), r"particle_filtering\.weighted"),  # type: ignore[arg-type]
        (lambda: ParticleFiltering(4, rounds=0), r"particle_filtering\.rounds"),
        (lambda: ParticleFiltering(4, aggregation="sum"), r"particle_filtering\.aggregation"),  # type: ignore[arg-type]
        (lambda: ParticleFiltering(4, temperature=0), r"particle_filtering\.temperature"),
        (lambda: ParticleFiltering(4, top_p=2.0), r"particle_filtering\.top_p"),
    ],
)
def test_impossible_settings_are_refused(make, field: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=field):
        make()
