"""A scheduler that dies is followed by another, which finds the run with its writer and the work with its replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.messages import Orders
from actors.scheduling.scheduler import Scheduler
from actors.store.log import read_books
from actors.strategy import Strategy
from actors.work import Progress, Task
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.search.beam import Beam
from tests.support.cells import outcomes_by_key, rows_of
from tests.support.inprocess import Cell
from tests.support.tiny import Gated, candidate_cost, first_come, make_task

STRATEGIES: tuple[Strategy, ...] = (Greedy(), Majority(3), Beam(4, 2))


def work(count: int, gate: Path | None = None) -> list[Task]:
    """Tasks that all wait for the gate, where there is one."""
    problems = frozenset(f"p{number}" for number in range(count))
    gated = STRATEGIES if gate is None else tuple(Gated(one, gate, problems) for one in STRATEGIES)
    return [make_task(number, gated) for number in range(count)]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class House:
    """A cell whose scheduler can be killed, and followed by another."""

    def __init__(self, cell: Cell, budget: int | None) -> None:
        self.cell, self.budget = cell, budget
        self.tasks: dict[str, Task] = {}

    async def begin(self, tasks: list[Task]) -> asyncio.Task[None]:
        self.tasks |= {task.id: task for task in tasks}
        self.cell.writer.writer.label({task.id: "4" for task in tasks})
        return await self.start()

    async def start(self) -> asyncio.Task[None]:
        """A scheduler opens, and is given what has not ended."""
        scheduler = Scheduler(
            dict(self.cell.replicas),
            self.cell.writer,
            first_come(self.cell.bench, self.budget),
            budget=self.budget,
        )
        self.cell.scheduler = scheduler
        await scheduler.open()
        open_tasks = self.cell.writer.writer.unfinished()
        await scheduler.submit([task for name, task in self.tasks.items() if name in open_tasks])
        await scheduler.close()
        return asyncio.create_task(scheduler.run())

    async def kill(self, running: asyncio.Task[None]) -> None:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    async def end(self, running: asyncio.Task[None]) -> Progress:
        await asyncio.wait_for(running, 30)
        return self.cell.scheduler.progress()


def in_hand(house: House) -> int:
    """Tasks that replicas work on."""
    return sum(len(replica.inner._work) for replica in house.cell.replicas.values() if replica.inner)


Make = Callable[..., House]


@pytest.fixture
def house(tmp_path: Path, policy: Path, verifier: Path) -> Make:
    def make(folder: str = "run", budget: int | None = None, **options: Any) -> House:
        return House(Cell(tmp_path / folder, policy, verifier, budget=budget, **options), budget)

    return make


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, policy: Path, verifier: Path) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")

    async def run() -> None:
        async with Cell(folder, policy, verifier, replicas=1) as one:
            await one.run(work(8))

    asyncio.run(run())
    return outcomes_by_key(folder)


@pytest.mark.parametrize("generous", [None, 10_000])
async def test_trees_in_hand_go_on_under_the_next_scheduler(
    house: Make, tmp_path: Path, undisturbed: dict[str, Any], generous: int | None
) -> None:
    gate = tmp_path / "gate"
    probe = house("probe")
    budget = None if generous is None else generous * candidate_cost(probe.cell.bench)
    one = house(budget=budget, replicas=2)
    async with one.cell:
        running = await one.begin(work(8, gate))
        await until(lambda: in_hand(one) == 8)
        await one.kill(running)
        running = await one.start()
        await until(lambda: one.cell.scheduler._book.leased == 8)
        gate.touch()
        progress = await one.end(running)
        assert not one.cell.writer.losses
        assert all(replica.starts == 1 for replica in one.cell.replicas.values())
    assert outcomes_by_key(tmp_path / "run") == undisturbed
    assert (progress.outcomes, progress.wasted, progress.reserved) == (24, 0, 0)
    outcomes = rows_of(tmp_path / "run", "outcomes")
    assert progress.spent == sum(row["spent_flops"] for row in outcomes)
    assert progress.of("verifier").tokens == sum(row["verifier_tokens"] for row in outcomes)


async def test_what_was_settled_and_not_acknowledged_counts_once(
    house: Make, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    """The scheduler dies between a commit that is durable and its acknowledgement."""
    one = house(replicas=1)
    async with one.cell:
        commit = one.cell.writer.commit
        died = asyncio.Event()

        async def dies_after(request: Any) -> list[str]:
            missing = await commit(request)
            if request.settled and not died.is_set():
                died.set()
                await asyncio.Event().wait()
            return missing

        one.cell.writer.commit = dies_after  # type: ignore[method-assign]
        running = await one.begin(work(8))
        await asyncio.wait_for(died.wait(), 20)
        settled_before = len(one.cell.writer.settled)
        await one.kill(running)
        progress = await one.end(await one.start())
        assert settled_before
        assert len(one.cell.writer.settled) == 8
        assert not one.cell.writer.losses
    assert outcomes_by_key(tmp_path / "run") == undisturbed
    assert progress.outcomes == 24, "the outcomes of both schedulers are counted"


@pytest.mark.parametrize("budget", [None, 1_000])
async def test_what_a_replica_lost_meanwhile_is_waste_and_done_again(
    house: Make, tmp_path: Path, undisturbed: dict[str, Any], budget: int | None
) -> None:
    gate = tmp_path / "gate"
    price = candidate_cost(house("probe").cell.bench)
    one = house(budget=None if budget is None else budget * price, replicas=2)
    async with one.cell:
        running = await one.begin(work(8, gate))
        await until(lambda: in_hand(one) == 8)
        first = one.cell.replicas["policy-0"]
        held = one.cell.scheduler._book.held_by("policy-0")
        await one.kill(running)
        await first.die()
        running = await one.start()
        gate.touch()
        progress = await one.end(running)
        assert {loss.lease for loss in one.cell.writer.losses} == set(held)
    assert outcomes_by_key(tmp_path / "run") == undisturbed
    assert progress.outcomes == 24
    wasted = read_books(tmp_path / "run")[1]
    assert progress.wasted == wasted == (0 if budget is None else len(held) * price)


async def test_grants_that_were_made_and_not_told_are_told_again(
    house: Make, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    """A purse waits for a refill that the dead scheduler wrote down and never sent."""
    price = candidate_cost(house("probe").cell.bench)
    one = house(budget=10_000 * price, replicas=1)
    async with one.cell:
        replica = one.cell.replicas["policy-0"]
        through = replica.through
        told = asyncio.Event()

        async def swallows(orders: Orders) -> Any:
            if orders.grants and not orders.leases and not told.is_set():
                told.set()
                await asyncio.Event().wait()
            return await through(orders)

        replica.through = swallows  # type: ignore[method-assign]
        running = await one.begin(work(8))
        await asyncio.wait_for(told.wait(), 20)
        await one.kill(running)
        progress = await one.end(await one.start())
        assert not one.cell.writer.losses
    assert outcomes_by_key(tmp_path / "run") == undisturbed
    assert progress.wasted == 0


async def test_seconds_are_those_of_the_run_whatever_scheduler_counts_them(house: Make) -> None:
    one = house()
    async with one.cell:
        scheduler = Scheduler({}, one.cell.writer, first_come(one.cell.bench, None), budget=None)
        # Scheduler and writer were made as the models began to load; or the writer alone, before the last scheduler died.
        one.cell.writer.writer._started -= 10
        scheduler._started -= 10
        await scheduler.open()
        assert 10 <= scheduler.progress().seconds < 15


async def test_orders_of_a_dead_scheduler_are_refused(house: Make) -> None:
    one = house(replicas=1)
    async with one.cell:
        await one.end(await one.begin(work(1)))
        inner = one.cell.replicas["policy-0"].inner
        assert inner is not None
        await inner.exchange(Orders((), (), (), (), life=2))
        with pytest.raises(RuntimeError, match="orders of scheduler 1, after those of scheduler 2"):
            await inner.exchange(Orders((), (), (), (), life=1))


async def test_an_attempt_of_a_former_life_counts(house: Make, tmp_path: Path) -> None:
    """A task that was lost twice is alone with its replica after the scheduler's death too."""
    gate = tmp_path / "gate"
    one = house(replicas=1)
    async with one.cell:
        replica = one.cell.replicas["policy-0"]
        running = await one.begin(work(1, gate))
        for life in (1, 2):
            await until(lambda life=life: replica.starts == life and one.cell.scheduler._book.leased == 1)
            await replica.die()
        await until(lambda: len(one.cell.writer.losses) == 2)
        await one.kill(running)
        running = await one.start()
        await until(lambda: one.cell.scheduler._book.leased == 1)
        [held] = one.cell.scheduler._book._held.values()
        assert held.lease.attempt == 3
        gate.touch()
        assert (await one.end(running)).answered == 3


