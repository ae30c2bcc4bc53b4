"""Intervals and AUROC against known answers."""

import math

import numpy as np
import pytest

from orchestration.analysis.statistics import auroc, auroc_within, mean_interval, paired_difference, quintiles


def test_unknown_values_are_skipped() -> None:
    values = [1.0, 0.0, float("nan"), 1.0]
    assert mean_interval(values).problems == 3
    assert mean_interval(values).mean == pytest.approx(2 / 3)
    assert math.isnan(mean_interval([]).mean)


def test_large_sets_have_the_normal_interval() -> None:
    values = (np.arange(40_000) % 10 < 3).astype(float)
    estimate = mean_interval(values)
    assert estimate.high - estimate.mean == pytest.approx(1.96 * math.sqrt(0.21 / 40_000), rel=0.01)


def test_pairing_narrows_the_interval() -> None:
    random = np.random.default_rng(1)
    hard = random.random(200)
    a, b = (hard < 0.55).astype(float), (hard < 0.5).astype(float)
    paired = paired_difference(a, b)
    assert paired.mean == pytest.approx(a.mean() - b.mean())
    assert paired.high - paired.low < 0.6 * (mean_interval(a).high - mean_interval(a).low)
    assert paired.excludes_zero()
    assert not paired_difference(a, a).excludes_zero()


def test_auroc_by_hand() -> None:
    assert auroc([0.1, 0.9], [False, True]) == 1.0
    assert auroc([0.9, 0.1], [False, True]) == 0.0
    assert auroc([0.5, 0.5, 0.5], [False, True, True]) == 0.5
    assert auroc([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1]) == pytest.approx(0.75)
    assert math.isnan(auroc([0.1, 0.2], [True, True]))


def test_a_score_that_knows_only_difficulty_is_seen_through() -> None:
    # Question "a" is easy (high scores), "b" hard: inside each the score orders wrongly.
    scores = [0.9, 0.91, 0.92, 0.95, 0.1, 0.11, 0.12, 0.05]
    right = [1, 1, 1, 0, 0, 0, 0, 1]
    groups = list("aaaabbbb")
    assert auroc(scores, right) > 0.5
    assert auroc_within(scores, right, groups) == (0.0, 2)
    assert auroc_within([0.1, 0.2], [1, 1], ["a", "b"])[1] == 0


def test_quintiles_are_even_and_start_with_the_easiest() -> None:
    bins = quintiles(np.linspace(0, 1, 50))
    assert [int((bins == b).sum()) for b in range(1, 6)] == [10] * 5
    assert bins[-1] == 1
    assert bins[0] == 5
