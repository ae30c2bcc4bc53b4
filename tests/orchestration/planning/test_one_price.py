"""The global price over stored samples, by the objects of a live run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.allocation.evidence import Evidence
from orchestration.allocation.fitting import fit_table, folds
from orchestration.allocation.price import Chooser
from orchestration.allocation.walk import Walk
from orchestration.planning.baselines.uniform import Uniform
from orchestration.planning.bench import Bench
from orchestration.planning.curves import curves_of
from orchestration.planning.one_price import OnePrice
from orchestration.planning.replay import crossed, replay
from orchestration.planning.tracing import traces_of
from tests.support.pools import OFFER, PROMPTED, judged, made_pools, relabelled

KNOWN = made_pools(150, seed=1)
JUDGED = made_pools(150, seed=2)
TABLE = fit_table(OFFER, traces_of(KNOWN, OFFER, orders=2, seed=0))
TOLD = fit_table(PROMPTED, traces_of(judged(KNOWN), PROMPTED, orders=2, seed=0))


@pytest.mark.parametrize("each", [140.0, 220.0, 500.0])
def test_a_price_beats_the_best_single_strategy_within_the_same_budget(each: float) -> None:
    """On problems that had no part in its table; the budget is used, and not overspent."""
    uniform = Uniform(curves_of(KNOWN, OFFER.samples, OFFER.searches, orders=2, seed=0).ladder())
    mine = replay(JUDGED, OnePrice(TABLE), each * len(JUDGED), orders=3)
    theirs = replay(JUDGED, uniform, each * len(JUDGED), orders=3)
    assert mine.better_than(theirs).mean > 0
    assert 0.94 <= mine.used <= 1.0
    assert mine.unpaid < 0.02


def test_swapped_labels_change_no_choice() -> None:
    rules = [OnePrice(TABLE) for _ in range(2)]
    first, second = (
        replay(pools, rule, 200.0 * len(JUDGED), orders=1)
        for pools, rule in zip((JUDGED, relabelled(JUDGED)), rules, strict=True)
    )
    assert first.flops.tolist() == second.flops.tolist()
    assert (first.right + second.right)[first.samples > 0].max() == 1.0
    assert [[w.decisions for w in walks] for walks in rules[0].walks.values()] == [
        [w.decisions for w in walks] for walks in rules[1].walks.values()
    ]


def test_a_walk_that_is_handed_the_same_evidence_and_prices_decides_the_same() -> None:
    """What a replica does live: it has a chooser, the price of the moment and what it sees, and nothing else."""
    rule = OnePrice(TABLE)
    bench = Bench(JUDGED, 220.0 * len(JUDGED), seed=0)
    rule.allocate(bench)
    chooser = Chooser(TABLE)
    again = Bench(JUDGED, float("inf"), seed=0)
    compared = 0
    for prompt in range(len(again)):
        first = rule.walks[again.name(prompt)][0]
        walk = Walk(chooser)
        for said in first.decisions:
            now = walk.decide(said.price)
            assert now == replace(said, flops=0)
            if now.option is None or len(walk.course.states) == len(first.course.states):
                break
            before = again.spent
            if now.option in OFFER.searches:
                assert again.search(prompt, now.option)
            else:
                again.draw(prompt, int(now.option) - again.drawn(prompt))
            walk.arrive(again.standing(prompt).evidence, again.spent - before)
            compared += 1
        assert walk.course.states == first.course.states
        assert walk.course.flops == first.course.flops
    assert compared > len(JUDGED)


@settings(max_examples=15)
@given(st.floats(1.0, 3_000.0), st.integers(0, 100), st.booleans(), st.booleans())
def test_no_budget_is_overspent_and_the_books_agree(each: float, seed: int, floor: bool, told: bool) -> None:
    pools = judged(JUDGED[:30])
    rule = OnePrice(TOLD, floor=floor) if told else OnePrice(TABLE, floor=floor)
    bench = Bench(pools, each * len(pools), seed=seed)
    rule.allocate(bench)
    ended = bench.judge()
    assert ended.spent <= ended.budget
    assert sum(walk.course.spent for walks in rule.walks.values() for walk in walks) == bench.spent


def test_sure_prompts_stop_early_and_those_between_get_more() -> None:
    result = replay(JUDGED, OnePrice(TABLE), 260.0 * len(JUDGED), orders=4)
    rates = np.array([pool.rate for pool in JUDGED])
    between = result.flops[(rates > 0.25) & (rates < 0.75)].mean()
    assert between > 1.3 * result.flops[rates > 0.95].mean()


def test_by_the_prompts_value_hopeless_prompts_get_nothing_and_easy_ones_one_sample() -> None:
    """Where no sample is for free: what the verifier says of a prompt is paid, and saves more than it took."""
    pools, budget = judged(JUDGED), 80.0 * len(JUDGED)
    mine = replay(pools, OnePrice(TOLD, floor=False), budget, orders=4)
    rates, told = (np.array(each) for each in zip(*((p.rate, p.prompt.value) for p in pools), strict=True))
    low, high = told <= np.quantile(told, 0.15), told >= np.quantile(told, 0.85)
    assert rates[low].mean() < 0.1
    assert mine.samples[low].mean() < 0.2
    assert set(mine.flops[mine.samples == 0].tolist()) <= {0.0, 5.0, 10.0, 15.0, 20.0}
    assert 0.9 <= mine.samples[high].mean() < 1.3
    blind = replay(JUDGED, OnePrice(TABLE, floor=False), budget, orders=4)
    assert mine.better_than(blind).mean > 0.02


def test_it_is_asked_where_that_is_worth_its_price() -> None:
    """A budget of one sample for each leaves nothing to choose, and nothing is paid for a choice."""
    rule = OnePrice(TOLD)
    tight = replay(judged(JUDGED), rule, 100.0 * len(JUDGED), orders=1)
    asked = [any(one.option == "prompt" for one in walks[0].decisions) for walks in rule.walks.values()]
    assert sum(asked) < 0.1 * len(JUDGED)
    assert tight.unpaid <= replay(JUDGED, OnePrice(TABLE), 100.0 * len(JUDGED), orders=1).unpaid
    rule = OnePrice(TOLD)
    ample = replay(judged(JUDGED), rule, 200.0 * len(JUDGED), orders=1)
    asked = [any(one.option == "prompt" for one in walks[0].decisions) for walks in rule.walks.values()]
    assert sum(asked) > 0.9 * len(JUDGED)
    assert ample.unpaid == 0.0
    assert 0.94 <= ample.used <= 1.0


def test_every_prompt_gets_one_sample_before_any_gets_more_than_its_share() -> None:
    worst = Bench(JUDGED, 1.0, seed=0).worst
    floor = replay(JUDGED, OnePrice(TABLE), 125.0 * len(JUDGED), orders=2)
    assert floor.unpaid * len(JUDGED) <= 2
    tight = replay(JUDGED, OnePrice(TABLE), 60.0 * len(JUDGED), orders=2)
    assert 0.3 < tight.unpaid < 0.6
    assert tight.samples.max() <= 1.0
    assert tight.used >= 1 - worst / (60.0 * len(JUDGED))


def test_a_walk_goes_where_it_decided_and_nowhere_else() -> None:
    walk = Walk(Chooser(TABLE))
    with pytest.raises(ValueError, match="where it decided"):
        walk.arrive(Evidence(1), 10)
    walk.decide(1e-9)
    walk.arrive(Evidence(1), 10)
    high = Chooser(TABLE).solver.bounds()[0]
    assert walk.decide(high).option is None
    with pytest.raises(ValueError, match="where it decided"):
        walk.arrive(Evidence(2), 10)
    walk.cut_short(7)
    assert walk.course.spent == 17
    taken_up = Walk(Chooser(TABLE), state=walk.state)
    assert taken_up.course == replace(walk.course, states=(walk.state,), flops=(), lost=0, again=True)


def test_each_fold_is_judged_by_what_was_made_for_it() -> None:
    pools = KNOWN[:60]
    fold = folds([pool.problem for pool in pools], 2, 0)
    made = [OnePrice(TABLE), OnePrice(TABLE)]
    found = crossed(pools, fold, made, 200.0, orders=1)
    assert len(found.right) == 60
    for one, rule in enumerate(made):
        assert set(rule.walks) == {p.problem for p, at in zip(pools, fold, strict=True) if at == one}
