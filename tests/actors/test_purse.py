"""A purse never lets out what it does not hold, and serves who waits in order."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.ledger import Entry, Purse, Rank
from actors.strategy import PurseEmpty


async def give_way() -> None:
    """Let every task that is ready run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_reserved_and_not_used_is_free_again() -> None:
    purse = Purse(100)
    await purse.reserve(60)
    await purse.reserve(40)
    assert (purse.free, purse.reserved, purse.lacking) == (0, 100, 0)
    purse.settle(60, 10, "policy")
    assert (purse.free, purse.reserved, purse.spent) == (50, 40, 10)
    with pytest.raises(ValueError, match="41"):
        purse.settle(40, 41, "verifier")
    assert (purse.free, purse.reserved, purse.spent) == (50, 40, 10)


async def test_one_refill_serves_all_who_wait() -> None:
    purse = Purse(10)
    asked = purse.on_ask = asyncio.Event()
    waiting = [asyncio.create_task(purse.reserve(30)) for _ in range(4)]
    await asyncio.wait_for(asked.wait(), 1)
    await give_way()
    assert purse.lacking == 4 * 30 - 10
    purse.refill(purse.granted + purse.lacking)
    assert purse.lacking == 0
    await asyncio.wait_for(asyncio.gather(*waiting), 1)
    assert (purse.granted, purse.reserved, purse.free, purse.lacking) == (120, 120, 0, 0)


async def test_a_grant_told_twice_or_late_is_granted_once() -> None:
    """Grants are told as totals: whatever is repeated or comes out of order, the purse holds the largest."""
    purse = Purse(10)
    for total in (60, 60, 35, 10):
        purse.refill(total)
        assert purse.granted == 60
    await purse.reserve(60)
    waiting = asyncio.create_task(purse.reserve(1))
    await give_way()
    purse.refill(60)
    await give_way()
    assert not waiting.done()
    purse.refill(61)
    await asyncio.wait_for(waiting, 1)
    assert (purse.granted, purse.free) == (61, 0)


async def test_a_purse_keeps_books_by_purpose_and_kind() -> None:
    purse = Purse(1_000)
    await purse.reserve(500)
    purse.settle(100, 90, "policy")
    purse.settle(100, 60, "policy")
    purse.settle(100, 40, "verifier")
    purse.settle(100, 100, "verifier", "lost")
    assert set(purse.entries) == {
        Entry("policy", "kept", 150),
        Entry("verifier", "kept", 40),
        Entry("verifier", "lost", 100),
        # A request that was given up with the task may have used all that was set aside for it.
        Entry("unknown", "failed", 100),
    }
    assert {(entry.kind, entry.wasted) for entry in purse.entries} == {
        ("kept", False),
        ("lost", True),
        ("failed", True),
    }
    assert sum(entry.flops for entry in purse.entries) == purse.spent + purse.reserved


async def test_what_is_booked_anew_is_neither_lost_nor_made() -> None:
    purse = Purse(100)
    await purse.reserve(100)
    purse.settle(100, 70, "policy")
    purse.move("policy", "kept", "pruned", 30)
    assert set(purse.entries) == {Entry("policy", "kept", 40), Entry("policy", "pruned", 30)}
    assert not any(entry.wasted for entry in purse.entries), "a pruned branch is part of its search"
    for flops in (41, -1):
        with pytest.raises(ValueError, match="booked as policy kept"):
            purse.move("policy", "kept", "pruned", flops)
    purse.move("policy", "kept", "pruned", 40)
    assert purse.entries == (Entry("policy", "pruned", 70),)
    assert purse.spent == 70


async def test_what_told_difficulty_alone_is_booked_for_it() -> None:
    purse = Purse(100)
    await purse.reserve(100)
    purse.settle(60, 50, "policy")
    purse.settle(40, 20, "verifier")
    purse.rebook("policy", "difficulty", 30)
    purse.rebook("verifier", "difficulty", 20)
    assert set(purse.entries) == {Entry("policy", "kept", 20), Entry("difficulty", "kept", 50)}
    with pytest.raises(ValueError, match="booked as policy kept"):
        purse.rebook("policy", "difficulty", 21)
    assert purse.spent == 70


