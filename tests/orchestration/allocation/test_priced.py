"""The allocator of a run with one price, held against the ledger."""

from __future__ import annotations

import pickle
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.ledger import Ledger
from actors.strategy import Decision, Prompt
from actors.work import Allocator, Cost, Outcome, Pricing, Task
from orchestration.allocation.price import GlobalPrice
from orchestration.allocation.priced import Priced
from tests.support.value_tables import halving_table

TABLE = halving_table()
ONE = TABLE.starts[TABLE.place("1")]


def task(number: int) -> Task:
    return Task(f"t{number}", Prompt(f"p{number}", (1,)), (), (), 0)


def stopped(number: int) -> Outcome:
    """One that had a sample for a thousand FLOPs, and stopped."""
    decisions = (
        Decision("0", 0, 0.0, 1e-5, "1", 0.5, 1_000),
        Decision("1", number % 4, 0.5, 1e-5, None, 0.0),
    )
    cost = Cost()
    return Outcome(
        f"k{number}",
        f"p{number}",
        "",
        0,
        "answered",
        "",
        "4",
        1,
        0,
        0,
        cost,
        cost,
        0.0,
        decisions=decisions,
    )


def priced(budget: int, prompts: int, *, floor: bool = True) -> Priced:
    return Priced(1_500, GlobalPrice(TABLE, budget=budget, prompts=prompts, floor=floor))


def test_first_samples_of_prompts_to_come_are_nobody_elses() -> None:
    """Ten prompts to come, a thousand FLOPs each: of twelve thousand free ones two are for further samples."""
    allocator = priced(20_000, 10)
    assert allocator.refill(task(0), asked=2_000, held=1_500, free=12_000) == 2_000
    assert allocator.refill(task(0), asked=2_001, held=1_500, free=12_000) == 2_000, "what there is"
    assert allocator.refill(task(0), asked=2_001, held=1_500, free=11_400) > 11_400, "it waits"
    for number in range(9):
        allocator.begin(task(number))
    assert allocator.refill(task(0), asked=2_001, held=1_500, free=11_400) == 2_001, (
        "they have theirs in hand"
    )
    for number in range(9):
        allocator.end(task(number), (stopped(number),), 1_000)
    assert allocator.refill(task(0), asked=2_001, held=1_500, free=11_400) == 2_001
    assert priced(20_000, 10, floor=False).refill(task(0), 12_000, 0, 12_000) == 12_000


def test_the_price_hears_of_every_flop_that_the_ledger_is_charged() -> None:
    """Of courses, of what was lost with a replica or failed, and of a start before; one that was quarantined is no prompt."""
    allocator = priced(20_000, 10)
    allocator.resume(4_000, 2)
    assert (allocator.price.left, allocator.price.waiting.sum()) == (16_000, 8)
    allocator.begin(task(0))
    allocator.lose(task(0), 700)
    assert allocator.price.left == 15_300
    allocator.begin(task(0))
    allocator.end(task(0), (stopped(0),), 1_250)
    assert allocator.price.left == 14_050
    assert allocator.price.courses.ended == 1
    allocator.begin(task(1))
    allocator.end(task(1), (replace(stopped(1), decisions=(), state="quarantined"),), 50)
    allocator.end(task(2), (replace(stopped(2), decisions=()),), 0, begun=False)
    assert (allocator.price.left, allocator.price.in_hand) == (14_000, 0)
    assert allocator.price.waiting.sum() == 5 + 1, "the one that stopped may go on"


def test_it_goes_on_in_another_process_whose_memory_may_not_be_written() -> None:
    """As Ray hands it to the scheduler."""
    buffers: list[pickle.PickleBuffer] = []
    packed = pickle.dumps(priced(20_000, 10), protocol=5, buffer_callback=buffers.append)
    allocator = pickle.loads(packed, buffers=[bytes(one) for one in buffers])
    assert buffers
    allocator.begin(task(0))
    allocator.end(task(0), (stopped(0),), 1_000)
    assert (allocator.price.courses.ended, allocator.price.left) == (1, 19_000)
    allocator.price.solve()


def test_who_is_taken_up_again_counts_from_where_it_stopped_and_has_a_new_lot() -> None:
    price = GlobalPrice(TABLE, budget=20_000, prompts=0)
    first, again = priced(20_000, 10), Priced(1_500, price, taken_up=1)
    past = replace(stopped(1).decisions[0], repeated=True)
    fresh = Decision("1", 1, 0.3, 1e-5, "2", 0.1, 1_000)
    end = Decision("2", 2, 0.4, 1e-5, None, 0.0)
    price.courses.stopped[ONE + 1] = 1
    again.begin(task(1))
    again.end(task(1), (replace(stopped(1), decisions=(past, fresh, end)),), 900)
    assert price.courses.stopped.tolist().index(1) == TABLE.starts[TABLE.place("2")] + 2
    assert price.courses.stopped.sum() == 1
    assert (price.courses.ended, price.courses.spent) == (0, 900)
    again.end(task(2), (replace(stopped(2), decisions=(past,)),), 0, begun=False)
    lots = [[one.terms(task(number)).price for number in range(200)] for one in (first, again)]
    assert lots[0] != lots[1]


def test_where_there_is_plenty_a_task_gets_as_much_again() -> None:
    assert priced(10**9, 10).refill(task(0), asked=10, held=3_000, free=10**8) == 3_000


def test_a_tasks_price_is_its_own_and_stands_still_between_solutions() -> None:
    allocator = priced(1_500 * 200, 200)
    before = [allocator.terms(task(number)).price for number in range(50)]
    assert before == [allocator.begin(task(number)).price for number in range(50)]
    assert set(before) <= {allocator.price.price.low, allocator.price.price.high}


@settings(max_examples=30)
@given(st.integers(1_500, 60_000), st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9_000)), max_size=60))
def test_a_ledger_that_grants_what_it_says_is_never_overdrawn(
    budget: int, asks: list[tuple[int, int]]
) -> None:
    allocator: Allocator = priced(budget, 10)
    assert isinstance(allocator, Pricing)
    ledger = Ledger(budget)
    for number in range(10):
        ledger.grant(number, allocator.first_grant(task(number), ledger.free))
    held = dict.fromkeys(range(10), 1_500)
    for number, asked in asks:
        amount = allocator.refill(task(number), asked, held[number], ledger.free)
        if amount is not None:
            before = ledger.free
            assert ledger.grant(number, amount) == (amount <= before), "more than is free waits"
            held[number] += amount if amount <= before else 0
        assert ledger.free >= 0
