"""The field's allocators on the bench: each keeps to the budget, knows no label, and does what its paper says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from orchestration.planning import oracles
from orchestration.planning.baselines.adabon import AdaBon
from orchestration.planning.baselines.adaptive_consistency import TunedConsistency
from orchestration.planning.baselines.blend_asc import BlendAsc
from orchestration.planning.baselines.damani import DamaniOffline, DamaniOnline, rate_model
from orchestration.planning.baselines.elimination import Elimination
from orchestration.planning.baselines.optimal_stopping import OptimalStopping
from orchestration.planning.baselines.per_bin import PerBin
from orchestration.planning.baselines.random_split import RandomSplit
from orchestration.planning.baselines.tuned import price_for, serve
from orchestration.planning.baselines.uab import Uab
from orchestration.planning.baselines.uniform import Uniform
from orchestration.planning.bench import MAJORITY, WEIGHTED, Bench
from orchestration.planning.curves import Curves, curves_of
from orchestration.planning.line_up import line_up
from orchestration.planning.replay import Allocation, flops_for, replay
from tests.support.pools import OFFER, made_pools, relabelled

KNOWN = made_pools(50, seed=1)
JUDGED = made_pools(60, seed=2)
CURVES = curves_of(KNOWN, OFFER.samples, OFFER.searches, orders=2, seed=0)
MODEL = rate_model(KNOWN, seed=0)

MAKERS: dict[str, Callable[[], Allocation]] = {
    "uniform": lambda: Uniform(CURVES),
    "best-of-N": lambda: Uniform(CURVES, searches=False),
    "per bin": lambda: PerBin.of(KNOWN, CURVES, 2, seed=0),
    "per bin, free": lambda: PerBin.of(KNOWN, CURVES, 4, seed=0, free=True),
    "random": RandomSplit,
    "Damani offline": lambda: DamaniOffline.of(KNOWN, CURVES, MODEL, seed=0),
    "Damani online": lambda: DamaniOnline(MODEL),
    "UAB": Uab,
    "AdaBoN": AdaBon,
    "elimination": Elimination,
    "adaptive consistency": lambda: TunedConsistency(KNOWN),
    "optimal stopping": lambda: OptimalStopping.of(KNOWN, seed=0),
    "Blend-ASC": BlendAsc,
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("each", [70.0, 300.0, 5_000.0])
def test_every_allocator_keeps_to_the_budget_and_sees_no_label(name: str, each: float) -> None:
    results = [replay(pools, MAKERS[name](), each * 60, orders=1) for pools in (JUDGED, relabelled(JUDGED))]
    assert results[0].used <= 1.0
    assert results[0].flops.tolist() == results[1].flops.tolist()
    assert results[0].flops.sum() > 0
    if each == 300.0:
        assert results[0].used > 0.5


def given_to(allocation: Allocation, each: float) -> np.ndarray:
    return replay(JUDGED, allocation, each * len(JUDGED), orders=1).samples


def test_elimination_drops_those_whose_best_reward_is_high() -> None:
    bench = Bench(JUDGED, 400.0 * 60, seed=0)
    Elimination(gamma=0.8).allocate(bench)
    drawn = np.array([bench.drawn(p) for p in range(60)])
    done = np.array([max(bench.values(p)) >= 0.8 for p in range(60)])
    assert drawn[~done].max() - drawn[~done].min() <= 1
    assert drawn[done].mean() < drawn[~done].mean()


def test_greedy_by_coverage_gives_most_to_those_in_the_middle() -> None:
    """p (1 - p)^c is small for a p near 0 and, after the first sample, for one near 1."""
    bench = Bench(JUDGED, 500.0 * 60, seed=0)
    Uab().allocate(bench)
    surprise = np.array([Bench.surprise(bench, p) for p in range(60)])
    drawn = np.array([bench.drawn(p) for p in range(60)])
    assert drawn[surprise > np.median(surprise)].mean() != drawn[surprise < np.median(surprise)].mean()
    assert drawn.min() >= 1


def test_votes_alone_go_to_whose_leader_is_least_sure() -> None:
    bench = Bench(JUDGED, 400.0 * 60, seed=0, counting=MAJORITY)
    BlendAsc().allocate(bench)
    drawn = np.array([bench.drawn(p) for p in range(60)])
    agreed = np.array([bench.piles(p)[0] / bench.drawn(p) for p in range(60)])
    assert drawn[agreed == 1].mean() < drawn[agreed < 0.6].mean()


def test_a_tuned_price_spends_about_its_budget_where_problems_are_alike() -> None:
    rule = OptimalStopping.of(KNOWN, seed=0)
    for each in (250.0, 600.0):
        price = price_for(KNOWN, rule._worth, each, seed=5, counting=WEIGHTED)
        bench = Bench(KNOWN, float("inf"), seed=5)
        serve(bench, rule._worth, price)
        assert 0.85 * each < bench.spent / len(bench) < 1.15 * each


def test_the_best_single_strategy_is_the_best_that_the_budget_pays() -> None:
    known = Curves(("1", "2", "s"), np.array([[0.2, 0.6, 0.5]]), np.array([[1.0, 2.0, 1.5]]))
    assert [known.best_within(flops) for flops in (0.5, 1.0, 1.7, 9.0)] == [None, 0, 2, 1]


def test_free_difficulty_is_charged_to_nobody_and_charged_difficulty_to_all() -> None:
    free = replay(JUDGED, PerBin.of(KNOWN, CURVES, 4, seed=0, free=True), 130.0 * 60, orders=1)
    charged = replay(JUDGED, PerBin.of(KNOWN, CURVES, 4, seed=0), 450.0 * 60, orders=1)
    assert free.samples.max() <= 1
    assert charged.samples.min() >= 4


def test_oracles_stand_above_what_knows_less() -> None:
    for each in (150.0, 300.0, 800.0):
        budget = each * len(JUDGED)
        known = oracles.static(JUDGED, OFFER.samples, budget, orders=4, seed=0)
        success = oracles.stop_at_success(JUDGED, budget)
        seeing = oracles.clairvoyant(JUDGED, OFFER.samples, budget, seed=0)
        uniform = replay(JUDGED, Uniform(CURVES, searches=False), budget, orders=2).accuracy.mean
        assert known.high > uniform - 0.02
        assert known.low < known.high + 0.02
        assert known.spent <= 1.1 * budget
        assert min(success, seeing) > uniform
    assert oracles.clairvoyant(JUDGED, OFFER.samples, 0.0, seed=0) == 0.0


def test_an_oracle_that_knows_nothing_true_gains_nothing() -> None:
    """All problems alike: what one half of the samples says of them is luck, and the other half does not repeat it."""
    pools = made_pools(120, seed=4, same=0.5)
    known = oracles.static(pools, (1, 2, 4), 300.0 * 120, orders=4, seed=0)
    even = curves_of(pools, (1, 2, 4), orders=2, seed=0)
    reached = np.interp(known.spent / 120, even.flops.mean(axis=0), even.right.mean(axis=0))
    assert known.low < reached + 0.04
    assert known.high > known.low


def test_the_static_choice_is_the_best_of_all_within_the_budget() -> None:
    """Held against every choice there is, up to one problem's step."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        right = np.sort(rng.random((4, 3)), axis=1)
        curves = Curves(("1", "2", "4"), right, np.tile([1.0, 2.0, 4.0], (4, 1)))
        for budget in (2.0, 5.0, 9.0):
            choice = oracles.static_choice(curves, budget)
            mine = sum(right[row, at] for row, at in enumerate(choice) if at >= 0)
            cost = sum(curves.flops[row, at] for row, at in enumerate(choice) if at >= 0)
            assert cost <= budget
            every = np.stack(np.meshgrid(*[range(-1, 3)] * 4), axis=-1).reshape(-1, 4)
            costs = np.where(every >= 0, np.array([1.0, 2.0, 4.0])[every], 0).sum(axis=1)
            gains = np.where(every >= 0, right[np.arange(4), every], 0).sum(axis=1)
            assert mine >= gains[costs <= budget].max() - right.max()


def test_flops_are_read_off_a_curve_where_it_first_gets_there() -> None:
    curve = [(1.0, 0.2), (2.0, 0.4), (4.0, 0.3), (8.0, 0.6)]
    assert flops_for(0.2, curve) == 1.0
    assert flops_for(0.3, curve) == pytest.approx(1.5)
    assert flops_for(0.5, curve) == pytest.approx(5.0)
    assert flops_for(0.7, curve) == float("inf")


def test_the_line_up_has_each_allocator_once_and_all_of_them_replay() -> None:
    makers = line_up(KNOWN, OFFER, orders=1, seed=0)
    names = [make().name for make in makers]
    assert len(set(names)) == len(names) == 16
    assert names[-1] == "one price"
    results = [replay(JUDGED[:20], make(), 250.0 * 20, orders=1) for make in makers]
    assert max(result.used for result in results) <= 1.0
