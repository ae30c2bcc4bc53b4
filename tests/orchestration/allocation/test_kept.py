"""After a search the likelier of two answers stands: the one that it found, or the one before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from orchestration.allocation.evidence import Evidence, Pile
from orchestration.allocation.fitting import Seen, Trace, fit_table
from orchestration.allocation.price import Chooser
from orchestration.allocation.value_table import START, Offer
from orchestration.allocation.walk import Walk
from orchestration.planning.bench import Bench
from tests.support.pools import SEARCHES, made_pools

OFFER = Offer((1,), ("search",))


def seen(best: float, right: bool, *, same: bool | None = None) -> Seen:
    return Seen(Evidence(1, (Pile(1, best, best),), same=same), right, 100)


def traces() -> list[Trace]:
    """A first sample tells by its score how likely it is right; a search is right four times in ten whatever it says."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(200):
        chance = float(rng.choice([0.05, 0.95]))
        first, search = rng.random() < chance, rng.random() < 0.4
        moves = {
            (START, "1"): seen(chance, first),
            (START, "search"): seen(0.5, search),
            ("1", "search"): seen(0.5, search, same=False),
        }
        found.append(Trace(f"p{number}", moves))
    return found


TABLE = fit_table(OFFER, traces())


def test_a_search_that_finds_a_less_likely_answer_replaces_none() -> None:
    low, high = (replace(seen(0.5, True, same=False).evidence, before=chance) for chance in (0.05, 0.95))
    assert TABLE.keeps("search", high)
    assert not TABLE.keeps("search", low)
    assert not TABLE.keeps("search", replace(low, same=None, before=None))
    assert TABLE.chance(TABLE.state("search", high)) > 0.85
    assert TABLE.chance(TABLE.state("search", low)) < 0.6


def test_a_move_is_worth_what_stands_after_it() -> None:
    """Who is nearly sure gains nothing by a search, and loses nothing either."""
    move = next(one for one in TABLE.moves if (one.source, one.target) == ("1", "search"))
    after = [sum(a * b for a, b in zip(row, TABLE.stage("search").right, strict=True)) for row in move.leads]
    now = TABLE.stage("1").right
    assert after[-1] > now[-1] - 0.1
    assert after[0] > now[0] + 0.2


def test_a_walk_says_whether_the_answer_before_still_stands() -> None:
    for best, kept in ((0.95, True), (0.05, False)):
        walk = Walk(Chooser(TABLE))
        walk.decide(1e-9)
        assert not walk.arrive(seen(best, True).evidence, 100)
        if walk.decide(0.0).option == "search":
            assert walk.arrive(seen(0.5, True, same=False).evidence, 100) is kept


def test_a_bench_goes_back_to_an_answer_and_the_search_stays_paid() -> None:
    bench = Bench(made_pools(3), 1e9, seed=0)
    bench.draw(0, 4)
    before, spent = bench.standing(0), bench.spent
    stood = bench.stood(0)
    assert bench.search(0, SEARCHES[0])
    bench.go_back(0, stood)
    assert bench.standing(0) == before
    assert bench.spent == spent + 350
    assert not bench.judge().searched.any()
