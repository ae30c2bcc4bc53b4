"""Replicas and a disk that do nothing of themselves, and a clock that stands: a test moves them one event at a time.

A replica keeps real purses and does with its orders what `SolverReplica` does; only what it computes is made up.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from actors.engines.base import EngineCounters
from actors.ledger import Kind, Pace, Purpose, Purse
from actors.messages import Account, Books, Commit, Finished, Lease, Orders, Pulse, Report
from actors.scheduling.scheduler import Scheduler
from actors.store.writer import RunWriter
from actors.strategy import Models, Prompt, PurseEmpty, Solution
from actors.work import Cost, Outcome, State, Task

ROOM = 3
"""Tasks that a replica takes on at once."""


@dataclass(frozen=True, slots=True)
class Named:
    """A strategy that only has to have a name."""

    text: str = "any"
    uses_verifier: bool = False
    sequences: int = 1

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        raise NotImplementedError


class Clockwork(asyncio.SelectorEventLoop):
    """An event loop whose time passes when it is told."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def pass_by(self, seconds: float, step: float = 0.1) -> None:
        """Have time pass in steps, after each of which everybody comes to wait."""
        for _ in range(round(seconds / step)):
            self.now += step
            self.rest()

    def rest(self) -> None:
        """Run until everybody waits."""
        while True:
            self.call_soon(self.stop)
            self.run_forever()
            if not self._ready:  # type: ignore[attr-defined]
                return


class Dead(Exception):
    """What the caller of a process that died, or cannot be reached, sees."""


@dataclass
class Running:
    """A request: what is reserved for it, and where its engine tells it, the pace of its tokens and what it has drawn."""

    amount: int
    pace: Pace | None
    token: int = 0
    drawn: int = 0
    stepping: bool = False

    @property
    def used(self) -> int:
        """What its engine has really used; where nobody tells, it may be all."""
        return self.amount if self.pace is None else min(self.amount, self.token * self.drawn)

    def step(self, *, told: bool) -> None:
        """Its engine begins a step if the next token is paid; and tells of it."""
        if self.pace is None:
            return
        if not self.stepping and self.pace.paid:
            self.stepping = True
            self.drawn += 1
        if self.stepping and told:
            self.stepping = False
            self.pace.drew()


@dataclass
class Held:
    """A lease in a replica's hands: requests that run, and some that wait for the purse."""

    lease: Lease
    purse: Purse
    running: list[Running] = field(default_factory=list)
    waiting: list[tuple[int, int, asyncio.Task[Pace | None]]] = field(default_factory=list)

    def look(self) -> None:
        """Whoever waited and was served runs."""
        still = []
        for amount, token, one in self.waiting:
            if not one.done():
                still.append((amount, token, one))
            elif one.exception() is None:
                self.running.append(Running(amount, one.result(), token))
            else:
                assert isinstance(one.exception(), PurseEmpty)
        self.waiting = still


@dataclass
class Call:
    """An exchange that is under way."""

    orders: Orders
    answer: asyncio.Future[Report]
    arrived: bool = False


