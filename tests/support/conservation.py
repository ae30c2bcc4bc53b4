"""One run of three replicas on a virtual clock, and all that can happen to it, as rules of a state machine.

It knows nothing of what must hold: that is its subclass's.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from actors.ledger import Kind, Purpose
from actors.messages import Lease, Record
from actors.scheduling.scheduler import EXCHANGE_TIMEOUT_S
from actors.store.log import read_books, read_holds
from actors.store.writer import RunWriter
from actors.strategy import Prompt
from actors.work import Task
from orchestration.allocation.first_come import FirstCome
from tests.support.folders import done_keys
from tests.support.puppets import Clockwork, Dead, Disk, Named, Replica, Watched, outcomes

T = TypeVar("T")

FIRST = 20
"""The largest request, which every task may start with."""

PLACE = st.integers(0, 5)
"""Which one of those it can happen to."""

HEARD = st.integers(0, 2)
"""How many times all orders that were sent and all reports arrive at once."""

SELDOM, RARELY = (st.integers(0, n).map(lambda drawn: drawn == 2) for n in (5, 15))
"""Whether what ends a process happens now: if it always did, nothing else would."""


def pick(there: list[T], at: int) -> T:
    return there[at % len(there)]


class Life(RuleBasedStateMachine):
    """One run of three replicas, from its first task to its last, through everything that can happen to it."""

    replicas: dict[str, Replica]

    @initialize(budget=st.sampled_from([None, 100, 400, 1_000, 3_000]))
    def begin(self, budget: int | None) -> None:
        self.budget = budget
        self.folder = Path(tempfile.mkdtemp())
        self.loop = Clockwork()
        asyncio.set_event_loop(self.loop)
        self.tasks: dict[str, Task] = {}
        self.replicas = {name: Replica(self.loop) for name in "abc"}
        self.disk = Disk(self.loop, RunWriter(self.folder, None))
        self.scheduler: Watched | None = None
        self.read = -1
        self.scheduler_comes()
        self.submit(5, refused=False, heard=2)

    # The driver

    @precondition(lambda self: self.scheduler is not None and len(self.disk.writer.unfinished()) < 12)
    @rule(count=st.integers(1, 4), refused=RARELY, heard=HEARD)
    def submit(self, count: int, refused: bool, heard: int) -> None:
        first = len(self.tasks)
        new = [
            Task(f"t{i}", Prompt(f"p{i}", ()), (Named(),) * (1 + i % 2), (f"k{i}", f"l{i}")[: 1 + i % 2], 0)
            for i in range(first, first + count)
        ]
        if refused:
            new.append(Task(f"r{first}", Prompt("p", ()), (Named(),), (f"r{first}",), 0, refused="too long"))
        self.disk.writer.label({task.id: None for task in new})
        self.tasks |= {task.id: task for task in new}
        self.do(self.living.submit(new))
        self.all_exchange(heard)

    def scheduler_comes(self) -> None:
        """A scheduler takes the run over as it stands on disk, and is given the tasks that have not ended."""
        allocator = FirstCome(None if self.budget is None else FIRST)
        one = Watched(dict(self.replicas), self.disk, allocator, budget=self.budget)
        self.do(one.open())
        unfinished = self.disk.writer.unfinished()
        self.do(one.submit([task for task in self.tasks.values() if task.id in unfinished]))
        self.running = self.loop.create_task(one.run())
        self.scheduler = one
        self.loop.rest()

    @property
    def living(self) -> Watched:
        assert self.scheduler is not None
        return self.scheduler

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Something that ends when the disk has written."""
        one = self.loop.create_task(work)
        self.loop.rest()
        while not one.done():
            self.disk.let_through(told=True)
            self.loop.rest()
        one.result()

    # Between the processes

    def calls(self, *, arrived: bool) -> list[Replica]:
        there = [one for one in self.replicas.values() if one.call is not None]
        return [one for one in there if one.call is not None and one.call.arrived == arrived]

    @rule(times=HEARD)
    def all_exchange(self, times: int) -> None:
        for _ in range(times):
            for one in self.calls(arrived=False):
                one.arrive()
            for one in self.calls(arrived=True):
                one.answer()

    @precondition(lambda self: self.calls(arrived=False))
    @rule(at=PLACE)
    def orders_arrive(self, at: int) -> None:
        pick(self.calls(arrived=False), at).arrive()

    @precondition(lambda self: self.calls(arrived=True))
    @rule(at=PLACE)
    def report_arrives(self, at: int) -> None:
        pick(self.calls(arrived=True), at).answer()

    @precondition(lambda self: any(one.strays for one in self.replicas.values()))
    @rule()
    def stray_orders_arrive(self) -> None:
        for one in self.replicas.values():
            if one.strays:
                one.take(one.strays.pop(0))

    @rule(slow=st.booleans())
    def write(self, slow: bool) -> None:
        """The disk has written what it was given, if anything; what it is given next may take its time."""
        if self.disk.waiting is not None:
            self.disk.let_through(told=True)
        self.disk.slow = slow
        self.loop.rest()

    @rule(heard=HEARD)
    def time_passes(self, heard: int) -> None:
        """Whoever died comes back, and who drained gives way to another."""
        if self.scheduler is not None and self.running.done():
            self.scheduler_goes(written=False)
        if self.scheduler is None:
            self.scheduler_comes()
        self.replicas_come()
        self.all_exchange(heard)

    def replicas_come(self) -> None:
        for one in self.replicas.values():
            one.up.set()
        self.loop.now += 6
        self.loop.rest()

    # The replicas

    def leases(self, *, running: bool = False) -> list[tuple[Replica, int]]:
        return [
            (one, number)
            for one in self.replicas.values()
            for number, held in one.held.items()
            if held.running or not running
        ]

    @precondition(lambda self: self.leases())
    @rule(
        at=PLACE,
        everywhere=st.booleans(),
        amounts=st.lists(st.integers(1, FIRST), min_size=1, max_size=3),
        token=st.sampled_from([0, 1, 1, 3]),
        heard=HEARD,
    )
    def request(self, at: int, everywhere: bool, amounts: list[int], token: int, heard: int) -> None:
        for one, lease in self.leases() if everywhere else [pick(self.leases(), at)]:
            for amount in amounts:
                one.ask(lease, amount, token)
        self.all_exchange(heard)

    @precondition(lambda self: self.leases(running=True))
    @rule(
        steps=st.integers(1, 8),
        told=st.booleans(),
        seconds=st.sampled_from([0.1, 1.0, 10.0]),
        heard=HEARD,
    )
    def compute(self, steps: int, told: bool, seconds: float, heard: int) -> None:
        """Every engine draws a few tokens, as far as they are paid; the longer it takes, the smaller are its slices. Of its
        last step it may not have told when something else happens."""
        for one, lease in self.leases(running=True):
            for _ in range(steps):
                one.step(lease, told=True)
            one.step(lease, told=told)
        for one in self.replicas.values():
            one.busy += seconds
        self.all_exchange(heard)

    @precondition(lambda self: self.leases(running=True))
    @rule(
        at=PLACE,
        everywhere=st.booleans(),
        share=st.sampled_from([0.0, 0.3, 0.8, 1.0]),
        purpose=st.sampled_from(["policy", "verifier"]),
        kind=st.sampled_from(["kept", "kept", "pruned", "failed", "lost"]),
    )
    def serve(self, at: int, everywhere: bool, share: float, purpose: Purpose, kind: Kind) -> None:
        there = self.leases(running=True)
        for one, lease in there if everywhere else [pick(there, at)]:
            one.serve(lease, share, purpose, kind)

    @precondition(lambda self: self.leases())
    @rule(at=PLACE, well=st.booleans(), failed=st.integers(0, 2), heard=HEARD)
    def end(self, at: int, well: bool, failed: int, heard: int) -> None:
        """It ends, maybe with strategies that failed; or fails itself."""
        one, lease = pick(self.leases(), at)
        if well:
            while one.held[lease].running:
                one.serve(lease, 0.5, "policy", "failed" if failed else "kept")
            failed = min(failed, len(one.held[lease].lease.task.keys))
            self.stage(one.held[lease].lease, failed)
            one.finish(lease, failed=failed)
        else:
            one.finish(lease, "ValueError: no")
        self.all_exchange(heard)

    def stage(self, lease: Lease, failed: int = 0) -> None:
        self.disk.writer.stage(lease.id, lease.task.id, Record(outcomes(lease.task, failed)))

    # What goes wrong

    @rule(
        now=SELDOM,
        how=st.sampled_from(["dies", "dies", "breaks", "breaks", "hangs"]),
        at=PLACE,
        staged=st.booleans(),
    )
    def replica_fails(self, now: bool, how: str, at: int, staged: bool) -> None:
        """It dies, maybe with a record that was staged and never reported; or its connection breaks, and it goes on with
        what the scheduler counts as lost until it hears of it; or all that are asked hang, and are killed for it."""
        one = pick(list(self.replicas.values()), at)
        if not now:
            return
        if how == "dies":
            if staged and one.held:
                self.stage(next(iter(one.held.values())).lease)
            one.die()
        elif how == "breaks" and one.call is not None:
            one.call.answer.set_exception(Dead("no connection"))
        elif how == "hangs" and self.disk.waiting is None:
            self.loop.now += EXCHANGE_TIMEOUT_S
        self.loop.rest()

    @precondition(lambda self: self.scheduler is not None)
    @rule(
        asked=st.sampled_from([0, 1, FIRST]),
        written=st.booleans(),
        back=st.sampled_from([True, True, False]),
        heard=HEARD,
    )
    def scheduler_dies(self, asked: int, written: bool, back: bool, heard: int) -> None:
        """Maybe just when it has granted what it was asked for, and nobody has heard of it."""
        if asked:
            for one, lease in self.leases():
                one.ask(lease, asked)
            self.all_exchange(1)
        self.scheduler_goes(written)
        if back:
            self.scheduler_comes()
            self.all_exchange(heard)

    def scheduler_goes(self, written: bool) -> None:
        """What it had sent to the disk is written or not; it is told of neither."""
        if written and self.disk.waiting is not None:
            self.disk.let_through(told=False)
        self.check_reasons()
        for task in (self.running, *self.living._journal._tasks):
            task.cancel()
        self.loop.rest()
        self.scheduler = None

    @precondition(lambda self: self.scheduler is not None)
    @rule(now=RARELY)
    def drain(self, now: bool) -> None:
        """What is in hand is stopped, for no fault of its own; another scheduler goes on."""
        if now:
            self.do(self.living.drain(0))

    @rule(now=RARELY, in_order=st.booleans(), written=st.booleans())
    def all_die(self, now: bool, in_order: bool, written: bool) -> None:
        """The machine goes, or Ctrl-C ends it in order; another run on the folder charges all that was open."""
        if not now:
            return
        if self.scheduler is not None:
            self.scheduler_goes(written)
        for one in self.replicas.values():
            one.die()
            one.up.set()
        if in_order:
            self.disk.writer.close()
        else:
            self.disk.leave()
        spent, wasted = read_books(self.folder)
        held = sum(hold.flops for hold in read_holds(self.folder).values())
        self.disk.writer = writer = RunWriter(self.folder, None)
        assert (writer.books().spent, writer.books().wasted) == (spent, wasted + held)
        done = done_keys(self.folder)
        writer.label({task.id: None for task in self.tasks.values() if not done.keys() >= set(task.keys)})
        self.disk.written += 1
        self.scheduler_comes()
