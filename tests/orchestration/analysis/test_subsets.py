"""Estimates at N from K samples, against the plain mean over all subsets and against the strategies
themselves.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.strategy import Answer, Candidate
from orchestration.analysis.subsets import Rule, SampleSet, accuracy_at, pass_at
from orchestration.strategies.selection import best, majority, weighted

RULES: tuple[Rule, ...] = ("pass", "majority", "weighted", "best")
CHOOSE = {"majority": majority, "weighted": weighted, "best": best}
NAN = math.nan


def sample_set(rows: list[tuple[str | None, bool, float]], name: str = "p") -> SampleSet:
    """Of (answer, finished, value); "1" is correct."""
    answers, finished, values = zip(*rows, strict=True)
    return SampleSet(name, answers, [answer == "1" for answer in answers], finished, values)


def chosen(samples: SampleSet, rule: Rule, indices: tuple[int, ...]) -> bool:
    """Whether a strategy that drew these samples would have been right."""
    if rule == "pass":
        return any(samples.correct[i] for i in indices)
    candidates = [
        Candidate(
            index=i,
            token_ids=(5,),
            step_ends=(1,),
            logprobs=(-1.0,),
            scores=() if math.isnan(samples.values[i]) else (samples.values[i],),
            finish="eos" if samples.finished[i] else "length",
            answer=samples.answers[i],
        )
        for i in indices
    ]
    return CHOOSE[rule](candidates) == "1"


def by_hand(samples: SampleSet, rule: Rule, n: int) -> float:
    subsets = itertools.combinations(range(len(samples.answers)), n)
    return float(np.mean([chosen(samples, rule, subset) for subset in subsets]))


ROWS = st.lists(
    st.tuples(
        st.sampled_from([None, "1", "2", "3"]),
        st.booleans(),
        st.sampled_from([NAN, 0.0, 0.25, 0.5, 0.75, 1.0]),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=150)
@given(ROWS, st.sampled_from(RULES))
def test_estimates_are_the_mean_over_all_subsets(
    rows: list[tuple[str | None, bool, float]], rule: Rule
) -> None:
    samples = sample_set(rows)
    ns = range(1, len(rows) + 1)
    expected = [by_hand(samples, rule, n) for n in ns]
    np.testing.assert_allclose(accuracy_at([samples], rule, list(ns), seed=0)[0], expected, atol=1e-12)


@settings(max_examples=60)
@given(ROWS, st.sampled_from(RULES))
def test_estimates_know_who_speaks_for_a_class(
    rows: list[tuple[str | None, bool, float]], rule: Rule
) -> None:
    """Answers 1 and 2 are one class, in which 2 says more, and is wrong."""
    said = {"1": Answer("1", "1"), "2": Answer("1 m", "1\t\tm"), "3": Answer("3", "3"), None: None}
    plain = sample_set(rows)
    asked = replace(plain, answers=[said[one] for one in plain.answers])
    ranks = [{"2": 1}.get(str(one), 0) for one in plain.answers]
    known = replace(asked, answers=[one and one.partition(" ")[0] for one in asked.answers], ranks=ranks)
    ns = range(1, len(rows) + 1)
    expected = [by_hand(asked, rule, n) for n in ns]
    np.testing.assert_allclose(accuracy_at([known], rule, list(ns), seed=0)[0], expected, atol=1e-12)


def test_best_falls_back_to_the_majority_where_nothing_is_scored() -> None:
    samples = sample_set([("2", True, NAN), ("1", True, NAN), ("1", True, NAN), ("3", False, 1.0)])
    for n in range(1, 5):
        result = accuracy_at([samples], "best", [n], seed=0)[0, 0]
        assert result == pytest.approx(by_hand(samples, "best", n))
    assert by_hand(samples, "best", 4) == 1.0


def random_set(seed: int, size: int, name: str = "p") -> SampleSet:
    rng = np.random.default_rng(seed)
    answers = rng.choice(["1", "2", "3", "4"], size, p=[0.35, 0.4, 0.15, 0.1])
    values = np.round(np.clip(rng.normal(0.4 + 0.2 * (answers == "1"), 0.2), 0, 1), 2)
    finished = rng.random(size) > 0.1
    return sample_set(
        [(str(a), bool(f), float(v)) for a, f, v in zip(answers, finished, values, strict=True)], name
    )


@pytest.mark.parametrize("rule", RULES)
def test_random_subsets_agree_with_all_of_them(rule: Rule) -> None:
    samples = random_set(1, 14)
    few = accuracy_at([samples], rule, [4, 7], seed=3, draws=900)[0]
    every = accuracy_at([samples], rule, [4, 7], seed=3, draws=4000)[0]
    assert math.comb(14, 4) > 900
    assert math.comb(14, 7) <= 4000
    np.testing.assert_allclose(few, every, atol=4 * 0.5 / math.sqrt(900))
    assert rule not in ("majority", "weighted") or not np.array_equal(few, every)


@pytest.mark.parametrize("rule", RULES)
def test_at_all_samples_it_is_what_the_strategy_answered(rule: Rule) -> None:
    sets = [random_set(seed, 64) for seed in range(20)]
    result = accuracy_at(sets, rule, [64], seed=0)[:, 0]
    assert result.tolist() == [float(chosen(s, rule, tuple(range(64)))) for s in sets]


def test_at_one_sample_all_rules_are_the_share_of_correct_ones() -> None:
    sets = [random_set(seed, 32) for seed in range(5)]
    expected = [np.mean(s.correct) for s in sets]
    for rule in RULES:
        np.testing.assert_allclose(accuracy_at(sets, rule, [1], seed=0)[:, 0], expected)


def test_estimates_are_unbiased() -> None:
    """Over many problems, estimates at 4 from 32 samples agree with fresh draws of 4."""
    from_many = accuracy_at(
        [random_set(s, 32, str(s)) for s in range(400)], "weighted", [4], seed=0, draws=100
    )
    fresh = accuracy_at([random_set(1000 + s, 4) for s in range(4000)], "weighted", [4], seed=0)
    error = math.hypot(from_many.std() / math.sqrt(400), fresh.std() / math.sqrt(4000))
    assert abs(from_many.mean() - fresh.mean()) < 4 * error
    assert from_many.std() < fresh.std() / 2


def test_row_depends_on_its_own_problem_alone() -> None:
    sets = [random_set(seed, 20, f"problem {seed}") for seed in range(4)]
    together = accuracy_at(sets, "majority", [3, 8], seed=5, draws=50)
    alone = accuracy_at(sets[2:3], "majority", [8], seed=5, draws=50)
    assert together[2, 1] == alone[0, 0]
    assert not np.array_equal(together, accuracy_at(sets, "majority", [3, 8], seed=6, draws=50))


def test_fewer_samples_than_n_is_no_estimate() -> None:
    result = accuracy_at([random_set(0, 4), random_set(1, 8)], "majority", [4, 8], seed=0)
    assert np.isnan(result).tolist() == [[False, True], [False, False]]


def test_sorted_samples_do_not_favour_the_first() -> None:
    rows = [("1", True, 0.9)] * 8 + [("2", True, 0.1)] * 8
    front = accuracy_at([sample_set(rows)], "majority", [4], seed=0, draws=4000)
    back = accuracy_at([sample_set(rows[::-1])], "majority", [4], seed=0, draws=4000)
    tied = math.comb(8, 2) ** 2 / math.comb(16, 4)
    assert front[0, 0] == pytest.approx(0.5 + tied / 2)
    assert back[0, 0] == pytest.approx(0.5 - tied / 2)


def test_pass_at_is_exact() -> None:
    for size in range(1, 8):
        for correct in range(size + 1):
            marks = [True] * correct + [False] * (size - correct)
            for n in range(1, size + 1):
                expected = np.mean([any(subset) for subset in itertools.combinations(marks, n)])
                assert pass_at(size, correct, n) == pytest.approx(expected)
    assert pass_at(2048, 1, 1024) == pytest.approx(0.5)
    assert pass_at(2048, 0, 2048) == 0.0


@pytest.mark.parametrize(("samples", "correct", "n"), [(4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0)])
def test_impossible_counts_are_refused(samples: int, correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="cannot be told"):
        pass_at(samples, correct, n)


def test_inconsistent_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        SampleSet("p", ["1"], [True, False], [True], [0.5])
    with pytest.raises(ValueError, match="below 0"):
        SampleSet("p", ["1"], [True], [True], [-0.5])
    with pytest.raises(ValueError, match="called correct"):
        SampleSet("p", [None], [True], [True], [0.5])
    with pytest.raises(ValueError, match="at least 1"):
        accuracy_at([], "pass", [0], seed=0)
