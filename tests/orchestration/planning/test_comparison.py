"""All allocators side by side: alike charged, judged on other problems than they learn from, oracles above them."""

from __future__ import annotations

import pytest

from actors.errors import UserError
from orchestration.planning.comparison import AtBudget, compare, usual_budgets
from tests.support.pools import OFFER, made_pools

POOLS = made_pools(60, seed=4, samples=8)


@pytest.fixture(scope="module")
def found() -> AtBudget:
    [one] = compare(POOLS, OFFER, [400.0], known=made_pools(60, seed=5, samples=8), orders=1)
    return one


def test_nobody_spends_more_than_there_is(found: AtBudget) -> None:
    assert {row.budget for row in found.rows} == {400.0 * len(POOLS)}
    assert all(0 < row.used <= 1 for row in found.rows)
    assert len({row.name for row in found.rows}) == len(found.rows) > 12
    assert found.best.name == "one price"


def test_who_knows_more_gets_more(found: AtBudget) -> None:
    best = max(row.accuracy.mean for row in found.rows)
    assert found.bounds.at_success > best
    assert found.bounds.clairvoyant >= best
    assert found.bounds.static.low <= found.bounds.static.high
    assert 0 < found.bounds.by_oracle_bins.mean < 1


def test_halves_of_one_run_judge_what_the_others_taught() -> None:
    heard: list[tuple[str, int, int]] = []
    [one] = compare(POOLS, OFFER, [250.0], orders=1, tell=lambda *said: heard.append(said))
    assert all(len(row.right) == len(POOLS) for row in one.rows)
    assert all(done < of for _, done, of in heard)
    assert len(heard) == 2 + len(one.rows) + 1


def test_a_budget_that_pays_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"budgets = 1\.0: it pays no sample of 60 problems"):
        compare(POOLS, OFFER, [1.0], orders=1)


def test_usual_budgets_are_what_numbers_of_samples_cost() -> None:
    one, two, four = usual_budgets(POOLS, OFFER)
    assert one < two < four
    assert four == pytest.approx(4 * one, rel=0.15)
