"""A value table fitted to problems whose answers are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.allocation.evidence import Evidence, Pile
from orchestration.allocation.fitting import calibrate, fit_table, folds
from orchestration.allocation.logistic import fit
from orchestration.allocation.value_table import PROMPT, START, Offer
from tests.support.traces import OFFER, PROMPTED, made_traces, with_prompt


def test_what_a_table_tells_is_what_happens_on_problems_it_has_not_seen() -> None:
    """The chance of a cell is the share that is right there, within noise; so is what a move promises."""
    table = fit_table(OFFER, made_traces(300, seed=1, orders=1))
    judged = made_traces(700, seed=2, orders=1)
    for name in ("1", "4", "8"):
        source = OFFER.stages[OFFER.stages.index(name) - 1]
        cells = [table.stage(name).cell(t.moves[source, name].evidence) for t in judged]
        right = np.array([t.moves[source, name].right for t in judged])
        for cell, chance in enumerate(table.stage(name).right):
            mine = np.array(cells) == cell
            assert abs(right[mine].mean() - chance) < 0.1 + 2 * np.sqrt(0.25 / mine.sum())
    assert table.stage(START).right == (0.0,)
    onward = table.moves[0]
    promised = float(np.dot(onward.leads[0], table.stage("1").right))
    assert abs(promised - np.mean([t.moves[START, "1"].right for t in judged])) < 0.05


def test_cells_are_told_apart_where_there_is_something_to_tell() -> None:
    table = fit_table(OFFER, made_traces(160, orders=1))
    for name in ("1", "2", "4", "8", "beam(n=4)"):
        right = table.stage(name).right
        assert right[-1] - right[0] > 0.3
    assert table.stage("8").right[-1] > 0.85


def test_every_move_costs_what_it_took() -> None:
    table = fit_table(OFFER, made_traces(100))
    flops = {(move.source, move.target): move.flops for move in table.moves}
    assert set(flops["2", "4"]) == {2_000.0}
    assert set(flops["2", "beam(n=16)"]) == {14_000.0}


def test_a_problem_seen_in_more_orders_weighs_no_more() -> None:
    few, many = made_traces(80, orders=1), made_traces(80, orders=1)
    doubled = [*many, *many]
    assert fit_table(OFFER, few).stages[2].problems == pytest.approx(
        fit_table(OFFER, doubled).stages[2].problems, rel=1e-3
    )
    assert sum(fit_table(OFFER, doubled).stage("4").problems) == pytest.approx(80, rel=1e-3)


def test_the_order_of_problems_changes_nothing() -> None:
    traces = made_traces(60)
    one, other = fit_table(OFFER, traces), fit_table(OFFER, traces[::-1])
    for mine, theirs in zip(one.stages, other.stages, strict=True):
        assert mine.right == pytest.approx(theirs.right, abs=0.02)


def test_few_problems_make_few_cells() -> None:
    assert fit_table(OFFER, made_traces(50)).stage("4").cells == 6
    assert fit_table(OFFER, made_traces(20)).stage("4").cells == 2
    assert fit_table(OFFER, made_traces(3)).stage("4").cells == 1


@pytest.mark.parametrize("kind", [True, False])
def test_problems_that_are_all_right_or_all_wrong_still_make_a_table(kind: bool) -> None:
    traces = [
        replace(t, moves={move: replace(seen, right=kind) for move, seen in t.moves.items()})
        for t in made_traces(60)
    ]
    table = fit_table(OFFER, traces)
    assert all(0 <= chance <= 1 for stage in table.stages for chance in stage.right)
    chance = table.stage("8").right[0]
    assert chance > 0.9 if kind else chance < 0.1


def test_prompts_are_in_groups_by_their_value_from_before_anything_is_drawn() -> None:
    """Each group has cells of its own: what is to be gained hangs on the prompt, and not only on how things stand."""
    traces = made_traces(160, orders=1)
    rates = {t.problem: float(np.mean([seen.right for seen in t.moves.values()])) for t in traces}
    middle = float(np.median(list(rates.values())))
    told = {name: 0.1 + 0.8 * (rate > middle) for name, rate in rates.items()}
    table = fit_table(PROMPTED, with_prompt(traces, told))
    assert table.thresholds == (0.5,)
    assert tuple(stage.name for stage in table.stages) == PROMPTED.stages
    assert (table.stage(START).right, table.stage(PROMPT).right) == ((0.0,), (0.0, 0.0))
    hard, easy = (table.cell(PROMPT, Evidence(0, prompt=one)) for one in (0.1, 0.9))
    assert (hard, easy) == (0, 1)
    moves = {(move.source, move.target): move for move in table.moves}
    assert tuple(moves) == PROMPTED.moves
    assert moves[START, PROMPT].flops == (300.0,)
    first = moves[PROMPT, "judged 1"]
    promised = [float(np.dot(row, table.stage("judged 1").right)) for row in first.leads]
    assert promised[easy] - promised[hard] > 0.5
    four = table.stage("judged 4")
    same = traces[0].moves["2", "4"].evidence
    cells = [table.cell("judged 4", replace(same, prompt=one)) for one in (0.1, 0.9)]
    assert [[cell in group for cell in cells] for group in four.groups] == [[True, False], [False, True]]
    assert sum(four.problems) == pytest.approx(160, rel=1e-3)
    # Where the prompt is not judged nothing is known of it, whatever is offered.
    plain = fit_table(OFFER, traces)
    assert [table.stage(name) for name in OFFER.stages] == list(plain.stages)
    assert [moves[move] for move in OFFER.moves] == list(plain.moves)
    assert (table.undrawn, plain.undrawn) == (3, 1)


@pytest.mark.parametrize(("problems", "groups"), [(20, 1), (60, 2), (80, 3)])
def test_few_problems_make_few_groups(problems: int, groups: int) -> None:
    traces = made_traces(problems)
    told = {t.problem: 0.01 * at for at, t in enumerate(traces[::2])}
    table = fit_table(PROMPTED, with_prompt(traces, told))
    assert len(table.thresholds) + 1 == groups == table.stage(PROMPT).cells
    sizes = table.stage(PROMPT).problems
    assert max(sizes) - min(sizes) <= 1
    alike = fit_table(PROMPTED, with_prompt(traces, dict.fromkeys(told, 0.3)))
    assert alike.thresholds == ()


def test_the_calibration_curve_is_told_by_problems_that_were_not_fitted() -> None:
    curve = calibrate(OFFER, made_traces(300, seed=3, orders=1), seed=0)
    assert len(curve) >= 6
    assert sum(one.problems for one in curve) == pytest.approx(300, rel=0.01)
    for one in curve:
        assert abs(one.told - one.right) < 0.06 + 2 * np.sqrt(0.25 / one.problems)
    assert [one.told for one in curve] == sorted(one.told for one in curve)


def test_on_pure_noise_a_table_promises_no_spread() -> None:
    """Problems of one difficulty: what is seen of one tells only of its own samples."""
    curve = calibrate(OFFER, made_traces(240, seed=5, orders=1, pure_noise=True), seed=1)
    worst = max(abs(one.told - one.right) for one in curve if one.problems > 40)
    assert worst < 0.15


def test_a_fold_is_a_problems_own() -> None:
    names = [f"p{i}" for i in range(200)]
    assert folds(names, 2, 0)[:50] == folds(names[:50], 2, 0)
    assert 60 < sum(folds(names, 2, 0)) < 140
    assert folds(names, 2, 0) != folds(names, 2, 1)


def test_without_traces_there_is_no_table() -> None:
    with pytest.raises(ValueError, match="needs traces"):
        fit_table(OFFER, [])


@settings(max_examples=50)
@given(
    st.integers(0, 40),
    st.lists(st.tuples(st.integers(1, 5), st.floats(0, 5), st.floats(0, 1)), max_size=6),
    st.none() | st.booleans(),
    st.none() | st.floats(0, 1),
)
def test_features_are_bounded_whatever_was_seen(
    drawn: int, piles: list[tuple[int, float, float]], same: bool | None, before: float | None
) -> None:
    votes = sum(count for count, _, _ in piles)
    made = tuple(Pile(count, min(weight, count), best) for count, weight, best in piles)
    evidence = Evidence(max(drawn, votes), made, same, before)
    assert all(-5.0 <= value <= 5.0 for value in evidence.features().values())


def test_weights_tell_what_made_the_outcomes() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4_000, 3))
    odds = 1.5 * rows[:, 0] - 0.5 * rows[:, 1] + 0.2
    right = (rng.random(4_000) < 1 / (1 + np.exp(-odds))).astype(float)
    found = fit(("a", "b", "c"), rows, right, np.ones(4_000), penalty=1.0)
    np.testing.assert_allclose(found.weights, (1.5, -0.5, 0.0), atol=0.15)
    assert abs(found.bias - 0.2) < 0.1


def test_outcomes_that_are_told_apart_perfectly_give_finite_weights() -> None:
    rows = np.linspace(-1, 1, 50)[:, None]
    found = fit(("a",), rows, (rows[:, 0] > 0).astype(float), np.ones(50), penalty=1.0)
    assert 0 < found.weights[0] < 100
    flat = fit(("a",), np.ones((10, 1)), np.ones(10), np.ones(10), penalty=1.0)
    assert flat.weights == (0.0,)


@pytest.mark.parametrize("samples", [(), (0, 1), (2, 1), (1, 1)])
def test_numbers_of_samples_rise(samples: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must rise"):
        Offer(samples)
