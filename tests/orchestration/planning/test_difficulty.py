"""Difficulty, its bins, and the paper's table: nothing is told of a problem by what judges it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import UserError
from orchestration.allocation.fitting import folds
from orchestration.analysis.statistics import mean_interval
from orchestration.planning.bin_table import bin_table
from orchestration.planning.difficulty import (
    absolute_bins,
    agreement,
    halves,
    pass_rate,
    predicted,
    quantile_bins,
    ranges,
)

values = st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]), min_size=5, max_size=80)


@settings(max_examples=60)
@given(values)
def test_equal_values_are_in_one_bin_and_easier_ones_in_no_harder(found: list[float]) -> None:
    bins = quantile_bins(found)
    each = bins.of(found)
    for one, bin_ in zip(found, each, strict=True):
        for other, theirs in zip(found, each, strict=True):
            assert (one == other) <= (bin_ == theirs)
            assert (one > other) <= (bin_ <= theirs)
    assert sum(bins.sizes) == len(found)
    assert bins.sizes == tuple((each == one).sum() for one in range(1, 6))


def test_values_that_differ_make_bins_of_one_size_and_ties_are_told() -> None:
    even = quantile_bins(np.linspace(0, 1, 100))
    assert even.sizes == (20, 20, 20, 20, 20)
    assert even.tied == 0
    tied = quantile_bins([0.0] * 30 + [1.0] * 20)
    assert tied.sizes == (20, 0, 30, 0, 0)
    assert tied.tied == 50


def test_absolute_thresholds_stand_fast() -> None:
    bins = absolute_bins([0.9, 0.5, 0.3, 0.1, 0.05, 0.0])
    assert bins.sizes == (2, 2, 2)
    assert bins.of(0.7) == 1
    for wrong in ((0.1, 0.5), (1.5,), (0.0,)):
        with pytest.raises(UserError, match="must fall"):
            absolute_bins([0.5], wrong)


def test_too_few_values_make_no_bins() -> None:
    for few in ([0.1] * 4, [0.1, 0.2, 0.3, 0.4, float("nan")]):
        with pytest.raises(ValueError, match="5 bins need"):
            quantile_bins(few)


@settings(max_examples=40)
@given(st.integers(1, 2048), st.integers(1, 40))
def test_many_samples_are_sharded_whole_and_even(samples: int, shards: int) -> None:
    found = ranges(samples, shards)
    assert [i for one in found for i in one] == list(range(samples))
    assert max(map(len, found)) - min(map(len, found)) <= 1
    judged, told = halves(samples)
    assert not set(range(samples)[judged]) & set(range(samples)[told])


@pytest.mark.parametrize("samples", [0, 2049])
def test_a_number_of_samples_beyond_bounds_is_refused(samples: int) -> None:
    with pytest.raises(UserError, match="from 1 to 2,048"):
        ranges(samples, 2)


def test_predicted_difficulty_needs_no_label_and_every_sample_counts() -> None:
    assert predicted([0.5, None, 1.0]) == 0.5
    assert pass_rate([True, False, False, False]) == 0.25


def test_a_prediction_that_agrees_is_told_from_one_that_does_not() -> None:
    rng = np.random.default_rng(0)
    rates = rng.random(200)
    good = agreement(np.clip(rates + rng.normal(0, 0.1, 200), 0, 1), rates)
    assert good.rank > 0.9
    assert good.warning == ""
    assert np.trace(good.confusion) > 110
    assert good.confusion.sum() == sum(count for _, _, count in good.curve) == 200
    poor = agreement(rng.random(200), rates)
    assert abs(poor.rank) < 0.2
    assert "rank correlation" in poor.warning
    assert "does not vary" in agreement([0.5] * 50, rates[:50]).warning


def noise(problems: int, samples: int, seed: int) -> np.ndarray:
    """Problems that are all equally hard: every sample is right with a chance of one half."""
    return np.random.default_rng(seed).random((problems, samples)) < 0.5


@pytest.mark.parametrize("seed", range(3))
def test_equally_hard_problems_show_no_difficulty(seed: int) -> None:
    """Bins by one half of the samples, judgement by the other: flat. By the same samples they would fall from 90% to
    10%."""
    right = noise(500, 8, seed)
    judged, told = halves(8)
    bins = quantile_bins(right[:, told].mean(axis=1)).of(right[:, told].mean(axis=1))
    for one in np.unique(bins):
        mine = mean_interval(right[bins == one][:, judged].mean(axis=1), level=0.999)
        assert mine.low <= 0.5 <= mine.high
    own = [right[bins == one][:, told].mean() for one in np.unique(bins)]
    assert own[0] - own[-1] > 0.4


@pytest.mark.parametrize("seed", range(3))
def test_a_choice_among_equals_gains_nothing(seed: int) -> None:
    """Six strategies that are one: the best of them on all problems looks better than it is, the crossed choice does
    not."""
    rng = np.random.default_rng(seed)
    names = [f"p{i}" for i in range(400)]
    bins = rng.integers(1, 6, 400)
    right = {4: {f"s{i}": (rng.random(400) < 0.5).astype(float) for i in range(6)}}
    table = bin_table(names, bins, right, seed=seed)
    crossed = mean_interval(table.right[4], level=0.999)
    assert crossed.low <= 0.5 <= crossed.high
    flattered = np.mean([max(one[bins == b].mean() for one in right[4].values()) for b in range(1, 6)])
    assert flattered > 0.53


def test_in_each_bin_the_better_strategy_is_found_and_the_runner_up_named() -> None:
    rng = np.random.default_rng(1)
    names = [f"p{i}" for i in range(600)]
    bins = np.repeat([1, 2], 300)
    easy, hard = bins == 1, bins == 2
    beam = (rng.random(600) < np.where(hard, 0.5, 0.8)).astype(float)
    best = (rng.random(600) < np.where(hard, 0.2, 0.95)).astype(float)
    table = bin_table(names, bins, {4: {"beam": beam, "best_of_n": best}}, seed=0)
    assert [(p.bin, p.strategy, p.runner_up) for p in table.picks] == [
        (1, "best_of_n", "beam"),
        (2, "beam", "best_of_n"),
    ]
    assert all(pick.behind_low > 0 for pick in table.picks)
    assert table.right[4][easy].mean() > beam[easy].mean()
    assert table.right[4].mean() == pytest.approx(np.where(easy, best, beam).mean())


def test_no_problem_has_a_part_in_the_choice_that_judges_it() -> None:
    """Turning a problem's own outcomes over changes what it shows, never which strategy it is shown by."""
    rng = np.random.default_rng(2)
    names, bins = [f"p{i}" for i in range(60)], np.ones(60, dtype=np.int64)
    right = {"a": rng.random(60), "b": rng.random(60)}
    table = bin_table(names, bins, {1: right}, seed=0)
    fold = np.array(folds(names, 2, 0))
    for at in range(10):
        turned = {name: np.where(np.arange(60) == at, 1 - each, each) for name, each in right.items()}
        again = bin_table(names, bins, {1: turned}, seed=0)
        same_fold = (fold == fold[at]) & (np.arange(60) != at)
        assert (again.right[1][same_fold] == table.right[1][same_fold]).all()
        assert again.right[1][at] == pytest.approx(1 - table.right[1][at])
