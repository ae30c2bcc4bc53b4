"""The bench: what is drawn is charged, what is seen holds no label, and no budget is overspent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.strategy import Candidate
from orchestration.analysis.subsets import SampleSet, accuracy_at
from orchestration.planning.bench import MAJORITY, WEIGHTED, Bench, Memory
from orchestration.planning.curves import curves_of
from orchestration.planning.tracing import traces_of
from orchestration.strategies.selection import weighted
from orchestration.strategies.standing import standing
from tests.support.pools import OFFER, SEARCHES, made_pools, relabelled

POOLS = made_pools(40)


@settings(max_examples=40)
@given(
    st.floats(0, 20_000),
    st.lists(st.tuples(st.integers(0, 39), st.integers(0, 9)), max_size=200),
)
def test_whatever_is_asked_no_budget_is_overspent(budget: float, asked: list[tuple[int, int]]) -> None:
    bench = Bench(POOLS, budget, seed=0)
    for prompt, count in asked:
        if count:
            bench.draw(prompt, count)
        else:
            bench.search(prompt, SEARCHES[0])
    judged = bench.judge()
    assert judged.spent == bench.spent <= budget
    assert (judged.samples <= 16).all()
    assert (judged.right <= judged.answered).all()


def test_a_sample_costs_its_tokens_and_the_steps_that_none_before_it_shares() -> None:
    bench = Bench(POOLS[:1], 1e9, seed=0)
    bench.draw(0)
    first = bench.spent
    bench.draw(0)
    flops = {one.flops for one in POOLS[0].samples}
    assert first - 25 in flops
    assert bench.spent - first - 15 in flops


def test_who_counts_votes_alone_pays_for_no_scores() -> None:
    bench = Bench(POOLS[:1], 1e9, seed=0, counting=MAJORITY)
    bench.draw(0, 16)
    assert bench.spent == sum(one.flops for one in POOLS[0].samples)
    assert bench.values(0) == [0.0] * 16
    assert all(pile.weight == pile.count for pile in bench.standing(0).evidence.piles)


def test_what_is_seen_and_spent_does_not_depend_on_labels() -> None:
    for one, other in zip(
        traces_of(POOLS[:6], OFFER, orders=2, seed=3),
        traces_of(relabelled(POOLS[:6]), OFFER, orders=2, seed=3),
        strict=True,
    ):
        for move, seen in one.moves.items():
            assert (seen.evidence, seen.flops) == (other.moves[move].evidence, other.moves[move].flops)
            assert seen.right != other.moves[move].right


def test_a_prompt_stands_by_the_answer_that_the_strategy_gives() -> None:
    for pool in POOLS[:10]:
        drawn = [one.candidate for one in pool.samples]
        assert standing(drawn, WEIGHTED).answer == weighted(drawn)


def test_a_search_is_held_against_the_answer_before_it() -> None:
    def one(answer: str | None, score: float) -> list[Candidate]:
        return [Candidate(0, (), (1,), (), (score,), "eos", answer)]

    before = standing(one("7", 0.4), WEIGHTED)
    assert standing(one("7", 0.9), WEIGHTED, before=before).evidence.same is True
    assert standing(one("8", 0.9), WEIGHTED, before=before).evidence.same is False
    assert standing(one("8", 0.9), WEIGHTED).evidence.same is None
    assert standing(one("8", 0.9), WEIGHTED, before=standing((), WEIGHTED)).evidence.same is None
    assert standing(one(None, 0.9), WEIGHTED).chosen == -1


def test_a_curve_is_that_of_any_samples_not_of_the_first_ones() -> None:
    """Held against the exact mean over subsets."""
    curves = curves_of(POOLS, (1, 2, 4), orders=1, seed=0)
    sets = [
        SampleSet(
            pool.problem,
            [one.candidate.answer for one in pool.samples],
            [one.correct for one in pool.samples],
            [True] * len(pool.samples),
            [one.candidate.scores[0] for one in pool.samples],
        )
        for pool in POOLS
    ]
    exact = accuracy_at(sets, "weighted", (1, 2, 4), seed=0)
    np.testing.assert_allclose(curves.right, exact, atol=0.1)
    np.testing.assert_allclose(curves.right.mean(axis=0), exact.mean(axis=0), atol=0.02)
    assert (np.diff(curves.flops, axis=1) > 0).all()


def test_halves_of_a_pool_share_no_sample() -> None:
    marked = [one for one in POOLS if 0 < one.rate < 1][:5]
    curves = [curves_of(marked, (8,), orders=1, seed=0, half=half) for half in (0, 1)]
    flops = [
        [sum(one.flops + 15 for one in half) + 10 for half in (pool.samples[:8], pool.samples[8:])]
        for pool in marked
    ]
    assert curves[0].flops[:, 0].tolist() == [one[0] for one in flops]
    assert curves[1].flops[:, 0].tolist() == [one[1] for one in flops]


def test_benches_with_one_memory_stand_where_each_would_alone() -> None:
    memory = Memory()
    for _ in range(2):
        for counting in (WEIGHTED, MAJORITY):
            shared = Bench(POOLS[:5], 1e9, seed=3, counting=counting, memory=memory)
            alone = Bench(POOLS[:5], 1e9, seed=3, counting=counting)
            for count in (1, 2, 5):
                for prompt in range(5):
                    shared.draw(prompt, count)
                    alone.draw(prompt, count)
                    assert shared.standing(prompt) == alone.standing(prompt)
            assert shared.judge().right.tolist() == alone.judge().right.tolist()


def test_too_few_samples_for_an_offer_are_refused() -> None:
    with pytest.raises(ValueError, match="has 4 samples, and 8"):
        traces_of(made_pools(2, samples=4), OFFER, orders=1, seed=0)
