"""The field's allocators on the bench: each keeps to the budget, knows no label, and does what its paper says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from orchestration.allocation.value_table import Offer
from orchestration.planning import oracles
from orchestration.planning.baselines.adabon import AdaBon
from orchestration.planning.baselines.adaptive_consistency import TunedConsistency
from orchestration.planning.baselines.blend_asc import BlendAsc
from orchestration.planning.baselines.damani import DamaniOffline, DamaniOnline, rate_model
from orchestration.planning.baselines.elimination import Elimination
from orchestration.planning.baselines.optimal_stopping import OptimalStopping
from orchestration.planning.baselines.per_bin import Binned, PerBin
from orchestration.planning.baselines.random_split import RandomSplit
from orchestration.planning.baselines.tuned import serve
from orchestration.planning.baselines.uab import Uab
from orchestration.planning.baselines.uniform import Uniform
from orchestration.planning.bench import MAJORITY, Bench
from orchestration.planning.curves import Curves, curves_of, halved
from orchestration.planning.pools import Pool
from orchestration.planning.replay import Allocation, replay
from tests.support.pools import OFFER, made_pools, relabelled

KNOWN = made_pools(50, seed=1)
JUDGED = made_pools(60, seed=2)
CURVES = curves_of(KNOWN, OFFER.samples, OFFER.searches, orders=2, seed=0)
ALONE = CURVES.only(str.isdigit).ladder()
PROBED = PerBin.of(KNOWN, CURVES, seed=0)
MODEL = rate_model(KNOWN, seed=0)

MAKERS: dict[str, Callable[[], Allocation]] = {
    "uniform": lambda: Uniform(CURVES.ladder()),
    "best-of-N": lambda: Uniform(ALONE),
    "per bin": lambda: PerBin.of(KNOWN, CURVES, seed=0),
    "per bin, probed": lambda: replace(PROBED, ways=PROBED.ways[-1:]),
    "random": RandomSplit,
    "Damani offline": lambda: DamaniOffline.of(KNOWN, CURVES, MODEL, seed=0),
    "Damani online": lambda: DamaniOnline(MODEL),
    "UAB": Uab,
    "AdaBoN": AdaBon,
    "elimination": Elimination,
    "adaptive consistency": lambda: TunedConsistency.of(KNOWN, seed=0),
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


def with_values(pool: Pool, *values: float) -> Pool:
    """The same samples, with values that the verifier gives in turn."""
    drawn = [
        replace(one, candidate=replace(one.candidate, scores=(values[at % len(values)],)))
        for at, one in enumerate(pool.samples)
    ]
    return replace(pool, samples=tuple(drawn))


def test_adabon_explores_its_share_and_expects_no_reward_above_one() -> None:
    # One whose best is as good as it gets, one whose values are spread in the middle: only the second can gain.
    pools = [with_values(JUDGED[0], 1.0, 0.1), with_values(JUDGED[1], 0.3, 0.6)]
    bench = Bench(pools, 2 * 8 * 110.0, seed=0)
    AdaBon(explore=0.5).allocate(bench)
    drawn = {bench.name(at): bench.drawn(at) for at in range(2)}
    assert drawn[JUDGED[0].problem] in (3, 4, 5)
    assert drawn[JUDGED[1].problem] >= 2 * drawn[JUDGED[0].problem]


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


def test_a_tuned_price_spends_its_budget_on_the_problems_that_it_was_tuned_on() -> None:
    rule = OptimalStopping.of(KNOWN, seed=0)
    for each in (250.0, 600.0):
        price = rule.paths.price(each)
        bench = Bench(KNOWN, float("inf"), seed=0)
        serve(bench, rule.worth, price)
        assert 0.85 * each < bench.spent / len(bench) < 1.15 * each


def test_a_ladder_has_what_is_worth_its_flops() -> None:
    right, flops = np.array([[0.2, 0.6, 0.3, 0.5]]), np.array([[1.0, 2.0, 1.5, 9.0]])
    ladder = Curves(("1", "2", "s", "dear"), right, flops).ladder()
    assert ladder.options == ("", "2")
    assert ladder.mix(9.0) == ("2", "2", 1.0)
    lower, upper, share = ladder.mix(0.5)
    assert (lower, upper, share) == ("", "2", pytest.approx(0.25))
    assert [ladder.at(0.5, lot) for lot in (0.1, 0.3)] == ["2", ""]


def test_the_same_budget_for_everyone_is_used_between_two_strategies() -> None:
    for each in (130.0, 220.0, 500.0):
        assert 0.9 < replay(JUDGED, Uniform(ALONE), each * len(JUDGED), orders=3).used <= 1.0


def test_difficulty_is_paid_for_where_it_brings_something() -> None:
    """What one sample takes leaves nothing for a probe; and whoever probes is charged for it."""
    assert PROBED.way(60.0).probe == 0
    forced = replace(PROBED, ways=PROBED.ways[-1:])
    assert forced.ways[0].probe == 4
    samples = replay(JUDGED, forced, 450.0 * 60, orders=1).samples
    assert samples[samples > 0].min() >= 4


def test_strategies_differ_by_bin_where_that_is_better() -> None:
    """Two kinds of problems, told apart by a value; a search is right on the one, samples on the other."""
    values = np.array([0.1, 0.9] * 50)
    right = np.array([[0.0, 1.0], [1.0, 0.0]] * 50)
    curves = Curves(("1", "s"), right, np.ones((100, 2)))
    binned = Binned.of(curves, values)
    assert binned.ladder(0.1).options[-1] == "s"
    assert binned.ladder(0.9).options[-1] == "1"
    assert np.mean(binned.expected(curves, values, 1.0)) == 1.0
    assert np.mean(binned.expected(curves, values, 0.5)) == 0.5


@pytest.mark.parametrize("told", [True, False])
def test_bins_are_told_where_that_brings_more_than_noise(told: bool) -> None:
    """Two options, of which each kind of problem needs one; or either is right by chance, and bins are ahead by it."""
    rng = np.random.default_rng(4)
    kind = np.arange(200) % 2
    values, alike = 0.1 + 0.8 * kind, np.zeros(200)
    needed = np.stack([kind, 1.0 - kind], axis=1)
    known, judged = (
        Curves(("1", "s"), needed if told else (rng.random((200, 2)) < 0.5) * 1.0, np.ones((200, 2)))
        for _ in range(2)
    )
    ways = Binned.of(known, alike), replace(Binned.of(known, values), probe=1)
    bins = replace(ways[1], probe=0).expected(judged, values, 1.0)
    assert np.mean(bins) > np.mean(ways[0].expected(judged, alike, 1.0))
    one = PerBin(ways, ((judged, alike, ways[0]), (judged, values, ways[1])))
    assert one.way(1.0) is ways[told]


HALVES = [[halved(pool, half) for pool in JUDGED] for half in (0, 1)]
HALF = Offer((1, 2, 4, 8), OFFER.searches)


def test_oracles_stand_above_what_knows_less() -> None:
    for each in (150.0, 300.0, 800.0):
        budget = each * len(JUDGED)
        known = oracles.static(*HALVES, HALF, budget, orders=2, seed=0)
        success = oracles.stop_at_success(JUDGED, budget)
        seeing = oracles.clairvoyant(JUDGED, OFFER.samples, budget, seed=0)
        uniform = replay(JUDGED, Uniform(ALONE), budget, orders=2).accuracy.mean
        assert known.high > uniform - 0.02
        assert known.low < known.high + 0.02
        assert known.spent <= 1.1 * budget
        assert min(success, seeing) > uniform
    assert oracles.clairvoyant(JUDGED, OFFER.samples, 0.0, seed=0) == 0.0


def test_an_oracle_that_knows_nothing_true_gains_nothing() -> None:
    """All problems alike: what one half of the samples says of them is luck, and the other half does not repeat it."""
    pools = made_pools(120, seed=4, same=0.5)
    halves = [[halved(pool, half) for pool in pools] for half in (0, 1)]
    known = oracles.static(*halves, Offer((1, 2, 4)), 300.0 * 120, orders=2, seed=0)
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
