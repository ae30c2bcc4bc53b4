"""What another budget would buy, told from stored samples."""

from __future__ import annotations

from orchestration.allocation.value_table import Offer
from orchestration.planning.bench import MAJORITY
from orchestration.planning.whatif import what_if
from tests.support.pools import OFFER, made_pools

POOLS = made_pools(100, seed=3)


def test_more_money_buys_more_until_it_buys_nothing() -> None:
    few, more, all_of_it = what_if(POOLS, OFFER, [150.0, 450.0, 50_000.0], orders=1)
    assert few.accuracy.mean < more.accuracy.mean <= all_of_it.accuracy.high
    assert few.accuracy.low < few.accuracy.mean < few.accuracy.high
    assert few.spent <= 150.0
    assert more.spent <= 450.0
    assert all_of_it.spent < 5_000.0
    assert few.samples < more.samples


def test_another_list_of_strategies_and_another_vote_are_another_curve() -> None:
    offered, plain = (what_if(POOLS, one, [400.0], orders=1)[0] for one in (OFFER, Offer(OFFER.samples)))
    votes = what_if(POOLS, Offer(OFFER.samples), [400.0], orders=1, counting=MAJORITY)[0]
    assert offered.accuracy.mean > plain.accuracy.mean - 0.05
    assert plain.accuracy.mean > votes.accuracy.mean
