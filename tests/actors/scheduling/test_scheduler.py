"""Every task ends once within its budget, whatever happens to replicas; everything but Ray is real."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from actors.engines.base import EngineCounters
from actors.ledger import Entry
from actors.messages import Account, Finished, Grant, Orders, Pulse, Report
from actors.scheduling.scheduler import Scheduler
from actors.store.log import read_books
from orchestration.allocation.first_come import FirstCome
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from tests.support.cells import STRATEGIES, MakeCell, books, keys, outcomes_by_key, rows_of, tasks
from tests.support.tiny import candidate_cost, make_task

# The usual course


async def test_every_task_ends_once_and_the_books_agree(
    cell: MakeCell, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    async with cell(replicas=2) as one:
        progress = await one.run(tasks(12))
        busy = [replica.exchanges for replica in one.replicas.values()]
    assert outcomes_by_key(tmp_path / "run") == undisturbed
    assert set(undisturbed) == keys(tasks(12))
    assert {state for state, *_ in undisturbed.values()} == {"answered"}
    assert (progress.tasks_open, progress.outcomes, progress.answered) == (0, 48, 48)
    assert (progress.unaffordable, progress.quarantined, progress.reserved, progress.wasted) == (0, 0, 0, 0)
    rows = rows_of(tmp_path / "run", "outcomes")
    assert progress.spent == books(tmp_path / "run")["spent"] == sum(row["spent_flops"] for row in rows)
    assert progress.of("policy").tokens == sum(row["policy_tokens"] for row in rows)
    assert progress.of("verifier").tokens == sum(row["verifier_tokens"] for row in rows)
    assert all(busy)
    assert {row["correct"] for row in rows} == {True, False}


async def test_one_replica_or_three_draw_the_same(
    cell: MakeCell, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    async with cell(replicas=3, max_sequences=3) as one:
        await one.run(list(reversed(tasks(12))))
    assert outcomes_by_key(tmp_path / "run") == undisturbed


async def test_no_tasks_is_no_work(cell: MakeCell) -> None:
    async with cell() as one:
        assert (await one.run([], seconds=5)).outcomes == 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_parked_replicas_wake_when_tasks_arrive(
    cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cell() as one:
        running = asyncio.create_task(one.scheduler.run())
        parked = 0
        park = one.scheduler._park

        async def watch() -> None:
            nonlocal parked
            parked += 1
            try:
                await park()
            finally:
                parked -= 1

        monkeypatch.setattr(one.scheduler, "_park", watch)
        for first in (0, 3):
            await until(lambda: parked == 2)
            assert one.scheduler.progress().answered == first
            more = [make_task(first + i, (Greedy(),)) for i in range(3)]
            one.writer.writer.label(dict.fromkeys((task.id for task in more), "4"))
            await one.scheduler.submit(more)
            await until(lambda: one.scheduler.progress().tasks_open == 0)
        await one.scheduler.close()
        await asyncio.wait_for(running, 10)
        assert one.scheduler.progress().answered == 6


async def test_draining_ends_what_is_in_hand_and_starts_nothing(cell: MakeCell, tmp_path: Path) -> None:
    async with cell(replicas=1, max_sequences=4) as one:
        work = tasks(40, Majority(4))
        one.writer.writer.label(dict.fromkeys((task.id for task in work), "4"))
        await one.scheduler.submit(work)
        await one.scheduler.close()
        running = asyncio.create_task(one.scheduler.run())
        await until(lambda: bool(one.writer.settled))
        await one.scheduler.drain()
        await asyncio.wait_for(running, 20)
        progress = one.scheduler.progress()
    ended = outcomes_by_key(tmp_path / "run")
    assert 0 < len(ended) < 40
    assert progress.outcomes == len(ended)
    assert progress.tasks_open == 40 - len(ended)


# Budgets


@pytest.mark.parametrize("candidates", [0, 0.99, 1, 2.5, 7, 20, 60, 1_000])
async def test_a_budget_is_never_exceeded_and_everybody_ends(
    cell: MakeCell, tmp_path: Path, undisturbed: dict[str, Any], candidates: float
) -> None:
    async with cell(replicas=1) as priced:
        price = candidate_cost(priced.bench)
    budget = int(candidates * price)
    async with cell("budget", replicas=2, budget=budget) as one:
        progress = await one.run(tasks(12))
    folder = tmp_path / "budget"
    ended = outcomes_by_key(folder)
    totals = books(folder)
    assert set(ended) == keys(tasks(12))
    assert (progress.spent, progress.wasted, progress.reserved) == (totals["spent"], totals["wasted"], 0)
    assert totals["spent"] + totals["wasted"] <= budget
    assert totals["wasted"] == 0, [r for r in rows_of(folder, "ledger") if r["kind"] == "lost"]
    states = {key: state for key, (state, *_) in ended.items()}
    assert set(states.values()) <= {"answered", "unaffordable"}
    for key, (state, answer, _, drawn) in ended.items():
        whole = undisturbed[key][3]
        assert (state == "answered") == bool(drawn)
        if state == "unaffordable":
            assert answer is None
        if "majority" in key or "best_of_n" in key:
            assert all((index, tokens) in [(i, t) for i, t, *_ in whole] for index, tokens, *_ in drawn)
    tasks_without = [t for t in tasks(12) if all(states[key] == "unaffordable" for key in t.keys)]
    if tasks_without:
        assert budget - totals["spent"] < price, "a candidate more could have been paid"
    if candidates < 1:
        assert set(states.values()) == {"unaffordable"}
    elif candidates < 1_000:
        assert len(tasks_without) < 12
    else:
        assert ended == undisturbed


async def test_a_budget_spent_in_an_earlier_life_is_not_spent_again(cell: MakeCell, tmp_path: Path) -> None:
    async with cell(replicas=1) as first:
        await first.run(tasks(2))
    spent, _ = read_books(tmp_path / "run")
    async with cell(replicas=1, budget=spent + 5) as one:
        progress = await one.run([make_task(number, STRATEGIES) for number in (2, 3)])
    assert progress.unaffordable == 8
    assert (progress.spent, progress.wasted) == (spent, 0)


@dataclass
class Scripted:
    """A replica whose exchanges return when, and with what, the test says."""

    orders: asyncio.Queue[Orders] = field(default_factory=asyncio.Queue)
    reports: asyncio.Queue[Report] = field(default_factory=asyncio.Queue)

    async def ready(self) -> None:
        return

    async def restart(self) -> None:
        raise AssertionError

    async def pulse(self) -> Pulse:
        raise AssertionError

    async def exchange(self, orders: Orders) -> Report:
        self.orders.put_nowait(orders)
        return await self.reports.get()

    def says(self, *accounts: Account, finished: tuple[Finished, ...] = ()) -> None:
        self.reports.put_nowait(Report(finished, accounts, 1, EngineCounters(0, 0, 0.0, 0)))


class Agreeable:
    async def commit(self, *_: object) -> list[str]:
        return []


async def test_what_is_on_its_way_to_a_purse_is_not_granted_again() -> None:
    """Its replica's report was under way before the grant could arrive, and still says what it lacked."""
    first, second = Scripted(), Scripted()
    replicas = {"first": first, "second": second}
    scheduler = Scheduler(replicas, Agreeable(), FirstCome(40), budget=100)
    await scheduler.submit(tasks(2, Greedy()))
    await scheduler.close()
    running = asyncio.create_task(scheduler.run())
    async with asyncio.timeout(10):
        for replica in (first, second):
            await replica.orders.get()
            replica.says()
        [lease] = (await first.orders.get()).leases
        [other] = (await second.orders.get()).leases
        first.says(Account(lease.id, granted=40, spent=40, reserved=0, lacking=30))
        assert (await first.orders.get()).grants == (), "20 are left"
        done = Finished(other.id, other.attempt, other.task.id, (), (Entry("policy", "kept", 10),))
        second.says(finished=(done,))
        await second.orders.get()
        first.says(Account(lease.id, granted=40, spent=40, reserved=0, lacking=30))
        assert (await first.orders.get()).grants == (Grant(lease.id, 70),)
        assert scheduler._ledger.free == 100 - 40 - 30 - 10
        entries = (Entry("policy", "kept", 60),)
        first.says(finished=(Finished(lease.id, lease.attempt, lease.task.id, (), entries),))
        second.says()
        await running
    assert (scheduler.progress().spent, scheduler._ledger.free) == (70, 30)
