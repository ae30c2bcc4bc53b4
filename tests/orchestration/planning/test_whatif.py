"""What another budget or price would buy, told from stored samples."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from orchestration.allocation.value_table import Offer
from orchestration.analysis.statistics import mean_interval
from orchestration.planning.bench import MAJORITY
from orchestration.planning.whatif import Question, mean_of_others, of_another_run
from tests.support.pools import OFFER, made_pools
from tests.support.whatif_trial import Trial, trials

ASKED = Question(made_pools(100, seed=3), OFFER, orders=1)


def test_more_money_buys_more_until_it_buys_nothing() -> None:
    tables = ASKED.tables()
    few, more, all_of_it = (ASKED.with_budget(tables, each) for each in (150.0, 450.0, 50_000.0))
    assert few.accuracy.mean < more.accuracy.mean <= all_of_it.accuracy.high
    assert few.accuracy.low < few.accuracy.mean < few.accuracy.high
    assert few.spent <= 150.0
    assert more.spent <= 450.0
    assert all_of_it.spent < 5_000.0
    assert few.samples < more.samples


def test_another_list_of_strategies_and_another_vote_are_another_curve() -> None:
    plain = replace(ASKED, offer=Offer(OFFER.samples))
    votes = replace(plain, counting=MAJORITY)
    offered, without, counted = (
        one.with_budget(one.tables(), 400.0).accuracy.mean for one in (ASKED, plain, votes)
    )
    assert offered > without - 0.05
    assert without > counted


def test_a_price_and_the_budget_that_it_spends_buy_the_same() -> None:
    tables = ASKED.tables()
    dear, cheap = (ASKED.at_price(tables, price) for price in (2e-3, 2e-4))
    assert dear.spent < cheap.spent
    assert dear.accuracy.mean < cheap.accuracy.mean
    again = ASKED.with_budget(tables, cheap.spent)
    assert again.spent == pytest.approx(cheap.spent, rel=0.1)
    assert again.accuracy.mean == pytest.approx(cheap.accuracy.mean, abs=0.05)


def test_the_same_for_each_is_a_point_for_every_number_of_samples() -> None:
    points = ASKED.uniform()
    assert [one.samples for one in points] == [1, 2, 4, 8]
    assert all(a.spent < b.spent for a, b in itertools.pairwise(points))


def test_what_came_with_other_draws_lies_within_what_was_told() -> None:
    """Half of each problem's samples tell, the others are what came: in nine of ten settings within the interval, which is as
    wide as one draw of so many problems makes it."""
    found: list[Trial] = []
    for seed in range(20, 25):
        whole = made_pools(100, seed=seed)
        told, came = (
            [replace(pool, samples=pool.samples[half]) for pool in whole] for half in (slice(8), slice(8, 16))
        )
        found += trials(Question(told, Offer((1, 2, 4)), orders=2), came, [130.0, 220.0, 350.0])
    assert len(found) == 15
    assert sum(one.within for one in found) >= 14
    assert max(one.width for one in found) < 0.2


def test_an_interval_of_others_is_that_of_one_draw_in_however_many_orders_it_was_told() -> None:
    hits = np.arange(100) < 30
    once, often = mean_of_others(hits.astype(np.float64)), mean_of_others(np.full(100, 0.3))
    assert once == often == mean_interval(hits)
    assert mean_of_others(np.full(100, 0.302)).mean == pytest.approx(0.302)
    assert mean_of_others(np.ones(50)).high == 1.0


@pytest.mark.parametrize("used", [0.1, 1.0])
def test_an_interval_of_another_run_holds_what_another_run_shows(used: float) -> None:
    """Problems with chances of their own: what was told comes from so many draws each, the other run from one."""
    rng = np.random.default_rng(0)
    within, widths, others = [], [], []
    for _ in range(300):
        chances = rng.beta(0.4, 0.4, 400)
        told = rng.binomial(round(1 / used), chances) * used
        rates = rng.binomial(32, chances) / 32
        found = of_another_run(told, rates, used)
        within.append(found.low <= (rng.random(400) < chances).mean() <= found.high)
        widths.append(found.high - found.low)
        others.append(mean_of_others(told).high - mean_of_others(told).low)
    assert 0.91 <= np.mean(within) <= 0.99
    # Problems are as hard as they are: many draws of each say more of them than one.
    assert np.mean(widths) < (0.8 if used < 1 else 1.02) * np.mean(others)


def test_an_interval_has_a_width_where_all_agree() -> None:
    found = of_another_run(np.ones(60), np.ones(60), 1.0)
    assert found.low < 1.0 == found.mean == found.high