class Replica:
    """A policy replica that does nothing of itself. `burnt` are FLOPs that its engine has really used, where a request that
    was cut off has used all that was reserved for it, unless its tokens were told; `busy` are seconds that it computed."""

    def __init__(self, loop: Clockwork) -> None:
        self.loop = loop
        self.up = asyncio.Event()
        self.up.set()
        self.held: dict[int, Held] = {}
        self.finished: dict[int, Finished] = {}
        self.call: Call | None = None
        self.strays: list[Orders] = []
        self.life = self.burnt = 0
        self.busy = 0.0

    async def ready(self) -> None:
        await self.up.wait()

    async def restart(self) -> None:
        self.die()

    async def exchange(self, orders: Orders) -> Report:
        if not self.up.is_set():
            raise Dead("it is gone")
        assert self.call is None, "two exchanges at once"
        call = self.call = Call(orders, self.loop.create_future())
        try:
            return await call.answer
        finally:
            # Orders whose sender gave up may arrive all the same.
            if not call.arrived and self.up.is_set():
                self.strays.append(call.orders)
            self.call = None

    async def pulse(self) -> Pulse:
        return Pulse(EngineCounters(0, 0, 0.0, 0))

    def take(self, orders: Orders) -> None:
        """What a replica does with its orders (see `SolverReplica.exchange`)."""
        if orders.life < self.life:
            return
        self.life = orders.life
        for number in orders.acknowledged:
            self.finished.pop(number, None)
        for lease in orders.leases:
            assert lease.id not in self.held
            self.held[lease.id] = Held(lease, Purse(lease.grant, lease.limit))
        for grant in orders.grants:
            if grant.lease in self.held:
                self.held[grant.lease].purse.refill(grant.total)
        for limit in orders.limits:
            if limit.lease in self.held:
                self.held[limit.lease].purse.raise_limit(limit.total)
        self.loop.rest()
        for number in self.held.keys() - set(orders.holds):
            self.drop(number)
        if orders.stop:
            for number in tuple(self.held):
                self.finish(number, "stopped with the run", blameless=True)
        self.look()

    def arrive(self) -> None:
        assert self.call is not None
        self.call.arrived = True
        self.take(self.call.orders)

    def answer(self) -> None:
        assert self.call is not None
        self.call.answer.set_result(self.report())
        self.loop.rest()

    def report(self) -> Report:
        accounts = tuple(
            Account(
                number,
                h.purse.granted,
                h.purse.spent,
                h.purse.reserved,
                h.purse.lacking,
                h.purse.limit,
                h.purse.used,
                h.purse.wanted,
            )
            for number, h in self.held.items()
        )
        wanted = max(0, ROOM - len(self.held))
        return Report(tuple(self.finished.values()), accounts, wanted, EngineCounters(0, 0, self.busy, 0))

    def look(self) -> None:
        self.loop.rest()
        for held in self.held.values():
            held.look()

    def ask(self, number: int, amount: int, token: int = 0) -> None:
        """A request of a lease; with a `token`, its engine tells each."""
        purse = self.held[number].purse

        async def reserve() -> Pace | None:
            if token:
                return await purse.reserve_paced(amount, token, token)
            await purse.reserve(amount)
            return None

        self.held[number].waiting.append((amount, token, self.loop.create_task(reserve())))
        self.look()

    def step(self, number: int, *, told: bool) -> None:
        """The engine computes a token for each request of a lease."""
        for one in self.held[number].running:
            one.step(told=told)

    def serve(self, number: int, share: float, purpose: Purpose, kind: Kind) -> None:
        """The oldest request of a lease comes to its end."""
        held = self.held[number]
        one = held.running.pop(0)
        took = int(share * one.amount) if one.pace is None else one.used
        self.burnt += took
        if one.pace is not None:
            one.pace.end()
        # A request that failed is charged all that was set aside for it.
        held.purse.settle(one.amount, one.amount if kind == "failed" else took, purpose, kind)
        self.look()

    def drop(self, number: int) -> Held:
        """Stop working on a lease; what runs is cut off."""
        held = self.held.pop(number)
        for _, _, one in held.waiting:
            one.cancel()
        self.burnt += sum(one.used for one in held.running)
        return held

    def finish(self, number: int, error: str = "", *, blameless: bool = False, failed: int = 0) -> None:
        held = self.drop(number)
        lease = held.lease
        self.finished[number] = Finished(
            lease=number,
            attempt=lease.attempt,
            task_id=lease.task.id,
            outcomes=() if error else outcomes(lease.task, failed),
            entries=held.purse.entries,
            error=error,
            blameless=blameless,
        )

    def die(self) -> None:
        for number in tuple(self.held):
            self.drop(number)
        self.finished.clear()
        self.strays.clear()
        self.life = 0
        self.up.clear()
        if self.call is not None and not self.call.answer.done():
            self.call.answer.set_exception(Dead("it died"))


def outcomes(task: Task, failed: int = 0) -> tuple[Outcome, ...]:
    """Those of a task whose first `failed` strategies failed."""
    ends: list[tuple[State, str, str | None]] = [("quarantined", "ValueError: no", None)] * failed
    ends += [("answered", "", "4")] * (len(task.keys) - failed)
    return tuple(
        Outcome(key, task.prompt.id, "any", 0, state, reason, answer, 1, 0, 0, Cost(), Cost(), 0.0)
        for key, (state, reason, answer) in zip(task.keys, ends, strict=True)
    )


class Disk:
    """The run writer as the scheduler sees it. While it is `slow`, a commit waits until it is let through."""

    def __init__(self, loop: Clockwork, writer: RunWriter) -> None:
        self.loop, self.writer = loop, writer
        self.slow = False
        self.waiting: tuple[Commit, asyncio.Future[list[str]]] | None = None
        self.written = 0

    async def take_over(self) -> Books:
        return self.writer.take_over()

    async def commit(self, commit: Commit) -> list[str]:
        if not self.slow:
            return self.write(commit)
        assert self.waiting is None, "two commits at once"
        answer = self.loop.create_future()
        self.waiting = commit, answer
        try:
            return await answer
        finally:
            self.waiting = None

    def write(self, commit: Commit) -> list[str]:
        self.written += 1
        return self.writer.commit(commit)

    def leave(self) -> None:
        """The writer's process ends, as it stands."""
        self.writer._log.close()
        self.writer._lock._file.close()

    def let_through(self, *, told: bool) -> None:
        assert self.waiting is not None
        commit, answer = self.waiting
        missing = self.write(commit)
        if told:
            answer.set_result(missing)


class Watched(Scheduler):
    """Notes why it buries replicas: a mistake of its own counts as a death there."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.reasons: list[str] = []

    async def _bury(self, name: str, reason: str, *, blame: bool = True) -> None:
        self.reasons.append(reason)
        await super()._bury(name, reason, blame=blame)
