"""What another budget or price would buy, told from stored samples."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from orchestration.allocation.value_table import Offer
from orchestration.planning.bench import MAJORITY
from orchestration.planning.whatif import Question
from tests.support.pools import OFFER, made_pools

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
