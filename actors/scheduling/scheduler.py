"""The scheduler: hands tasks to replicas, keeps the books, takes back what dead replicas held.

One exchange is in flight per replica; it is the heartbeat, and its failure the death notice. State lives in `LeaseBook` and
`Ledger`; this class awaits between their calls, never within them. It knows nothing of strategies' insides. Invariants: a
lease or grant is durable with the run writer before its holder is told of it, a settlement before it is acknowledged or
counted as progress; so a scheduler that starts anew finds all that matters with the writer.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from actors.errors import UserError
from actors.ledger import Entry, Ledger
from actors.messages import STOPPED, Commit, Finished, GivenUp, Hold, Loss, Orders, Pulse, Report, Settlement
from actors.scheduling.ends import end_of, failed
from actors.scheduling.journal import Journal, WriterClient, WriterFailed
from actors.scheduling.leases import LeaseBook
from actors.scheduling.own_time import answer_of
from actors.scheduling.seen import Crew
from actors.scheduling.watch import Watch
from actors.strategy import Role
from actors.work import (
    NO_CANDIDATE,
    Allocator,
    Load,
    Outcome,
    Pricing,
    Progress,
    State,
    Tally,
    Task,
    tally_of,
    unpaid_at,
)

EXCHANGE_TIMEOUT_S = 120.0
"""Seconds of its own time without an answer to an exchange after which a replica is held to hang."""

MAX_REPLICA_DEATHS = 5
"""Deaths in a row without one settled task after which a replica is given up."""

NOTE_SECONDS = 10.0
"""Without a budget no grant says what a lost lease may have cost: what it has spent is written down this often."""

MAX_UNSERVED = 24
"""Tasks in a row, without one settled, that lack a service before the run is held to be unable to go on."""

UNSERVED_SECONDS = 900.0
"""The same in seconds from the first of them to the last."""


class ReplicaClient(Protocol):
    """A replica that solves tasks, as the scheduler sees it."""

    async def ready(self) -> None:
        """Return when the replica has loaded, however often it restarts; raises what it died of if it never will."""

    async def exchange(self, orders: Orders) -> Report: ...

    async def pulse(self) -> Pulse:
        """How its process is; answered while an exchange is under way."""

    async def restart(self) -> None:
        """Kill the process, so that a fresh one takes its place."""


class Scheduler:
    """Drives every replica until all tasks have ended. `roles` says whose model one has where it is not the policy's:
    a task goes to one of its home's role."""

    def __init__(
        self,
        replicas: Mapping[str, ReplicaClient],
        writer: WriterClient,
        allocator: Allocator,
        *,
        budget: int | None,
        deadline: float = EXCHANGE_TIMEOUT_S,
        prior: bool = False,
        roles: Mapping[str, Role] | None = None,
    ) -> None:
        self._prior = prior
        self._replicas, self._deadline = replicas, deadline
        self._journal = Journal(writer)
        self._allocator, self._budget = allocator, budget
        self._pricing = allocator if isinstance(allocator, Pricing) else None
        self._ledger = Ledger(budget)
        self._book = LeaseBook(self._ledger, allocator)
        self._crew = Crew({name: (roles or {}).get(name, "policy") for name in replicas})
        self._seen = self._crew.seen
        self._acks: dict[str, list[int]] = {name: [] for name in replicas}
        self._work = asyncio.Condition()
        self._closed = self._draining = False
        self._stop_at = float("inf")
        self._error = ""
        self._failed: UserError | None = None
        self._unserved: list[tuple[float, str]] = []
        self._life = 0
        self._submitted = 0
        self._running: asyncio.Task[None] | None = None
        self._inherited: list[Hold] = []
        self._outcomes: dict[State, int] = {"answered": 0, "unaffordable": 0, "quarantined": 0}
        self._tokens: Counter[Role] = Counter()
        self._tallies: dict[str, Tally] = {}
        self._started = time.monotonic()

    async def open(self) -> int:
        """Take the run over as it stands on disk, before tasks are submitted; once, however often it is called. Returns which
        of the run's schedulers this one is, from 1."""
        if self._life:
            return self._life
        books = await self._journal.take_over()
        self._ledger = Ledger(self._budget, spent=books.spent, wasted=books.wasted)
        self._book = LeaseBook(
            self._ledger, self._allocator, attempts=books.attempts, first=books.next_lease, prior=self._prior
        )
        if self._pricing is not None:
            self._pricing.resume(books.spent + books.wasted, sum(books.outcomes.values()))
        self._life = books.life
        self._outcomes |= books.outcomes
        self._tokens = Counter(books.tokens)
        self._started = time.monotonic() - books.seconds
        self._inherited = list(books.holds)
        return self._life

    async def submit(self, tasks: list[Task], number: int | None = None) -> None:
        """Queue tasks; their labels are with the writer already. Those that are refused end here. A submission that has the
        `number` of an earlier one has arrived twice."""
        if number is not None:
            if number <= self._submitted:
                return
            self._submitted = number
        for task in tasks:
            if not task.refused:
                self._book.add(task)
        refused = [task for task in tasks if task.refused]
        await self._give_up([(task, end_of(task, "quarantined", task.refused)) for task in refused])
        await self._nudge()

    async def close(self) -> None:
        """Say that no more tasks will come."""
        self._closed = True
        await self._nudge()

    async def drain(self, seconds: float = float("inf")) -> None:
        """Lease nothing more; what is in hand may end within `seconds`, and is stopped then."""
        self._draining = True
        self._stop_at = min(self._stop_at, time.monotonic() + seconds)
        await self._nudge()

    async def run(self) -> None:
        """Drive all replicas; returns when every task has ended, raises when none of them can go on. A second call waits
        for the same end.

        Leases of an earlier scheduler go on where their replicas still hold them; their tasks have been submitted again.
        """
        if self._running is None:
            self._running = asyncio.create_task(self._drive_all())
        try:
            await asyncio.shield(self._running)
        except asyncio.CancelledError:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            raise

    async def _drive_all(self) -> None:
        orphans = self._book.restore(self._inherited, time.monotonic())
        self._inherited = []
        if orphans:
            losses = [
                Loss(o.lease, o.task_id, o.attempt, (Entry("unknown", "lost", o.flops),), "its task is gone")
                for o in orphans
            ]
            wasted = sum(loss.flops for loss in losses)
            self._ledger.wasted += wasted
            if self._pricing is not None:
                self._pricing.charge(wasted)
            await self._write(Commit(losses=tuple(losses)))
        results = await asyncio.gather(
            *(self._drive(name, replica) for name, replica in self._replicas.items()), return_exceptions=True
        )
        errors = [r for r in results if isinstance(r, BaseException)]
        if self._failed is not None:
            raise self._failed
        forsaken = self._crew.forsaken(self._book.queued_at)
        if errors and (forsaken is not None or not self._done()):
            failure = forsaken or errors[0]
            self._error = str(failure)
            raise failure

    def progress(self) -> Progress:
        """A snapshot; counts only what is durable."""
        now = time.monotonic()
        down = tuple(name for name, seen in self._seen.items() if not seen.alive)
        return Progress(
            tasks_open=self._book.queued + self._book.leased,
            outcomes=sum(self._outcomes.values()),
            answered=self._outcomes["answered"],
            unaffordable=self._outcomes["unaffordable"],
            quarantined=self._outcomes["quarantined"],
            spent=self._ledger.charged,
            reserved=self._ledger.reserved,
            wasted=self._ledger.wasted,
            budget=self._budget,
            seconds=now - self._started,
            load=self._load(),
            oldest=self._book.oldest(now, 5),
            waiting_for=self._error or ", ".join(down),
            replicas_down=() if self._error else down,
            tallies=dict(self._tallies),
        )

    def _load(self) -> dict[Role, Load]:
        """Of those that solve tasks as their replicas tell it while they work, of others what the outcomes say that ended."""
        load: dict[Role, Load] = {role: Load(tokens) for role, tokens in self._tokens.items()}
        return load | self._crew.loads()

    def _done(self) -> bool:
        if self._failed is not None or self._crew.forsaken(self._book.queued_at) is not None:
            return True
        idle = self._book.leased == 0
        return idle and (self._draining or (self._closed and self._book.queued == 0))

    async def _write(self, commit: Commit) -> list[str]:
        """Make something durable; where that fails, the run is over."""
        try:
            return await self._journal.write(replace(commit, life=self._life))
        except WriterFailed as failure:
            self._failed = failure
            raise

    async def _nudge(self) -> None:
        async with self._work:
            self._work.notify_all()

    async def _drive(self, name: str, replica: ReplicaClient) -> None:
        """All lives of a replica, and its end where it has one."""
        try:
            await self._live(name, replica)
        except Exception as death:
            self._crew.dead[name] = death
            await self._nudge()
            raise

    async def _live(self, name: str, replica: ReplicaClient) -> None:
        """A replica's lives: start, exchanges, death, start again."""
        deaths_in_a_row = 0
        while not self._done():
            settled_before = self._seen[name].settled
            up = False
            try:
                up = await self._starts(name, replica)
                if up:
                    await self._exchanges(name, replica)
            except asyncio.CancelledError:
                raise
            except WriterFailed:
                raise
            except Exception as death:
                await self._bury(name, f"{type(death).__name__}: {death}"[:300])
                # What was given up with it is done with, as what was settled.
                if self._seen[name].settled > settled_before:
                    deaths_in_a_row = 0
                deaths_in_a_row += 1
                hangs = isinstance(death, TimeoutError)
                if deaths_in_a_row > MAX_REPLICA_DEATHS or not (up or hangs):
                    raise
                if hangs:
                    await replica.restart()
                await asyncio.sleep(min(0.2 * 2**deaths_in_a_row, 5.0))

    async def _starts(self, name: str, replica: ReplicaClient) -> bool:
        """Wait until a replica is up; False where all is done without it (its machine may never come)."""
        starting = asyncio.ensure_future(replica.ready())
        try:
            # However long: a machine may be on its way, and a start ends itself (see `replicas.starting`).
            while not self._done():
                if (await asyncio.wait({starting}, timeout=0.5))[0]:
                    starting.result()
                    return True
                if time.monotonic() >= self._stop_at:
                    # What an earlier life of it held nobody waits for any more.
                    await self._bury(name, STOPPED, blame=False)
            return False
        finally:
            starting.cancel()

    async def _exchanges(self, name: str, replica: ReplicaClient) -> None:
        """Exchange with a replica that is up until all is done; a replica with nothing to do is parked."""
        seen = self._seen[name]
        seen.alive = True
        wanted = 0
        watch = Watch(self._deadline, time.monotonic())
        while not self._done():
            orders = await self._orders(name, wanted)
            if wanted > 0 and not (orders.acknowledged or orders.holds):
                await self._give_up_starved()
                await self._park()
                watch.rest(time.monotonic())
                if not self._crew.asked(name):
                    continue
            report = await answer_of(
                replica.exchange(orders), replica.pulse, self._deadline, starved=seen.starved
            )
            wanted = report.sequences_wanted
            watch.see(report, time.monotonic())
            seen.starved = report.starved
            seen.tokens, seen.busy = report.counters.tokens_out, report.counters.busy_seconds
            seen.flops = report.counters.flops
            seen.ended, seen.cut_off = report.counters.ended, report.counters.cut_off
            self._book.hear(name, report.accounts, report.counters.busy_seconds)
            known = {one.lease for one in report.accounts} | {one.lease for one in report.finished}
            await self._settle(name, report.finished)
            # One that its replica has never heard of: it was lost between two lives of the replica or of its scheduler.
            gone = [lease for lease in orders.holds if lease not in known and self._book.knows(lease)]
            await self._lose(name, [(lease, None) for lease in gone], "its replica does not know it any more")
            self._book.refill()

    async def _orders(self, name: str, wanted: int) -> Orders:
        """What a replica is to be told, once that is durable."""
        seen, now = self._seen[name], time.monotonic()
        role, among = self._crew.roles[name], self._crew.serving(name)
        leases = [] if self._draining else self._book.lease(name, wanted, now, among, role=role)
        limits = self._book.limits(name)
        grants = self._book.grants(name)
        holds = self._book.held_by(name)
        noted = {one.id for one in leases} | {one.lease for one in grants} | {one.lease for one in limits}
        if not self._ledger.limited and now - seen.noted > NOTE_SECONDS:
            seen.noted = now
            noted |= set(self._book.changed(name))
        if noted:
            await self._write(Commit(holds=tuple(self._book.holds(noted))))
        acks, self._acks[name] = self._acks[name], []
        stop = now >= self._stop_at
        return Orders(tuple(leases), tuple(grants), tuple(acks), holds, stop, self._life, tuple(limits))

    async def _settle(self, name: str, finished: tuple[Finished, ...]) -> None:
        """Commit what ended, then count it and acknowledge it."""
        counted = [f for f in finished if self._book.counts(f.lease, f.attempt)]
        good = [f for f in counted if not f.error]
        missing: set[str] = set()
        if good:
            settled = tuple(Settlement(f.lease, f.task_id, f.attempt, f.entries) for f in good)
            missing = set(await self._write(Commit(settled=settled)))
        ended: list[tuple[Task, Finished]] = []
        for one in good:
            if one.task_id in missing:
                continue
            ended.append((self._book.settle(one.lease, one.spent, one.wasted), one))
            self._seen[name].settled += 1
            self._unserved.clear()
            for outcome in one.outcomes:
                self._outcomes[outcome.state] += 1
                self._tallies[outcome.strategy] = self._tallies.get(outcome.strategy, Tally()) + tally_of(
                    outcome
                )
                self._tokens.update(outcome.spent.tokens)
        for one in counted:
            if one.error:
                if one.blameless and one.error != STOPPED:
                    self._unserved.append((time.monotonic(), one.error))
                await self._lose(name, [(one.lease, one.entries)], one.error, blame=not one.blameless)
            elif one.task_id in missing:
                await self._lose(name, [(one.lease, one.entries)], "the run writer lost its record")
        if self._unserved and self._failed is None:
            (since, _), (last, why) = self._unserved[0], self._unserved[-1]
            if len(self._unserved) > MAX_UNSERVED or last - since > UNSERVED_SECONDS:
                self._failed = UserError(
                    f"the run cannot go on: {why}; mend it, and the same command goes on"
                )
        self._acks[name].extend(f.lease for f in finished)
        if self._pricing is not None:
            # Last: whatever goes wrong here, the books are as they are on disk.
            for task, one in ended:
                self._pricing.end(task, one.outcomes, one.spent)
        if finished:
            await self._nudge()

    async def _bury(self, name: str, reason: str, *, blame: bool = True) -> None:
        """Take back what a dead replica held."""
        self._seen[name].die()
        self._acks[name].clear()
        await self._lose(name, [(lease, None) for lease in self._book.held_by(name)], reason, blame=blame)

    async def _lose(
        self,
        name: str,
        leases: list[tuple[int, tuple[Entry, ...] | None]],
        reason: str,
        *,
        blame: bool = True,
    ) -> None:
        """Charge lost leases as waste, at what they spent where that is known; their tasks are queued again, or end as
        quarantined."""
        losses, given_up, heard = [], [], []
        for number, entries in leases:
            spent = None if entries is None else sum(entry.flops for entry in entries)
            lost = self._book.lose(number, spent, blame=blame)
            lease = lost.lease
            charged = (Entry("unknown", "lost", lost.waste),) if entries is None else failed(entries)
            losses.append(Loss(number, lease.task.id, lease.attempt, charged, reason, blame))
            if lost.given_up:
                why = f"lost {lease.attempt} times, last: {reason}"
                given_up.append(GivenUp(lease.task.id, end_of(lease.task, "quarantined", why)))
            heard.append((lost, given_up[-1].outcomes if lost.given_up else ()))
        if losses:
            await self._write(Commit(losses=tuple(losses), given_up=tuple(given_up)))
            self._outcomes["quarantined"] += sum(len(end.outcomes) for end in given_up)
            # What is given up is done with, as what is settled: the replica got on.
            self._seen[name].settled += len(given_up)
            if self._pricing is not None:
                for lost, outcomes in heard:
                    if lost.given_up:
                        self._pricing.end(lost.lease.task, outcomes, lost.waste)
                    else:
                        self._pricing.lose(lost.lease.task, lost.waste)
            await self._nudge()

    async def _give_up_starved(self) -> None:
        starved = self._book.starve()
        await self._give_up([(task, end_of(task, "unaffordable", self._unpaid(task))) for task in starved])
        if starved:
            await self._nudge()

    def _unpaid(self, task: Task) -> str:
        """Why a task that never began ends without a candidate."""
        return NO_CANDIDATE if self._pricing is None else unpaid_at(self._pricing.terms(task).price)

    async def _give_up(self, ends: list[tuple[Task, tuple[Outcome, ...]]]) -> None:
        """End tasks that never began."""
        if not ends:
            return
        await self._write(Commit(given_up=tuple(GivenUp(task.id, outcomes) for task, outcomes in ends)))
        for task, outcomes in ends:
            for outcome in outcomes:
                self._outcomes[outcome.state] += 1
            if self._pricing is not None:
                self._pricing.end(task, outcomes, 0, begun=False)

    async def _park(self) -> None:
        """Wait until something has changed: a task queued, a lease ended, the end of the run."""
        if self._done():
            return
        async with self._work:
            try:
                await asyncio.wait_for(self._work.wait(), 1.0)
            except TimeoutError:
                return
