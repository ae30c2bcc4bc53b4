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
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

import actors.scheduling.scheduler
import actors.store.writer
from actors.messages import STOPPED
from actors.store.log import live_records, parts, read_books, read_holds
from tests.support.conservation import Life
from tests.support.folders import done_keys


class Run(Life):
    """What must hold at every moment of such a life, and at its end."""

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
        noted = {hold.lease: hold for hold in books.holds}
        for one in self.replicas.values():
            for number, held in one.held.items():
                # Whoever works on one that is closed was told before.
                if (hold := noted.get(number)) is not None:
                    assert held.purse.granted <= hold.granted, "told before it was durable"
                    assert held.purse.limit <= hold.flops <= hold.granted, "told before it was durable"

    def really_spent(self) -> int:
        held = [held for one in self.replicas.values() for held in one.held.values()]
        return sum(one.burnt for one in self.replicas.values()) + sum(r.used for h in held for r in h.running)

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
                assert hold.granted <= ledger.granted(hold.lease)

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
                assert purse.limit <= ledger.limit(number) <= ledger.granted(number)

    @invariant()
    def each_task_is_at_one_place(self) -> None:
        if self.scheduler is None:
            return
        book, unfinished = self.living._book, self.disk.writer.unfinished()
        leased = [held.lease.task.id for held in book._held.values()]
        there = [task.id for queue in book._all_queues() for task in queue] + leased
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
        assert keys.keys() == done_keys(self.folder).keys()
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
        patch.setattr(actors.scheduling.scheduler, "MAX_REPLICA_DEATHS", 1_000)
        yield


def test_whatever_happens_every_flop_and_every_task_is_counted_once() -> None:
    with small_and_quick():
        run_state_machine_as_test(
            Run,
            settings=settings(
                max_examples=60,
                stateful_step_count=150,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
