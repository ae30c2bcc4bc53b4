"""The scheduler: hands tasks to replicas, keeps the books, takes back what dead replicas held.

One exchange is in flight per replica; it is the heartbeat, and its failure the death notice. State lives in `LeaseBook` and
`Ledger`; this class awaits between their calls, never within them. It knows nothing of strategies' insides. Invariant: a
settlement is durable with the run writer before it is acknowledged to a replica or counted as progress.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Protocol

from actors.leases import Allocator, Grant, Lease, LeaseBook
from actors.ledger import Ledger
from actors.messages import Finished, GivenUp, Orders, Report, Settlement, Waste
from actors.work import Cost, Outcome, Progress, State, Task

DEADLINE = 120.0
"""Seconds without an answer to an exchange after which a replica is held to hang."""

STARTING = 600.0
"""Seconds a replica may take to load its model."""

MAX_DEATHS = 5
"""Deaths in a row without one settled task after which a replica is given up."""


class ReplicaClient(Protocol):
    """A policy replica as the scheduler sees it."""

    async def ready(self) -> None:
        """Return when the replica has loaded, however often it restarts; raises what it died of if it never will."""

    async def exchange(self, orders: Orders) -> Report: ...

    async def restart(self) -> None:
        """Kill the process, so that a fresh one takes its place."""


class WriterClient(Protocol):
    """The run writer as the scheduler sees it."""

    async def commit(
        self, settled: list[Settlement], wasted: list[Waste], given_up: list[GivenUp]
    ) -> list[str]: ...


@dataclass(slots=True)
class _Seen:
    """What a replica last said of its engine, and when; totals of earlier lives of the replica are added in."""

    alive: bool = False
    tokens: int = 0
    busy: float = 0.0
    past_tokens: int = 0
    past_busy: float = 0.0
    settled: int = 0


class Scheduler:
    """Drives every replica until all tasks have ended."""

    def __init__(
        self,
        replicas: dict[str, ReplicaClient],
        writer: WriterClient,
        allocator: Allocator,
        *,
        budget: int | None,
        spent: int = 0,
        wasted: int = 0,
        deadline: float = DEADLINE,
    ) -> None:
        self._replicas, self._writer, self._deadline = replicas, writer, deadline
        self._ledger = Ledger(budget, spent=spent, wasted=wasted)
        self._budget = budget
        self._book = LeaseBook(self._ledger, allocator)
        self._seen = {name: _Seen() for name in replicas}
        self._acks: dict[str, list[int]] = {name: [] for name in replicas}
        self._grants: dict[str, list[Grant]] = {name: [] for name in replicas}
        self._work = asyncio.Condition()
        self._closed = self._draining = False
        self._error = ""
        self._outcomes: dict[State, int] = {"answered": 0, "unaffordable": 0, "quarantined": 0}
        self._verifier_tokens = 0
        self._started = time.monotonic()

    async def submit(self, tasks: list[Task]) -> None:
        """Queue tasks; their labels are with the writer already."""
        for task in tasks:
            self._book.add(task)
        await self._nudge()

    async def close(self) -> None:
        """Say that no more tasks will come."""
        self._closed = True
        await self._nudge()

    async def drain(self) -> None:
        """Lease nothing more; what is in hand may end."""
        self._draining = True
        await self._nudge()

    async def run(self) -> None:
        """Drive all replicas; returns when every task has ended, raises when none of them can go on."""
        results = await asyncio.gather(
            *(self._drive(name, replica) for name, replica in self._replicas.items()), return_exceptions=True
        )
        errors = [r for r in results if isinstance(r, BaseException)]
        if errors and not self._done():
            self._error = str(errors[0])
            raise errors[0]

    def progress(self) -> Progress:
        """A snapshot; counts only what is durable."""
        now = time.monotonic()
        return Progress(
            tasks_open=self._book.queued + self._book.leased,
            outcomes=sum(self._outcomes.values()),
            answered=self._outcomes["answered"],
            unaffordable=self._outcomes["unaffordable"],
            quarantined=self._outcomes["quarantined"],
            policy_tokens=sum(s.tokens + s.past_tokens for s in self._seen.values()),
            verifier_tokens=self._verifier_tokens,
            spent=self._ledger.charged,
            reserved=self._ledger.reserved,
            wasted=self._ledger.wasted,
            budget=self._budget,
            policy_busy=sum(s.busy + s.past_busy for s in self._seen.values()),
            policy_replicas=sum(s.alive for s in self._seen.values()),
            seconds=now - self._started,
            oldest=self._book.oldest(now, 5),
            waiting_for=self._error or ", ".join(n for n, s in self._seen.items() if not s.alive),
        )

    def _done(self) -> bool:
        idle = self._book.leased == 0
        return idle and (self._draining or (self._closed and self._book.queued == 0))

    async def _nudge(self) -> None:
        async with self._work:
            self._work.notify_all()

    async def _drive(self, name: str, replica: ReplicaClient) -> None:
        """One replica's life: start, exchanges, death, start again."""
        deaths_in_a_row = 0
        while not self._done():
            settled_before = self._seen[name].settled
            up = False
            try:
                up = await self._starts(replica)
                if up:
                    await self._exchanges(name, replica)
            except asyncio.CancelledError:
                raise
            except Exception as death:
                if self._seen[name].settled > settled_before:
                    deaths_in_a_row = 0
                deaths_in_a_row += 1
                await self._bury(name, f"{type(death).__name__}: {death}"[:300])
                hangs = isinstance(death, TimeoutError)
                if deaths_in_a_row > MAX_DEATHS or not (up or hangs):
                    raise
                if hangs:
                    await replica.restart()
                await asyncio.sleep(min(0.2 * 2**deaths_in_a_row, 5.0))

    async def _starts(self, replica: ReplicaClient) -> bool:
        """Wait until a replica is up; False where all is done without it (its machine may never come)."""
        starting = asyncio.ensure_future(replica.ready())
        try:
            async with asyncio.timeout(STARTING):
                while not self._done():
                    if (await asyncio.wait({starting}, timeout=0.5))[0]:
                        starting.result()
                        return True
            return False
        finally:
            starting.cancel()

    async def _exchanges(self, name: str, replica: ReplicaClient) -> None:
        """Exchange with a replica that is up until all is done; a replica with nothing to do is parked."""
        seen = self._seen[name]
        seen.alive = True
        wanted = computed = 0
        moved = time.monotonic()
        while not self._done():
            acks, self._acks[name] = self._acks[name], []
            grants, self._grants[name] = self._grants[name], []
            leases: list[Lease] = []
            if not self._draining:
                leases = self._book.lease(name, wanted, time.monotonic(), len(self._replicas))
            holds = self._book.held_by(name)
            if wanted > 0 and not (acks or holds):
                await self._give_up_starved()
                await self._park()
                continue
            orders = Orders(tuple(leases), tuple(grants), tuple(acks), holds)
            report = await asyncio.wait_for(replica.exchange(orders), self._deadline)
            wanted, now = report.sequences_wanted, time.monotonic()
            if not report.counters.running or report.counters.tokens_computed != computed:
                computed, moved = report.counters.tokens_computed, now
            elif now - moved > self._deadline:
                raise TimeoutError(
                    f"no new token in {self._deadline:g} s of {report.counters.running} requests"
                )
            seen.tokens, seen.busy = report.counters.tokens_out, report.counters.busy_seconds
            for account in report.accounts:
                # Granted while the exchange was in flight, on another replica's news: it lacks that much less.
                under_way = sum(g.amount or 0 for g in self._grants[name] if g.lease == account.lease)
                lacking = max(0, account.lacking - under_way)
                self._book.report(account.lease, account.spent, account.reserved, lacking)
            await self._settle(name, report.finished)
            for other, more in self._book.refills().items():
                self._grants[other].extend(more)

    async def _settle(self, name: str, finished: tuple[Finished, ...]) -> None:
        """Commit what ended, then count it and acknowledge it."""
        good = [f for f in finished if self._book.holds(f.lease, f.attempt) and not f.error]
        bad = [f for f in finished if self._book.holds(f.lease, f.attempt) and f.error]
        missing: list[str] = []
        if good:
            missing = await self._writer.commit(
                [Settlement(f.task_id, f.attempt, f.spent, f.wasted) for f in good], [], []
            )
        for one in good:
            if one.task_id in missing:
                bad.append(one)
                continue
            self._book.settle(one.lease, one.spent, one.wasted)
            self._seen[name].settled += 1
            for outcome in one.outcomes:
                self._outcomes[outcome.state] += 1
                self._verifier_tokens += outcome.spent.verifier_tokens
        for one in bad:
            await self._lose({one.lease: one.spent}, one.error or "the run writer lost its record")
        self._acks[name].extend(f.lease for f in finished)
        if finished:
            await self._nudge()

    async def _bury(self, name: str, reason: str) -> None:
        """Take back what a dead replica held."""
        seen = self._seen[name]
        seen.alive = False
        seen.past_tokens, seen.tokens = seen.past_tokens + seen.tokens, 0
        seen.past_busy, seen.busy = seen.past_busy + seen.busy, 0.0
        self._acks[name].clear()
        self._grants[name].clear()
        await self._lose(dict.fromkeys(self._book.held_by(name)), reason)

    async def _lose(self, leases: dict[int, int | None], reason: str) -> None:
        """Charge lost leases as waste, at what they spent where that is known; their tasks are queued again, or end as
        quarantined."""
        wasted, given_up = [], []
        for number, spent in leases.items():
            lease, waste, hopeless = self._book.lose(number, spent)
            wasted.append(Waste(lease.task.id, lease.attempt, waste, reason))
            if hopeless:
                why = f"lost {lease.attempt} times, last: {reason}"
                given_up.append(GivenUp(lease.task.id, _end(lease.task, "quarantined", why)))
        if wasted:
            await self._writer.commit([], wasted, given_up)
            self._outcomes["quarantined"] += sum(len(end.outcomes) for end in given_up)
            await self._nudge()

    async def _give_up_starved(self) -> None:
        starved = self._book.starve()
        if starved:
            why = "the budget ended before the first candidate"
            ends = [GivenUp(task.id, _end(task, "unaffordable", why)) for task in starved]
            await self._writer.commit([], [], ends)
            self._outcomes["unaffordable"] += sum(len(end.outcomes) for end in ends)
            await self._nudge()

    async def _park(self) -> None:
        """Wait until something has changed: a task queued, a lease ended, the end of the run."""
        if self._done():
            return
        async with self._work:
            try:
                await asyncio.wait_for(self._work.wait(), 1.0)
            except TimeoutError:
                return


def _end(task: Task, state: State, reason: str) -> tuple[Outcome, ...]:
    """Outcomes of a task that ended without an answer."""
    return tuple(
        Outcome(
            key, task.prompt.id, strategy.text, task.seed, state, reason, None, 0, 0, 0, Cost(), Cost(), 0.0
        )
        for key, strategy in zip(task.keys, task.strategies, strict=True)
    )
