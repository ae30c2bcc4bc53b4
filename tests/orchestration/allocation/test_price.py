"""One price for all prompts: solved as they go, within the budget, by cells and not by prompts."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.allocation.choices import STOP, Solver, arrays_of
from orchestration.allocation.courses import Course, Courses
from orchestration.allocation.price import Chooser, GlobalPrice, Price, clear, lot_of
from orchestration.allocation.value_table import START, Move, Offer, ValueTable
from tests.support.crowd import Crowd, optimum
from tests.support.value_tables import halving_table, made_table

OFFER = Offer((1, 2, 4), ("search",))
TABLE = halving_table()


@pytest.mark.parametrize("each", [700, 1_500, 4_000])
def test_a_crowd_gets_within_a_percent_of_the_optimum_and_the_budget_is_used(each: int) -> None:
    """The price is solved as prompts come, from a table that is right; one cannot do better than the linear program by more
    than chance. (`tests.benchmarks.price` does the same with a million.)"""
    prompts = 10_000
    budget = each * prompts
    told = Crowd(TABLE, GlobalPrice(TABLE, budget=budget, prompts=prompts), budget, prompts).run()
    assert 0.98 <= told.used <= 1.0
    assert told.right >= 0.99 * optimum(TABLE, budget, prompts)
    assert told.right <= 1.02 * optimum(TABLE, budget, prompts)


def skewed(table: ValueTable) -> ValueTable:
    """The same table, but its samples cost half as much again, and it believes that they show nothing new in the first
    two."""
    moves = [
        Move(m.source, m.target, tuple(f / 1.5 for f in m.flops), tuple((0.25,) * 4 for _ in m.leads))
        if m.target in ("1", "2")
        else Move(m.source, m.target, tuple(f / 1.5 for f in m.flops), m.leads)
        for m in table.moves
    ]
    return ValueTable(table.stages, tuple(moves))


def test_a_table_that_is_wrong_about_costs_and_ways_still_uses_the_budget() -> None:
    prompts, each = 10_000, 2_000
    told = Crowd(
        TABLE, GlobalPrice(skewed(TABLE), budget=each * prompts, prompts=prompts), each * prompts, prompts
    ).run()
    assert 0.98 <= told.used <= 1.0
    assert told.right >= 0.97 * optimum(TABLE, each * prompts, prompts)


def test_without_knowing_how_many_come_a_rate_is_kept() -> None:
    prompts, each = 10_000, 2_000
    price = GlobalPrice(TABLE, rate=float(each))
    crowd = Crowd(TABLE, price, each * prompts, prompts)
    price.take_up = lambda: []  # type: ignore[method-assign] -- the stream alone
    told = crowd.run()
    assert 0.95 <= told.used <= 1.0
    assert told.right >= 0.985 * optimum(TABLE, each * prompts, prompts)


def test_once_the_stream_ends_what_is_left_takes_stopped_prompts_up_the_best_first() -> None:
    price = GlobalPrice(TABLE, rate=1_000.0)
    one = TABLE.starts[TABLE.place("1")]
    for number in range(400):
        price.end(Course((0, one + number % 4), (1_000,)))
    assert price.waiting[one:].sum() == 0
    price = GlobalPrice(TABLE, budget=600_000, prompts=400)
    for number in range(400):
        price.end(Course((0, one + number % 4), (1_000,)))
    assert price.take_up()[0] == one
    assert price.left == 200_000


def test_the_price_needs_no_more_memory_for_more_prompts() -> None:
    def size(prompts: int) -> int:
        price = GlobalPrice(TABLE, budget=prompts * 1_500, prompts=prompts)
        Crowd(TABLE, price, prompts * 1_500, prompts).run()
        return sum(
            array.nbytes for array in (*price.courses._leads, *price.courses._flops, price.courses.stopped)
        ) + sys.getsizeof(price.chooser._solved)

    assert size(4_000) == size(400)


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.integers(1, 5), st.data())
def test_shards_need_to_share_one_number(seed: int, shards: int, data: st.DataObject) -> None:
    """Counts of shards, heard in any order, make the price that one scheduler would have."""
    table = made_table(seed, OFFER)
    courses = [data.draw(a_course(table)) for _ in range(data.draw(st.integers(0, 40)))]
    alone = GlobalPrice(table, budget=2_000, prompts=200, every=10_000)
    together = GlobalPrice(table, budget=2_000, prompts=200, every=10_000)
    counts = [Courses(table) for _ in range(shards)]
    for number, course in enumerate(courses):
        alone.end(course)
        counts[number % shards].add(course)
    for one in data.draw(st.permutations(counts)):
        together.hear(one)
    assert together.left == alone.left
    np.testing.assert_allclose([*vars_of(together.solve())], [*vars_of(alone.solve())], rtol=1e-6, atol=1e-9)


def vars_of(price: Price) -> tuple[float, float, float]:
    return price.low, price.high, price.share


@st.composite
def a_course(draw: st.DrawFn, table: ValueTable) -> Course:
    state, states, flops = 0, [0], []
    arrays = arrays_of(table)
    while True:
        stage, _ = table.of(state)
        numbers = [n for n, move in enumerate(table.moves) if move.source == stage.name]
        if not numbers or draw(st.booleans()):
            return Course(tuple(states), tuple(flops))
        step = arrays[draw(st.sampled_from(numbers))]
        state = draw(st.integers(step.there.start, step.there.stop - 1))
        states.append(state)
        flops.append(draw(st.integers(1, 20)))


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.floats(1, 4_000))
def test_what_is_expected_to_be_spent_is_what_is_left(seed: int, left: float) -> None:
    table = made_table(seed, OFFER)
    solver = Solver(table, floor=False)
    waiting = np.random.default_rng(seed).integers(0, 50, table.states).astype(float)
    price = clear(solver, waiting, left)
    low, high = waiting @ solver.solve(np.array([price.low, price.high])).spent
    assert high <= left * (1 + 1e-9)
    if price.low > 0 and price.share > 0:
        assert price.share * low + (1 - price.share) * high == pytest.approx(left, rel=1e-6)


def test_more_money_never_makes_a_higher_price() -> None:
    prices = [GlobalPrice(TABLE, budget=b * 1_000, prompts=1_000).price.high for b in range(500, 9_000, 500)]
    assert prices == sorted(prices, reverse=True)
    assert prices[-1] < prices[0]


def test_a_resume_that_knows_the_price_repeats_the_choice() -> None:
    """A choice follows from the state and the price paid, so the price on record is enough."""
    price = GlobalPrice(TABLE, budget=2_000_000, prompts=1_000)
    for state in range(TABLE.states):
        said = price.decide(state, lot_of(0, f"p{state}"))
        assert Chooser(TABLE).decide(state, said.price) == said


def test_a_lot_is_a_prompts_own_and_new_each_time_it_is_taken_up() -> None:
    lots = [lot_of(0, f"p{i}") for i in range(2_000)]
    assert 0.45 < np.mean(lots) < 0.55
    assert min(lots) >= 0
    assert max(lots) < 1
    assert lot_of(0, "p1") == lots[1]
    assert lot_of(0, "p1", 1) != lots[1]


def test_a_prompt_that_leaves_frees_its_share() -> None:
    tight = GlobalPrice(TABLE, budget=1_500_000, prompts=1_000)
    before = tight.price.high
    tight.leave(400)
    assert tight.solve().high < before


def test_why_a_prompt_got_what_it_got_can_be_read() -> None:
    one = TABLE.starts[TABLE.place("1")]
    high = Solver(TABLE, floor=True).bounds()[0]
    stopped = Chooser(TABLE).decide(one, high)
    assert (stopped.stage, stopped.cell, stopped.option, stopped.gain) == ("1", 0, None, 0.0)
    went = Chooser(TABLE).decide(one, 1e-6)
    assert went.option == "2"
    assert went.gain > 0
    assert went.chance == TABLE.stage("1").right[0]


def test_a_price_without_a_budget_or_a_rate_is_refused() -> None:
    for words in ({}, {"budget": 10}, {"budget": 10, "prompts": 2, "rate": 1.0}):
        with pytest.raises(ValueError, match="budget and the number"):
            GlobalPrice(TABLE, **words)  # type: ignore[arg-type]


def test_a_floor_that_the_budget_cannot_pay_serves_as_many_as_it_can() -> None:
    prompts = 1_000
    told = Crowd(TABLE, GlobalPrice(TABLE, budget=600_000, prompts=prompts), 600_000, prompts).run()
    assert told.used <= 1.0
    assert 390 <= told.unpaid <= 430
    assert Solver(TABLE, floor=True).solve(np.array([told.price])).choice[1:].max() == STOP
    assert TABLE.stage(START).right == (0.0,)