# Stopping


async def test_what_does_not_end_in_time_is_stopped_and_charged_what_it_took(
    house: Make, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    gate = tmp_path / "gate"
    one = house(replicas=1, max_sequences=64)
    async with one.cell:
        half = [*work(4), *(task for task in work(8, gate) if task.id in {f"task-{n}" for n in range(4, 8)})]
        running = await one.begin(half)
        await until(lambda: len(one.cell.writer.settled) == 4)
        await one.cell.scheduler.drain(0.0)
        progress = await one.end(running)
        assert {loss.task_id for loss in one.cell.writer.losses} == {f"task-{n}" for n in range(4, 8)}
        assert {loss.reason for loss in one.cell.writer.losses} == {"stopped with the run"}
        assert not any(loss.blamed for loss in one.cell.writer.losses)
        assert (progress.outcomes, progress.tasks_open) == (12, 4)
        gate.touch()
        progress = await one.end(await one.start())
    assert outcomes_by_key(tmp_path / "run") == undisturbed
    assert (progress.outcomes, progress.tasks_open) == (24, 0)


async def test_what_ends_in_time_is_not_stopped(house: Make, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    one = house(replicas=1, max_sequences=64)
    async with one.cell:
        running = await one.begin(work(3, gate))
        await until(lambda: one.cell.scheduler._book.leased == 3)
        await one.cell.scheduler.drain(20.0)
        gate.touch()
        progress = await one.end(running)
        assert not one.cell.writer.losses
    assert progress.outcomes == 9


# Tasks that are refused


async def test_a_refused_task_ends_as_quarantined_with_its_reason(house: Make, tmp_path: Path) -> None:
    one = house(replicas=1)
    bad = work(2)[1]
    refused = Task(bad.id, bad.prompt, bad.strategies, bad.keys, bad.seed, refused="prompt too long")
    async with one.cell:
        progress = await one.end(await one.begin([work(1)[0], refused]))
    assert (progress.answered, progress.quarantined) == (3, 3)
    ended = [row for row in rows_of(tmp_path / "run", "outcomes") if row["problem_id"] == "p1"]
    assert {(row["state"], row["reason"]) for row in ended} == {("quarantined", "prompt too long")}
