"""All allocators side by side: alike charged, judged on other problems than they learn from, oracles above them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from actors.errors import UserError
from orchestration.allocation.value_table import Offer
from orchestration.commands.allocator_tables import all_cells, allocators_table, saving_cells, savings_table
from orchestration.planning.comparison import AtBudget, Contest
from orchestration.planning.curves import halved
from orchestration.planning.line_up import BEST_OF_N, FREE, ORACLE, PREDICTED, PRICE, SINGLE
from orchestration.planning.pools import Pool
from orchestration.planning.verdict import MEASURED, Verdict, verdict
from tests.support.pools import SEARCHES, made_pools, relabelled

POOLS = made_pools(60, seed=4, samples=8)
KNOWN = made_pools(60, seed=5, samples=8)
OFFER = Offer((1, 2, 4), SEARCHES)
EACH = 300.0


def held(pools: Sequence[Pool]) -> AtBudget:
    [one] = Contest(pools, OFFER, KNOWN, orders=1).hold([EACH])
    return one


@pytest.fixture(scope="module")
def found() -> AtBudget:
    return held(POOLS)


def test_nobody_spends_more_than_there_is(found: AtBudget) -> None:
    assert {row.budget for row in found.rows.values()} == {EACH * len(POOLS)}
    assert all(0 < row.used <= 1 for row in found.rows.values())
    assert len(found.rows) == 16
    assert all(name == row.name for name, row in found.rows.items())


def test_the_same_for_everyone_uses_the_budget_to_its_end(found: AtBudget) -> None:
    """Or at equal budgets it would be held down by where its steps lie."""
    for name in (BEST_OF_N, SINGLE, PREDICTED):
        assert found.rows[name].used > 0.85, name


def test_who_knows_more_gets_more(found: AtBudget) -> None:
    best = max(row.accuracy.mean for row in found.rows.values())
    assert found.at_success > best
    assert found.clairvoyant >= best
    assert found.static.low <= found.static.high


def test_no_label_of_the_judged_changes_a_choice_but_the_oracles(found: AtBudget) -> None:
    other = held(relabelled(POOLS))
    for name, row in found.rows.items():
        same = row.flops.tolist() == other.rows[name].flops.tolist()
        assert same is (name != ORACLE), name


def test_what_tells_difficulty_for_free_is_drawn_by_nobody(found: AtBudget) -> None:
    """Other samples in the second half change nothing but the choices that are made of them."""
    others = made_pools(60, seed=6, samples=8)
    pools = [
        replace(pool, samples=(*halved(pool, 0).samples, *halved(other, 1).samples))
        for pool, other in zip(POOLS, others, strict=True)
    ]
    again = held(pools)
    for name, row in found.rows.items():
        if name not in (FREE, ORACLE):
            assert row.right.tolist() == again.rows[name].right.tolist(), name


def test_halves_of_one_run_judge_what_the_others_taught() -> None:
    heard: list[tuple[str, int, int]] = []
    contest = Contest(POOLS, OFFER, orders=1)
    few, all_of_them = contest.hold([150.0, 250.0], [250.0], tell=lambda *said: heard.append(said))
    assert all(len(row.right) == len(POOLS) for row in all_of_them.rows.values())
    assert len(few.rows) == len(all_of_them.rows) - 9
    assert all(done <= of for _, done, of in heard)
    assert len(heard) == 2 + len(few.rows) + len(all_of_them.rows) + 2
    for fold in (0, 1):
        learnt = {pool.problem for pool in contest.learnt(fold)}
        judged = {pool.problem for pool, at in zip(POOLS, contest.fold, strict=True) if at == fold}
        assert not learnt & judged


def test_a_budget_that_pays_nothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"budgets = 1\.0: it pays no sample of 60 problems"):
        Contest(POOLS, OFFER, orders=1).hold([1.0])


def test_usual_budgets_are_what_numbers_of_samples_cost() -> None:
    one, two, four = Contest(POOLS, OFFER, orders=1).budgets()
    assert one < two < four
    assert four == pytest.approx(4 * one, rel=0.15)


@pytest.fixture(scope="module")
def told(found: AtBudget) -> Verdict:
    return verdict(Contest(POOLS, OFFER, KNOWN, orders=1), [found], ["N = 2"])


def test_a_verdict_holds_every_figure_with_its_interval(told: Verdict, found: AtBudget) -> None:
    assert [(one.name, one.against) for one in told.savings] == list(MEASURED)
    assert all(one.factor.low <= one.factor.value <= one.factor.high for one in told.savings)
    assert [one.n for one in told.fixed if one.name == BEST_OF_N] == [1, 2, 4, 8]
    assert {one.name for one in told.fixed} == {"majority", BEST_OF_N, *SEARCHES}
    [gap] = told.gaps
    assert gap.low <= gap.value <= gap.high
    assert told.below_single() in ([], ["N = 2"])


def test_tables_for_people_and_programs_hold_the_same(told: Verdict, found: AtBudget) -> None:
    head, cells = all_cells(told)
    assert head == ["allocator", "N = 2"]
    assert [row[0] for row in cells][: len(found.rows)] == list(found.rows)
    table = allocators_table(told).to_pylist()
    mine = next(row for row in table if row["name"] == PRICE)
    assert mine["accuracy"] == found.rows[PRICE].accuracy.mean
    assert f"{100 * mine['accuracy']:.1f}%" in next(row[1] for row in cells if row[0] == PRICE)
    head, cells = saving_cells(told)
    assert len(head) == len(cells[0]) == 2 + len(MEASURED)
    assert len(savings_table(told)) == len(MEASURED) + 1


def test_bins_of_pure_noise_are_worth_nothing() -> None:
    """All problems alike: whoever knows how the other samples came out knows nothing of these."""
    same = made_pools(120, seed=7, samples=8, same=0.5)
    [one] = Contest(same, Offer((1, 2, 4)), made_pools(120, seed=8, samples=8, same=0.5), orders=2).hold(
        [EACH], field_at=()
    )
    gain = one.rows[ORACLE].better_than(one.rows[SINGLE])
    assert gain.low < 0 < gain.high or abs(gain.mean) < 0.03
    assert np.abs(one.static.right.mean() - one.rows[SINGLE].accuracy.mean) < 0.08
