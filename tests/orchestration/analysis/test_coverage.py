"""Intervals cover the truth as often as they say: near 0 and 1, of few problems, of seeds, estimates and differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from orchestration.analysis.statistics import _bonett_price, _wilson, mean_interval, paired_difference

TRIALS = 1000
COVERED = 0.93 - 2 * math.sqrt(0.93 * 0.07 / TRIALS)
"""93%, less what chance may take of it in so many trials."""

Values = NDArray[np.float64]


def means(random: np.random.Generator, truth: float, count: int) -> dict[str, Values]:
    """Values of problems whose expectation is `truth`, (trials, problems), of each kind that a report shows."""
    shape = (TRIALS, count)
    told = {"0 or 1": (random.random(shape) < truth).astype(np.float64)}
    for spread in (1.0, 4.0):
        # The smaller, the more problems are all but always right or wrong.
        chance = random.beta(truth * spread, (1 - truth) * spread, shape)
        told[f"3 seeds, {spread}"] = random.binomial(3, chance) / 3
        told[f"subsets, {spread}"] = chance
        told[f"16 samples, {spread}"] = random.binomial(16, chance) / 16
    return told


def differences(random: np.random.Generator, a: float, b: float, count: int) -> dict[str, Values]:
    """Differences of two strategies, right with chance `a` and `b`, that find the same problems hard."""
    shape = (TRIALS, count)
    hard = random.standard_normal(shape)

    def chance(truth: float) -> Values:
        own = 0.8 * hard + 0.3 * random.standard_normal(shape)
        return np.asarray(ndtr((ndtri(truth) - own) / math.sqrt(1 - 0.8**2 - 0.3**2)))

    chances = [chance(a), chance(b)]
    return {
        "0 or 1": np.subtract(*(random.binomial(1, one) for one in chances)).astype(np.float64),
        "3 seeds": np.subtract(*(random.binomial(3, one) / 3 for one in chances)),
        "subsets": np.subtract(*chances),
    }


@pytest.mark.parametrize("truth", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("count", [30, 100, 500])
def test_a_95_percent_interval_covers_at_least_93(truth: float, count: int) -> None:
    random = np.random.default_rng(11)
    for kind, values in means(random, truth, count).items():
        low, high = _wilson(values, 0.95)
        assert np.mean((low <= truth) & (truth <= high)) >= COVERED, kind
    for other in (truth, truth + 0.02):
        for kind, values in differences(random, other, truth, count).items():
            low, high = _bonett_price(values, 0.95)
            assert np.mean((low <= other - truth) & (other - truth <= high)) >= COVERED, kind


def test_intervals_are_no_wider_than_they_need_be() -> None:
    """Trap: an interval as wide as that of 0s and 1s always covers, and hides what seeds and estimates are for."""
    random = np.random.default_rng(12)
    for kind, values in means(random, 0.5, 500).items():
        low, high = _wilson(values, 0.95)
        assert np.mean((low <= 0.5) & (high >= 0.5)) <= 0.98, kind
    for kind, values in differences(random, 0.5, 0.5, 500).items():
        low, high = _bonett_price(values, 0.95)
        assert np.mean((low <= 0) & (high >= 0)) <= 0.98, kind


def test_shares_of_single_answers_have_wilsons_interval() -> None:
    """As in Brown, Cai and DasGupta 2001, equation 4."""
    for right, count in ((30, 30), (0, 30), (1, 1), (7, 20), (480, 500)):
        for level, z in ((0.95, 1.959964), (0.8, 1.281552)):
            p = right / count
            middle = (right + z**2 / 2) / (count + z**2)
            half = z * math.sqrt(count) / (count + z**2) * math.sqrt(p * (1 - p) + z**2 / (4 * count))
            found = mean_interval([1] * right + [0] * (count - right), level=level)
            assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=1e-6)


def test_what_agrees_everywhere_is_not_known_exactly() -> None:
    all_right = mean_interval([1] * 30)
    assert (all_right.mean, all_right.high) == (1, 1)
    assert all_right.low == pytest.approx(0.886, abs=0.001)
    ties = paired_difference([1, 0] * 15, [1, 0] * 15)
    assert (ties.mean, -ties.low) == (0, ties.high)
    assert ties.high == pytest.approx(0.087, abs=0.001)
    seeds = mean_interval(np.full((30, 4), 0.5))
    assert 0.02 < seeds.high - 0.5 < 0.1


def test_an_interval_holds_its_mean_at_any_level_and_stays_in_bounds() -> None:
    random = np.random.default_rng(13)
    for count in (1, 2, 9):
        for level in (0.1, 0.5, 0.999):
            for values in (np.ones(count), np.zeros(count), random.random(count)):
                found = mean_interval(values, level=level)
                assert 0 <= found.low <= found.mean <= found.high <= 1
                for other in (np.zeros(count), np.ones(count), 1 - values):
                    found = paired_difference(values, other, level=level)
                    assert -1 <= found.low <= found.mean <= found.high <= 1
                    assert found.low < found.high


def test_values_that_are_no_shares_are_refused() -> None:
    with pytest.raises(ValueError, match=r"values from 0.0 to 2.0"):
        mean_interval([0, 2])
    assert mean_interval([1 + 1e-15, 1]).high == 1
