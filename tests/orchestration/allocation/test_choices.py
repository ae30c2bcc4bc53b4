"""What to do in each state at a price, held against every rule there is and against a linear program."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from orchestration.allocation.choices import STOP, Solver, arrays_of, reserve_prices
from orchestration.allocation.price import clear
from orchestration.allocation.value_table import START, Offer, ValueTable
from tests.support.value_tables import halving_table, made_table

SMALL = Offer((1, 2), ("search",))
LARGE = Offer((1, 2, 4, 8), ("first", "second"))
JUDGING = Offer((1, 2, 4), ("search",), prompt=True)
seeds = st.integers(0, 10_000)


def of_rule(table: ValueTable, rule: dict[int, int]) -> tuple[float, float]:
    """FLOPs and chance to be right of a prompt that does in each state what the rule says."""
    arrays = arrays_of(table)

    def go(state: int) -> tuple[float, float]:
        if rule.get(state, STOP) == STOP:
            return 0.0, table.chance(state)
        step = arrays[rule[state]]
        flops, right = float(step.flops[state - step.source]), 0.0
        for cell, chance in enumerate(step.leads[state - step.source]):
            more, better = go(step.target + cell)
            flops, right = flops + chance * more, right + chance * better
        return flops, right

    return go(0)


def all_rules(table: ValueTable) -> list[tuple[float, float]]:
    """FLOPs and chance of every deterministic rule."""
    choices = []
    for state in range(table.states):
        stage, _ = table.of(state)
        choices.append([STOP, *(n for n, move in enumerate(table.moves) if move.source == stage.name)])
    return [of_rule(table, dict(enumerate(rule))) for rule in itertools.product(*choices)]


def mixed(table: ValueTable, budget: float, *, floor: bool = False) -> tuple[float, float]:
    """FLOPs and chance of one prompt at the price that a budget makes."""
    solver = Solver(table, floor=floor)
    waiting = np.zeros(table.states)
    waiting[0] = 1.0
    price = clear(solver, waiting, budget)
    solved = solver.solve(np.array([price.low, price.high]))
    shares = np.array([price.share, 1 - price.share])
    return float(solved.spent[0] @ shares), float(solved.right[0] @ shares)


@settings(max_examples=15)
@given(seeds, st.floats(0.05, 30))
def test_no_mixture_of_rules_beats_the_price(seed: int, budget: float) -> None:
    """Every rule of a small table, and every mixture of two of them: what a budget can buy at all."""
    table = made_table(seed, SMALL, cells=2)
    rules = np.array(all_rules(table))
    within = rules[rules[:, 0] <= budget]
    best = within[:, 1].max()
    top = within[within[:, 1].argsort()][-40:]
    dear = rules[rules[:, 0] > budget]
    for flops, right in top:
        share = (budget - flops) / (dear[:, 0] - flops)
        best = max(best, float((right + share * (dear[:, 1] - right)).max(initial=0.0)))
    spent, right = mixed(table, budget)
    assert spent <= budget * (1 + 1e-6)
    assert right >= best - 1e-6


def linear_program(table: ValueTable, budget: float) -> float:
    """The most that a budget for one prompt can buy, over all ways of mixing, by flows through the states."""
    arrays = arrays_of(table)
    columns = [
        (n, state) for n, step in enumerate(arrays) for state in range(step.here.start, step.here.stop)
    ]
    columns += [(STOP, state) for state in range(table.states)]
    gain, cost = np.zeros(len(columns)), np.zeros(len(columns))
    balance = np.zeros((table.states, len(columns)))
    for at, (number, state) in enumerate(columns):
        balance[state, at] += 1.0
        if number == STOP:
            gain[at] = table.chance(state)
            continue
        step = arrays[number]
        cost[at] = step.flops[state - step.source]
        balance[step.there, at] -= step.leads[state - step.source]
    begun = np.zeros(table.states)
    begun[0] = 1.0
    found = linprog(-gain, A_ub=cost[None], b_ub=[budget], A_eq=balance, b_eq=begun, method="highs")
    return -float(found.fun)


@settings(max_examples=25)
@given(seeds, st.floats(0.05, 60), st.sampled_from([LARGE, JUDGING]))
def test_the_price_buys_what_a_linear_program_buys(seed: int, budget: float, offer: Offer) -> None:
    table = made_table(seed, offer)
    spent, right = mixed(table, budget)
    assert spent <= budget * (1 + 1e-6)
    assert abs(right - linear_program(table, budget)) < 1e-6


@settings(max_examples=25)
@given(seeds)
def test_the_value_falls_with_the_price_and_its_slope_is_what_is_spent(seed: int) -> None:
    solver = Solver(made_table(seed, LARGE), floor=False)
    prices = np.linspace(0.0, 0.2, 200)
    solved = solver.solve(prices)
    assert (np.diff(solved.value, axis=1) <= 1e-12).all()
    assert (np.diff(solved.spent, axis=1) <= 1e-9).all()
    np.testing.assert_allclose(solved.value, solved.right - prices * solved.spent, atol=1e-9)
    assert (solved.value >= solved.value[:, -1:]).all()


@settings(max_examples=15)
@given(seeds)
def test_a_state_goes_on_below_its_reserve_price_alone(seed: int) -> None:
    solver = Solver(made_table(seed, LARGE), floor=False)
    for state, reserve in enumerate(reserve_prices(solver).tolist()):
        around = solver.solve(np.array([reserve * 0.999, reserve * 1.2 + 1e-9])).choice[state]
        assert (around[0] != STOP) == (reserve > 0)
        assert around[1] == STOP


def test_where_everything_is_affordable_the_price_is_zero_and_nothing_useful_is_left() -> None:
    spent, right = mixed(made_table(3, LARGE), 1e9)
    _, best = mixed(made_table(3, LARGE), 1e8)
    assert spent < 1e8
    assert right == best


def test_a_floor_takes_the_first_sample_whatever_it_costs() -> None:
    table = halving_table()
    solver = Solver(table, floor=True)
    high, _ = solver.bounds()
    solved = solver.solve(np.array([high]))
    assert table.moves[solved.choice[0, 0]].target == "1"
    assert (solved.choice[1:, 0] == STOP).all()
    assert Solver(table, floor=False).solve(np.array([high])).choice[0, 0] == STOP


def test_a_floor_leaves_it_open_what_a_prompt_begins_with() -> None:
    """At a high price the cheapest there is, which may be another thing than a sample; never nothing."""
    table = made_table(1, SMALL)
    moves = [
        replace(move, flops=tuple(1.0 for _ in move.flops))
        if (move.source, move.target) == (START, "search")
        else move
        for move in table.moves
    ]
    solver = Solver(ValueTable(table.stages, tuple(moves)), floor=True)
    solved = solver.solve(np.array([solver.bounds()[0]]))
    cells = table.stage(START).cells
    assert {moves[choice].target for choice in solved.choice[:cells, 0]} == {"search"}
    assert (solved.choice[cells:, 0] == STOP).all()


@settings(max_examples=15)
@given(seeds)
def test_with_a_floor_a_prompt_may_be_judged_before_its_sample_and_is_never_left_without(seed: int) -> None:
    table = made_table(seed, JUDGING)
    solver = Solver(table, floor=True)
    prices = np.append(0.0, np.geomspace(1e-6, solver.bounds()[0], 40))
    choice = solver.solve(prices).choice
    assert (choice[: table.undrawn] != STOP).all()


def test_hopeless_and_finished_prompts_both_stop_before_those_between() -> None:
    """Of three kinds of prompts the price leaves those alone that are right, or never will be."""
    table = halving_table()
    reserve = reserve_prices(Solver(table, floor=True))
    late = table.starts[table.place("16")]
    hopeless, between, finished = reserve[late], reserve[late + 1 : late + 3].min(), reserve[late + 3]
    assert between > hopeless
    assert between > finished
