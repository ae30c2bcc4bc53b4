"""No FLOP is lost or counted twice and no task ends twice or never, whatever dies, hangs, comes late or comes twice.

Scheduler, journal, lease book, ledger, purses and the run writer's folder are the real ones; replicas and the lines between
processes are the test's: it decides when orders arrive, when reports are read, when the disk has written, who dies and when.
Time is the test's as well, so nothing waits. (A disk that loses what it said it had written is another matter: fsync does
nothing here.)
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import actors.scheduling.scheduler
import actors.store.writer
from actors.ledger import Kind, Purpose
from actors.messages import STOPPED, Lease, Record
from actors.scheduling.scheduler import DEADLINE
from actors.store.log import (
    live_records,
    parts,
    read_books,
    read_done,
    read_holds,
)
from actors.store.writer import RunWriter
from actors.strategy import Prompt
from actors.work import Task
from orchestration.allocation.first_come import FirstCome
from tests.support.puppets import (
    Clockwork,
    Dead,
    Disk,
    Named,
    Replica,
    Watched,
    outcomes,
)

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


class Run(RuleBasedStateMachine):
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
        heard=HEARD,
    )
    def request(self, at: int, everywhere: bool, amounts: list[int], heard: int) -> None:
        for one, lease in self.leases() if everywhere else [pick(self.leases(), at)]:
            for amount in amounts:
                one.ask(lease, amount)
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
    @rule(at=PLACE, well=st.booleans(), heard=HEARD)
    def end(self, at: int, well: bool, heard: int) -> None:
        one, lease = pick(self.leases(), at)
        if well:
            while one.held[lease].running:
                one.serve(lease, 0.5, "policy", "kept")
            self.stage(one.held[lease].lease)
            one.finish(lease)
        else:
            one.finish(lease, "ValueError: no")
        self.all_exchange(heard)

    def stage(self, lease: Lease) -> None:
        self.disk.writer.stage(lease.task.id, lease.attempt, Record(outcomes(lease.task)))

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
            self.loop.now += DEADLINE
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
        done = read_done(self.folder)
        writer.label({task.id: None for task in self.tasks.values() if not done.keys() >= set(task.keys)})
        self.disk.written += 1
        self.scheduler_comes()

    # What holds at each moment

    @property
    def at_rest(self) -> bool:
        """Nothing is on its way to the disk."""
        return self.scheduler is not None and self.disk.waiting is None

    @invariant()
    def the_disk_is_never_behind(self) -> None:
        """Whoever dies now, what has really been spent is on the books, and the books are within the budget."""
        if self.budget is None:
            return
        books = self.disk.writer.books()
        charged = books.spent + books.wasted + sum(hold.flops for hold in books.holds)
        assert self.really_spent() <= charged <= self.budget
        noted = {hold.lease: hold.flops for hold in books.holds}
        for one in self.replicas.values():
            for number, held in one.held.items():
                assert held.purse.granted <= noted.get(number, self.budget), "told before it was durable"

    def really_spent(self) -> int:
        runs = [sum(held.running) for one in self.replicas.values() for held in one.held.values()]
        return sum(one.burnt for one in self.replicas.values()) + sum(runs)

    @invariant()
    def the_ledger_is_conserved(self) -> None:
        if self.scheduler is None:
            return
        self.check_reasons()
        ledger, book = self.living._ledger, self.living._book
        granted = sum(ledger.granted(number) for number in book._held)
        exposed = sum(ledger.exposure(number) for number in book._held)
        assert ledger.budget == ledger.free + granted + ledger.spent + ledger.wasted
        assert ledger.free >= 0
        if self.budget is not None:
            assert self.really_spent() <= ledger.spent + ledger.wasted + exposed <= self.budget
        assert book._stuck == sum(held.stuck for held in book._held.values())

    def check_reasons(self) -> None:
        known = ("Dead: ", "TimeoutError: ", *((STOPPED,) if self.living._draining else ()))
        assert all(reason.startswith(known) for reason in self.living.reasons)
        if self.running.done():
            self.running.result()

    @invariant()
    def the_scheduler_agrees_with_the_disk(self) -> None:
        if not self.at_rest:
            return
        ledger, book, books = self.living._ledger, self.living._book, self.disk.writer.books()
        assert (books.spent, books.wasted) == (ledger.spent, ledger.wasted)
        assert +Counter(self.living._outcomes) == books.outcomes
        assert {hold.lease for hold in books.holds} == set(book._held)
        for hold in books.holds:
            held = book._held[hold.lease]
            assert (hold.task_id, hold.attempt) == (held.lease.task.id, held.lease.attempt)
            if self.budget is None:
                assert hold.flops == ledger.exposure(hold.lease)
            else:
                # A grant that was not told yet need not be durable.
                assert hold.flops <= ledger.exposure(hold.lease)

    @invariant()
    def what_was_granted_is_told_or_on_its_way(self) -> None:
        if not self.at_rest or self.budget is None:
            return
        book, ledger = self.living._book, self.living._ledger
        for name, one in self.replicas.items():
            sent = one.call.orders.grants if one.call is not None and not one.call.arrived else ()
            hands = book._hands.get(name)
            under_way = {grant.lease for grant in sent} | set(hands.news if hands else ())
            for number in one.held.keys() & book._held.keys() - under_way:
                purse = one.held[number].purse
                if book._held[number].refused:
                    assert purse._closed
                else:
                    assert purse.granted == ledger.granted(number)

    @invariant()
    def each_task_is_at_one_place(self) -> None:
        if self.scheduler is None:
            return
        book, unfinished = self.living._book, self.disk.writer.unfinished()
        leased = [held.lease.task.id for held in book._held.values()]
        there = [task.id for queue in (book._queue, book._suspects) for task in queue] + leased
        assert len(set(there)) == len(there)
        if self.at_rest:
            assert set(there) == unfinished

    @invariant()
    def the_folder_says_so_too(self) -> None:
        """Read anew whenever something was written: each outcome stands there once, and the sums are the writer's."""
        if self.read == self.disk.written:
            return
        self.read = self.disk.written
        books = self.disk.writer.books()
        keys = Counter(self.keys())
        assert set(keys.values()) <= {1}, "an outcome stands there twice"
        assert keys.keys() == read_done(self.folder).keys()
        assert read_books(self.folder) == (books.spent, books.wasted)
        assert tuple(read_holds(self.folder).values()) == books.holds
        unfinished = self.disk.writer.unfinished()
        assert set(keys) == {k for t in self.tasks.values() if t.id not in unfinished for k in t.keys}

    def keys(self) -> Iterator[str]:
        for part in parts(self.folder, "outcomes"):
            yield from pq.read_table(part, columns=["key"])["key"].to_pylist()
        for record in live_records(self.folder):
            yield from (row["key"] for row in record.get("outcomes", ()))

    # How it ends

    def teardown(self) -> None:
        if not hasattr(self, "folder"):
            return
        try:
            self.go_on_to_the_end()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.rest()
            self.loop.close()
            self.disk.leave()
            shutil.rmtree(self.folder)

    def go_on_to_the_end(self) -> None:
        """From wherever it got: when nothing else happens, everything ends, and whoever waits for its purse is answered."""
        if self.disk.waiting is not None:
            self.disk.let_through(told=True)
        self.disk.slow = False
        self.loop.rest()
        if self.scheduler is not None and self.living._draining:
            self.scheduler_goes(True)
        if self.scheduler is None:
            self.scheduler_comes()
        self.do(self.living.close())
        for _ in range(20 + 20 * len(self.tasks)):
            if self.running.done():
                break
            self.replicas_come()
            for one in self.replicas.values():
                if one in self.calls(arrived=False):
                    one.arrive()
                for number, held in tuple(one.held.items()):
                    while held.running:
                        one.serve(number, 1.0, "policy", "kept")
                    if not held.waiting:
                        self.stage(held.lease)
                        one.finish(number)
                if one in self.calls(arrived=True):
                    one.answer()
                self.check()
        assert self.running.done(), "somebody waits for ever"
        assert self.disk.writer.unfinished() == set()
        assert read_holds(self.folder) == {}
        self.disk.writer.close()
        assert sorted(self.keys()) == sorted(key for task in self.tasks.values() for key in task.keys)
        if self.budget is not None:
            assert self.really_spent() <= sum(read_books(self.folder)) <= self.budget

    def check(self) -> None:
        self.the_disk_is_never_behind()
        self.the_ledger_is_conserved()
        self.the_scheduler_agrees_with_the_disk()
        self.what_was_granted_is_told_or_on_its_way()
        self.each_task_is_at_one_place()


@contextmanager
def small_and_quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        patch.setattr(actors.store.writer, "SEGMENT_BYTES", 8 << 10)
        # Without a budget, what was spent is written down at each exchange.
        patch.setattr(actors.scheduling.scheduler, "NOTE_SECONDS", -1.0)
        patch.setattr(actors.scheduling.scheduler, "MAX_DEATHS", 1_000)
        yield


# Making a failing run short takes hypothesis up to five minutes.
@pytest.mark.timeout(600)
def test_whatever_happens_every_flop_and_every_task_is_counted_once() -> None:
    with small_and_quick():
        run_state_machine_as_test(
            Run,
            settings=settings(
                max_examples=60,
                stateful_step_count=150,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