async def test_who_waits_for_what_it_may_begin_sets_nothing_aside() -> None:
    purse = Purse(100)
    await purse.ensure(100)
    assert (purse.free, purse.reserved, purse.unused) == (100, 0, 0)
    waits = [asyncio.create_task(purse.ensure(amount)) for amount in (150, 400)]
    await asyncio.sleep(0)
    assert purse.lacking == 450
    purse.refill(150)
    await waits[0]
    assert purse.free == 150
    purse.refill(None)
    with pytest.raises(PurseEmpty):
        await waits[1]
    await purse.reserve(150)


async def test_what_another_request_gives_back_serves_who_waits() -> None:
    purse = Purse(100)
    await purse.reserve(80)
    second = asyncio.create_task(purse.reserve(50))
    third = asyncio.create_task(purse.reserve(50))
    await give_way()
    assert purse.lacking == 80
    purse.settle(80, 10, "policy")
    await give_way()
    assert [second.done(), third.done()] == [True, False]
    assert purse.lacking == 10
    purse.settle(50, 50, "policy")
    await give_way()
    assert not third.done()
    assert purse.lacking == 10
    purse.refill(110)
    await asyncio.wait_for(third, 1)
    assert (purse.spent, purse.reserved, purse.free) == (60, 50, 0)


async def test_a_refused_purse_is_empty_for_what_does_not_fit_and_only_for_that() -> None:
    purse = Purse(100)
    await purse.reserve(60)
    large = asyncio.create_task(purse.reserve(70))
    await give_way()
    purse.refill(None)
    with pytest.raises(PurseEmpty):
        await asyncio.wait_for(large, 1)
    assert purse.lacking == 0
    await purse.reserve(40)
    with pytest.raises(PurseEmpty):
        await purse.reserve(1)
    purse.settle(60, 0, "policy")
    await purse.reserve(60)
    assert (purse.granted, purse.reserved) == (100, 100)


async def test_a_waiter_that_is_cancelled_asks_no_more() -> None:
    purse = Purse(0)
    one, two = (asyncio.create_task(purse.reserve(30)) for _ in range(2))
    await give_way()
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    assert purse.lacking == 30
    purse.refill(30)
    await asyncio.wait_for(two, 1)
    assert purse.reserved == 30


async def test_running_requests_use_what_they_have_drawn_and_one_token_more() -> None:
    purse = Purse(1_000, limit=100)
    pace = await purse.reserve_paced(200, first=30, token=20)
    assert (purse.reserved, purse.used, purse.free) == (200, 30, 800)
    for used in (50, 70, 90):
        assert pace.paid
        pace.drew()
        assert purse.used == used
    pace.drew()
    assert purse.used == 110
    assert not pace.paid, "the fifth token waits"
    purse.raise_limit(111)
    assert pace.paid
    for _ in range(20):
        pace.drew()
    assert purse.used == 200, "no more than its worst case"
    pace.end()
    purse.settle(200, 120, "policy")
    assert (purse.used, purse.spent, purse.reserved, purse.unused) == (120, 120, 0, 0)
    pace.drew()
    assert purse.used == 120, "what is told late counts for nothing"


async def test_a_request_waits_for_the_limit_though_the_grant_holds_it() -> None:
    purse = Purse(1_000, limit=100)
    asked = purse.on_ask = asyncio.Event()
    await purse.reserve(60)
    assert purse.low
    waiting = asyncio.create_task(purse.reserve(50))
    await give_way()
    assert asked.is_set()
    assert not waiting.done()
    assert (purse.lacking, purse.wanted) == (0, 110)
    purse.raise_limit(109)
    await give_way()
    assert not waiting.done()
    purse.raise_limit(110)
    await asyncio.wait_for(waiting, 1)
    assert (purse.reserved, purse.used, purse.low) == (110, 110, True)


async def test_a_purse_is_low_at_half_of_the_way_and_not_where_there_is_no_more() -> None:
    purse = Purse(100, limit=40)
    asked = purse.on_ask = asyncio.Event()
    pace = await purse.reserve_paced(60, first=5, token=5)
    assert not purse.low
    assert not asked.is_set()
    for _ in range(3):
        pace.drew()
    assert purse.low
    assert asked.is_set()
    asked.clear()
    purse.raise_limit(100)
    for _ in range(30):
        pace.drew()
    assert not purse.low
    assert not asked.is_set()


async def test_whoever_is_cancelled_as_it_is_served_gives_it_back() -> None:
    purse = Purse(0)
    one, two = (asyncio.create_task(purse.reserve_paced(30, 5, 5)) for _ in range(2))
    await give_way()
    purse.refill(30)
    one.cancel()
    await asyncio.gather(one, return_exceptions=True)
    assert one.cancelled()
    await asyncio.wait_for(two, 1)
    assert (purse.reserved, purse.used) == (30, 5)


