"""What the scheduler costs: tasks a second that it leases and settles, what the disk is asked for, and its memory.

    python -m tests.benchmarks.scheduler [--tasks 20000] [--prompts 1000000]

Three parts. Core: lease book and ledger alone, fed as the scheduler feeds them, at 1 to 1,000 replicas. Ray: driver,
scheduler and run writer as they are, over simulated replicas (several in one process, so that two cores are enough); every
record is staged, committed and synced. Memory: the scheduler on 10 thousand and on a million prompts that stream through the
driver's window. The replicas compute nothing, which is the worst case: the figures say how many tasks a second a cluster may
end before it is its scheduler that it waits for. Time is that of a process on its core where one process is meant, so that
what else the machine does counts less.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import os
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from rich.console import Console
from rich.table import Table

from actors.cluster.driver import WAITING_TASKS, Driver, get
from actors.cluster.links import SolverLink, WriterLink
from actors.cluster.packed import packed
from actors.cluster.ray_start import start_ray
from actors.cluster.shells import SchedulerActor, WriterActor, staging
from actors.engines.base import EngineCounters
from actors.ledger import Entry, Ledger
from actors.messages import Account, Books, Commit, Finished, Lease, Orders, Pulse, Record, Report
from actors.scheduling.leases import LeaseBook
from actors.scheduling.scheduler import Scheduler
from actors.strategy import Models, Prompt, Solution
from actors.work import Allocator, Cost, Outcome, Task
from orchestration.allocation.first_come import FirstCome

A_LEASE = 64
"""Tasks that a replica holds at once."""

COST, FIRST = 3_000, 1_000
"""FLOPs that a task takes, and those granted at its start under a budget: every purse is refilled once."""

SECONDS = 0.1
"""Seconds that a replica says it has computed between two exchanges."""

CORE = (1, 10, 100, 1_000)
RAY = (1, 8, 32)
"""Numbers of replicas."""


@dataclass(frozen=True, slots=True)
class Nothing:
    """A strategy of one sequence."""

    text: str = "nothing"
    uses_verifier: bool = False
    sequences: int = 1

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        raise NotImplementedError


def tasks(count: int, length: int) -> Iterator[Task]:
    """Tasks whose prompts have `length` tokens."""
    strategies = (Nothing(),)
    for number in range(count):
        name = f"problem-{number}"
        yield Task(name, Prompt(name, tuple(range(length))), strategies, (name,), 0)


def allocator(budget: int | None) -> FirstCome:
    return FirstCome(None if budget is None else FIRST)


def core(replicas: int, budget: int | None, count: int) -> float:
    """Tasks a core-second through lease book and ledger, with every call that the scheduler makes for an exchange. Tasks that
    a budget leaves nothing for end as they do there."""
    book = LeaseBook(Ledger(budget), allocator(budget))
    stream = tasks(count, 0)
    purses: dict[int, int] = {}
    limits: dict[int, int] = {}
    busy: Counter[str] = Counter()
    refused: set[int] = set()
    ended = 0
    started = time.process_time()
    for name in itertools.cycle([f"policy-{i}" for i in range(replicas)]):
        if book.queued < 2 * A_LEASE * replicas:
            for task in itertools.islice(stream, A_LEASE * replicas):
                book.add(task)
        accounts: list[Account] = []
        for lease in book.held_by(name):
            granted = purses[lease]
            used = min(granted, limits.get(lease, granted), COST)
            if used < COST and lease not in refused:
                accounts.append(
                    Account(
                        lease,
                        granted,
                        used,
                        0,
                        max(0, COST - granted),
                        limits.get(lease, granted),
                        used,
                        COST,
                    )
                )
            elif book.counts(lease, 1):
                book.settle(lease, min(purses.pop(lease), COST))
                refused.discard(lease)
                limits.pop(lease, None)
                ended += 1
        busy[name] += SECONDS
        book.hear(name, accounts, busy[name])
        book.refill()
        leases = book.lease(name, A_LEASE - len(book.held_by(name)), 0.0, replicas)
        further = book.limits(name)
        grants = book.grants(name)
        book.holds({one.id for one in leases} | {one.lease for one in (*grants, *further)})
        purses |= {one.id: one.grant for one in leases}
        limits |= {one.id: one.limit for one in leases if one.limit is not None}
        limits |= {one.lease: one.total for one in further}
        refused |= {one.lease for one in grants if one.total is None}
        purses |= {one.lease: one.total for one in grants if one.total is not None}
        if not book.held_by(name):
            ended += len(book.starve())
        if ended == count:
            return count / (time.process_time() - started)
    raise AssertionError


class Replica:
    """A policy replica that computes nothing: a task ends with the exchange after the one that granted it all it needs."""

    def __init__(self, stage: Callable[[int, str, Record], Awaitable[None]] | None = None) -> None:
        self._stage = stage
        # lease -> what it was granted, and its limit
        self._held: dict[int, tuple[Lease, int, int]] = {}
        self._busy = 0.0
        self._finished: dict[int, Finished] = {}

    async def ready(self) -> None:
        return

    async def restart(self) -> None:
        raise AssertionError("nothing hangs here")

    async def pulse(self) -> Pulse:
        return Pulse(EngineCounters(0, 0, 0.0, 0))

    async def exchange(self, orders: Orders) -> Report:
        for number in orders.acknowledged:
            self._finished.pop(number, None)
        paid = [lease for lease, *paid in self._held.values() if min(paid) >= COST]
        if self._stage is not None:
            await asyncio.gather(*(self._stage(one.id, one.task.id, record(one.task)) for one in paid))
        for lease in paid:
            del self._held[lease.id]
            entries = (Entry("policy", "kept", COST),)
            self._finished[lease.id] = Finished(
                lease.id, lease.attempt, lease.task.id, (outcome(lease.task),), entries
            )
        for grant in orders.grants:
            if grant.lease in self._held:
                lease, _, limit = self._held[grant.lease]
                self._held[grant.lease] = lease, grant.total or 0, limit
        for raised in orders.limits:
            if raised.lease in self._held:
                lease, granted, _ = self._held[raised.lease]
                self._held[raised.lease] = lease, granted, raised.total
        self._held |= {
            one.id: (one, one.grant, one.grant if one.limit is None else one.limit) for one in orders.leases
        }
        accounts = tuple(
            Account(number, granted, used, 0, max(0, COST - granted), limit, used, COST)
            for number, (_, granted, limit) in self._held.items()
            if (used := min(granted, limit, COST)) >= 0
        )
        self._busy += SECONDS
        counters = EngineCounters(0, 0, self._busy, 0)
        # Not an exchange of its own for each: the event loop has others to serve.
        await asyncio.sleep(0)
        return Report(tuple(self._finished.values()), accounts, A_LEASE - len(self._held), counters)


def outcome(task: Task) -> Outcome:
    cost = Cost({"policy": 64}, COST, COST)
    return Outcome(task.keys[0], task.prompt.id, "nothing", 0, "answered", "", "4", 1, 0, 64, cost, cost, 1.0)


def record(task: Task) -> Record:
    """What a short solution leaves on disk: an outcome and a candidate of 64 tokens in four steps."""
    candidate = {
        "key": task.keys[0],
        "problem_id": task.prompt.id,
        "strategy": "nothing",
        "seed": 0,
        "index": 0,
        "parent": -1,
        "depth": 0,
        "steps": ["so that 2 + 2 is 4\n"] * 4,
        "step_tokens": [16, 32, 48, 64],
        "token_ids": list(range(64)),
        "logprobs": [-0.125] * 4,
        "scores": [],
        "finish_reason": "eos",
        "answer": "4",
        "tokens": 64,
        "kept": True,
    }
    return Record((outcome(task),), [candidate])


class Host:
    """Simulated replicas that share a process."""

    def __init__(self, names: list[str], writer: str) -> None:
        link = WriterLink(ray.get_actor(writer))
        self._replicas = {name: Replica(link.stage) for name in names}

    async def info(self, name: str) -> None:
        await self._replicas[name].ready()

    async def exchange(self, name: str, orders: Orders) -> Report:
        return await self._replicas[name].exchange(orders)

    async def pulse(self, name: str) -> Pulse:
        return await self._replicas[name].pulse()


class _Method:
    def __init__(self, method: Any, name: str) -> None:
        self._method, self._name = method, name

    def remote(self, *arguments: Any) -> Any:
        return self._method.remote(self._name, *arguments)


class _Share:
    """What stands for the handle of one of a host's replicas."""

    def __init__(self, host: Any, name: str) -> None:
        self.info, self.exchange = _Method(host.info, name), _Method(host.exchange, name)
        self.pulse = _Method(host.pulse, name)


