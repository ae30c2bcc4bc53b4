"""The allocator of a run with one price, held against the ledger."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.ledger import Ledger
from actors.strategy import Prompt
from actors.work import Allocator, Task
from orchestration.allocation.courses import Course
from orchestration.allocation.price import GlobalPrice
from orchestration.allocation.priced import Priced
from tests.support.value_tables import halving_table

TABLE = halving_table()
ONE = TABLE.starts[TABLE.place("1")]


def task(number: int) -> Task:
    return Task(f"t{number}", Prompt(f"p{number}", (1,)), (), (), 0)


def priced(budget: int, prompts: int, *, floor: bool = True) -> Priced:
    return Priced(1_500, GlobalPrice(TABLE, budget=budget, prompts=prompts, floor=floor))


def test_first_samples_of_prompts_to_come_are_nobody_elses() -> None:
    """Ten prompts to come, a thousand FLOPs each: of twelve thousand free ones two are for further samples."""
    allocator = priced(20_000, 10)
    assert allocator.refill(task(0), asked=2_000, held=1_500, free=12_000) == 2_000
    assert allocator.refill(task(0), asked=2_001, held=1_500, free=12_000) is None
    for number in range(9):
        allocator.ended(Course((0, ONE + number % 4), (1_000,)))
    assert allocator.refill(task(0), asked=2_001, held=1_500, free=12_000) == 2_001
    assert priced(20_000, 10, floor=False).refill(task(0), 12_000, 0, 12_000) == 12_000


def test_where_there_is_plenty_a_task_gets_as_much_again() -> None:
    assert priced(10**9, 10).refill(task(0), asked=10, held=3_000, free=10**8) == 3_000


def test_a_tasks_price_is_its_own_and_stands_still_between_solutions() -> None:
    allocator = priced(1_500 * 200, 200)
    before = [allocator.price_of(task(number)) for number in range(50)]
    assert before == [allocator.price_of(task(number)) for number in range(50)]
    assert set(before) <= {allocator.price.price.low, allocator.price.price.high}


@settings(max_examples=30, deadline=None)
@given(st.integers(1_500, 60_000), st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9_000)), max_size=60))
def test_a_ledger_that_grants_what_it_says_is_never_overdrawn(
    budget: int, asks: list[tuple[int, int]]
) -> None:
    allocator: Allocator = priced(budget, 10)
    ledger = Ledger(budget)
    for number in range(10):
        ledger.grant(number, allocator.first_grant(task(number), ledger.free))
    held = dict.fromkeys(range(10), 1_500)
    for number, asked in asks:
        amount = allocator.refill(task(number), asked, held[number], ledger.free)
        if amount is not None:
            assert amount >= asked
            assert ledger.grant(number, amount)
            held[number] += amount
        assert ledger.free >= 0