@given(st.lists(st.tuples(st.sampled_from(["ask", "settle", "refill"]), st.integers(0, 60)), max_size=40))
def test_nobody_waits_for_what_is_there(events: list[tuple[str, int]]) -> None:
    async def play() -> None:
        purse = Purse(50)
        waiting: list[tuple[int, asyncio.Task[None]]] = []
        running: list[int] = []
        for kind, amount in events:
            if kind == "ask":
                waiting.append((amount, asyncio.create_task(purse.reserve(amount))))
            elif kind == "refill":
                purse.refill(purse.granted + amount)
                purse.refill(purse.granted - 1)
            elif running:
                reserved = running.pop(0)
                purse.settle(reserved, min(amount, reserved), "policy")
            await give_way()
            running += [size for size, one in waiting if one.done()]
            waiting = [(size, one) for size, one in waiting if not one.done()]
            assert purse.free >= 0
            assert purse.reserved == sum(running)
            assert all(size > purse.free for size, _ in waiting)
            assert purse.lacking == max(0, sum(size for size, _ in waiting) - purse.free)
        for _, one in waiting:
            one.cancel()

    asyncio.run(play())


async def test_the_lowest_rank_is_served_first_whenever_it_asked() -> None:
    purse = Purse(0)
    served: list[tuple[int, int]] = []

    async def ask(rank: tuple[int, int], amount: int) -> None:
        await purse.reserve(amount, rank=rank)
        served.append(rank)

    asks = [((2, 0), 10), ((1, 0), 10), ((1, 1), 10), ((0, 1), 25), ((0, 0), 10)]
    waiting = [asyncio.create_task(ask(rank, amount)) for rank, amount in asks]
    await give_way()
    purse.refill(20)
    await give_way()
    assert served == [(0, 0)], "what is left is kept for the next, though others would fit"
    for total in (45, 54):
        purse.refill(total)
        await give_way()
    assert served == [(0, 0), (0, 1), (1, 0)]
    purse.refill(None)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert served == [(0, 0), (0, 1), (1, 0)]
    assert purse.free == 9


async def test_with_no_more_to_come_whoever_fits_is_served_though_others_did_not() -> None:
    purse = Purse(20)
    large = asyncio.create_task(purse.reserve(30, rank=(0, 0)))
    small = asyncio.create_task(purse.reserve(15, rank=(1, 0)))
    await give_way()
    assert not small.done()
    purse.refill(None)
    with pytest.raises(PurseEmpty):
        await large
    await asyncio.wait_for(small, 1)


async def test_what_a_strategy_without_a_candidate_needs_pays_no_further_one_of_another() -> None:
    purse = Purse(100)
    purse.need(0, 40)
    purse.need(1, 40)
    await purse.reserve(40, rank=(0, 0))
    second = asyncio.create_task(purse.reserve(40, rank=(1, 0)))
    await give_way()
    assert not second.done()
    assert purse.lacking == 40 + 80 - 60, "a refill would pay all of it"
    purse.settle(40, 10, "policy")
    purse.need(0, 0)
    await asyncio.wait_for(second, 1)
    assert purse.free == 50
    third = asyncio.create_task(purse.reserve(40, rank=(2, 0)))
    await give_way()
    purse.refill(None)
    with pytest.raises(PurseEmpty):
        await third
    await purse.reserve(40, rank=(0, 1))
    assert purse.free == 10


@pytest.mark.parametrize(
    ("granted", "first", "further"),
    [(60, (70, (0, 0)), (30, (1, 0))), (90, (100, (0, 1)), (50, (1, 0)))],
    ids=["its own", "another's"],
)
async def test_a_first_candidate_that_will_not_be_keeps_nothing(
    granted: int, first: tuple[int, Rank], further: tuple[int, Rank]
) -> None:
    purse = Purse(granted)
    purse.need(first[1][1], 100)
    large, small = (
        asyncio.create_task(purse.reserve(amount, rank=rank)) for amount, rank in (first, further)
    )
    await give_way()
    assert not small.done()
    purse.refill(None)
    with pytest.raises(PurseEmpty):
        await large
    await asyncio.wait_for(small, 1)
    assert purse.free == granted - further[0]