class HostedLink(SolverLink):
    """One of a host's replicas."""

    def __init__(self, host: str, name: str) -> None:
        super().__init__(host)
        self._name = name

    # Ray carries this module's classes by value, and a cached property's lock it cannot.
    @property
    def _handle(self) -> Any:
        return _Share(ray.get_actor(self._actor), self._name)


class HostedScheduler(SchedulerActor):
    """The scheduler's actor over replicas that are in hosts; `hosts` names the host of each."""

    def __init__(self, hosts: dict[str, str], writer: str, allocator: Allocator, budget: int | None) -> None:
        super().__init__({}, writer, budget, False, {}, *packed(allocator))
        links = {name: HostedLink(host, name) for name, host in hosts.items()}
        self._scheduler = Scheduler(links, WriterLink(ray.get_actor(writer)), allocator, budget=budget)

    async def seconds(self) -> float:
        """What it has taken of a core so far."""
        return time.process_time()


class CountingWriter(WriterActor):
    """Counts what it is asked for; a process of its own, so that all its fsyncs are the run's."""

    def __init__(self, folder: Path) -> None:
        self.commits = self.syncs = 0
        fsync = os.fsync

        def counted(file: Any) -> None:
            self.syncs += 1
            fsync(file)

        os.fsync = counted
        super().__init__(folder, None)

    def commit(self, commit: Commit) -> list[str]:
        self.commits += 1
        return super().commit(commit)

    def seconds(self) -> float:
        """What it has taken of a core so far."""
        return time.process_time()

    def counts(self) -> tuple[int, int]:
        return self.commits, self.syncs


@dataclass(frozen=True, slots=True)
class Through:
    """Tasks a second through Ray; milliseconds of a core that the scheduler's and the writer's processes took for each; and
    commits and fsyncs a task."""

    rate: float
    scheduler: float
    writer: float
    commits: float
    syncs: float


def through_ray(replicas: int, budget: int | None, count: int) -> Through:
    """A run of `count` tasks from its driver to its folder."""
    names = [f"policy-{i}" for i in range(replicas)]
    shares = [share for share in (names[0::2], names[1::2]) if share]
    options = {"num_cpus": 0, "max_concurrency": 1000}
    with tempfile.TemporaryDirectory() as folder:
        writer = staging(CountingWriter).options(num_cpus=0, name="writer").remote(Path(folder))
        hosts = [
            ray.remote(Host).options(name=f"host-{i}", **options).remote(share, "writer")
            for i, share in enumerate(shares)
        ]
        whose = {name: f"host-{i}" for i, share in enumerate(shares) for name in share}
        scheduler = (
            ray.remote(HostedScheduler).options(**options).remote(whose, "writer", allocator(budget), budget)
        )
        get([host.info.remote(share[0]) for host, share in zip(hosts, shares, strict=True)])
        driver = Driver(
            scheduler, writer, {}, grace=0.0, sequences=A_LEASE * replicas, why=lambda names: ", ".join(names)
        )
        before = get([actor.seconds.remote() for actor in (scheduler, writer)])
        started = time.perf_counter()
        progress = driver.run(((task, None) for task in tasks(count, 100)), lambda _: None)
        seconds = time.perf_counter() - started
        assert progress.answered == count
        after = get([actor.seconds.remote() for actor in (scheduler, writer)])
        took = [1e3 * (b - a) / count for a, b in zip(before, after, strict=True)]
        commits, syncs = get(writer.counts.remote())
        for actor in (scheduler, writer, *hosts):
            ray.kill(actor)
    return Through(count / seconds, took[0], took[1], commits / count, syncs / count)


class Paper:
    """A run writer that keeps nothing."""

    async def commit(self, commit: Commit) -> list[str]:
        return []

    async def take_over(self) -> Books:
        return Books(0, 0, (), {}, 1, 1, {}, {}, 0.0)


async def stream(count: int, replicas: int = 4) -> None:
    """Prompts through a scheduler of this process, as many at once as the driver lets it have."""
    budget = count * COST
    scheduler = Scheduler(
        {f"policy-{i}": Replica() for i in range(replicas)}, Paper(), allocator(budget), budget=budget
    )
    await scheduler.open()
    running = asyncio.create_task(scheduler.run())
    left = tasks(count, 0)
    while not running.done():
        there = scheduler.progress().tasks_open
        if there < WAITING_TASKS // 2:
            batch = list(itertools.islice(left, WAITING_TASKS - there))
            await (scheduler.submit(batch) if batch else scheduler.close())
        await asyncio.sleep(0)
    await running
    assert scheduler.progress().answered == count


def peak(count: int) -> int:
    """The most bytes that Python's objects took while `count` prompts streamed through."""
    gc.collect()
    tracemalloc.start()
    asyncio.run(stream(count))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--tasks", type=int, default=20_000, help="tasks of each run (core: at least four rounds)"
    )
    parser.add_argument("--prompts", type=int, default=1_000_000, help="prompts of the larger stream")
    options = parser.parse_args()
    console = Console()

    columns = ("no budget", "budget", "budget of half")
    table = Table("replicas", *columns, title=f"core: tasks a core-second, {A_LEASE} a lease")
    for replicas in CORE:
        count = max(options.tasks, 4 * A_LEASE * replicas)
        rates = [core(replicas, budget, count) for budget in (None, count * COST, count * COST // 2)]
        table.add_row(f"{replicas:,}", *(f"{rate:,.0f}" for rate in rates))
    console.print(table)

    start_ray()
    columns = ("budget", "tasks/s", "scheduler ms/task", "writer ms/task", "commits/task", "fsyncs/task")
    table = Table("replicas", *columns, title="from driver to folder through Ray")
    for replicas in RAY:
        for budget in (None, options.tasks * COST):
            one = through_ray(replicas, budget, options.tasks)
            table.add_row(
                str(replicas),
                "no" if budget is None else "yes",
                f"{one.rate:,.0f}",
                f"{one.scheduler:.2f}",
                f"{one.writer:.2f}",
                f"{one.commits:.3f}",
                f"{one.syncs:.3f}",
            )
    ray.shutdown()
    console.print(table)

    few, many = peak(10_000), peak(options.prompts)
    console.print(
        f"memory: {few / 1e6:.1f} MB at 10,000 prompts, {many / 1e6:.1f} MB at {options.prompts:,}: "
        f"ratio {many / few:.2f}"
    )


if __name__ == "__main__":
    main()
