"""A lease book through everything that can happen to it: whatever comes, each task is at one place and ends once."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.ledger import Ledger
from actors.messages import Hold, Lease
from actors.scheduling.leases import MAX_ATTEMPTS, LeaseBook
from actors.work import Task
from orchestration.allocation.first_come import FirstCome
from tests.support.lease_books import FIRST, book, task


class Life(RuleBasedStateMachine):
    """Replicas take, report, end, fail and die in any order, and books follow each other; the book is compared with what was
    done to it. A report is written at one time and arrives at another; grants are made at one and told at another."""

    @initialize(budget=st.sampled_from([None, 0, 150, 500, 2_000]))
    def open(self, budget: int | None) -> None:
        self.budget = budget
        self.first = None if budget is None else FIRST
        self.book = book(budget, first=self.first)
        self.tasks: dict[str, Task] = {}
        self.queued: set[str] = set()
        self.held: dict[int, tuple[str, Lease]] = {}
        self.granted: dict[int, int] = {}
        self.told: dict[int, int] = {}
        self.used: dict[int, int] = {}
        self.written: dict[int, tuple[int, int, int, int]] = {}
        self.disk: dict[int, Hold] = {}
        self.refused: set[int] = set()
        self.attempts: dict[str, int] = {}
        self.ended: dict[str, str] = {}
        self.leases = 0

    @rule(count=st.integers(1, 4))
    def add(self, count: int) -> None:
        for _ in range(count):
            one = task(len(self.tasks))
            self.tasks[one.id] = one
            self.queued.add(one.id)
            self.book.add(one)

    @rule(replica=st.sampled_from("abc"), sequences=st.integers(0, 5))
    def lease(self, replica: str, sequences: int) -> None:
        for lease in self.book.lease(replica, sequences, 0.0, replicas=3):
            self.queued.remove(lease.task.id)
            self.attempts[lease.task.id] = self.attempts.get(lease.task.id, 0) + 1
            assert lease.attempt == self.attempts[lease.task.id] <= MAX_ATTEMPTS
            self.leases += 1
            assert lease.id == self.leases
            self.held[lease.id] = (replica, lease)
            self.granted[lease.id] = self.told[lease.id] = lease.grant
            self.used[lease.id] = 0
            self.write_down(lease.id)

    def write_down(self, lease: int) -> None:
        [self.disk[lease]] = self.book.holds([lease])

    def some(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.held)))

    def pay(self, lease: int, share: float) -> int:
        """Spend a share of what is left of what the replica knows of."""
        self.used[lease] += int(share * min(self.told[lease] - self.used[lease], 1_000))
        return self.used[lease]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), share=st.floats(0, 1), running=st.booleans(), lacking=st.integers(0, 300))
    def write_report(self, data: st.DataObject, share: float, running: bool, lacking: int) -> None:
        lease = self.some(data)
        spent = self.pay(lease, share)
        self.written[lease] = spent, min(running, self.told[lease] - spent), lacking, self.told[lease]

    @precondition(lambda self: self.written)
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        """It may arrive twice, or when its lease is gone."""
        lease = data.draw(st.sampled_from(sorted(self.written)))
        spent, reserved, lacking, granted = self.written[lease]
        self.book.report(lease, spent, reserved, lacking, granted)
        assert self.book.knows(lease) == (lease in self.held)
        if lease in self.held:
            asked = self.book._held[lease].asked
            assert asked == max(0, lacking - (self.granted[lease] - granted)), "all that is under way counts"

    @rule()
    def refill(self) -> None:
        could_return = {i for i in self.held if i in self.refused or not self.asks(i)}
        self.book.refill()
        for lease in self.held:
            granted = self.book.ledger.granted(lease)
            assert granted >= self.granted[lease]
            self.granted[lease] = granted
        refused = {i for i in self.held if self.book._held[i].refused}
        # Those that ended or were lost since then are nobody's.
        before = self.refused & set(self.held)
        assert refused >= before
        assert refused == before or not could_return, "refused although another lease may return FLOPs"
        self.refused = refused

    def asks(self, lease: int) -> bool:
        return self.book._held[lease].asked > 0 and not self.book._held[lease].reserved

    @rule(replica=st.sampled_from("abc"))
    def tell(self, replica: str) -> None:
        """Every lease's grant as a total, once."""
        for grant in self.book.grants(replica):
            self.write_down(grant.lease)
            assert self.held[grant.lease][0] == replica
            assert (grant.total is None) == (grant.lease in self.refused)
            if grant.total is not None:
                assert grant.total == self.granted[grant.lease] >= self.told[grant.lease]
                self.told[grant.lease] = grant.total
        assert self.book.grants(replica) == []
        for lease in self.book.held_by(replica):
            assert lease in self.refused or self.told[lease] == self.granted[lease], (
                "some grant is never told"
            )

    @precondition(lambda self: self.held)
    @rule(data=st.data(), share=st.floats(0, 1), waste=st.floats(0, 1))
    def settle(self, data: st.DataObject, share: float, waste: float) -> None:
        lease = self.some(data)
        spent = self.pay(lease, share)
        assert self.book.counts(lease, self.held[lease][1].attempt)
        self.book.settle(lease, spent, int(waste * spent))
        self.end(self.held.pop(lease)[1].task.id, "answered")

    @precondition(lambda self: self.held)
    @rule(data=st.data(), known=st.booleans(), blame=st.booleans())
    def fail(self, data: st.DataObject, known: bool, blame: bool) -> None:
        self.lose(self.some(data), known, blame)

    @rule(replica=st.sampled_from("abc"))
    def die(self, replica: str) -> None:
        for lease in self.book.held_by(replica):
            self.lose(lease)

    def lose(self, number: int, known: bool = False, blame: bool = True) -> None:
        exposure = self.book.ledger.exposure(number)
        lost = self.book.lose(number, self.used[number] if known else None, blame=blame)
        lease = lost.lease
        assert lease.task == self.held.pop(number)[1].task
        assert lost.waste == (self.used[number] if known else exposure)
        assert lost.waste >= self.used[number] or self.budget is None
        if not blame:
            self.attempts[lease.task.id] -= 1
        assert lost.given_up == (self.attempts[lease.task.id] == MAX_ATTEMPTS)
        if lost.given_up:
            self.end(lease.task.id, "quarantined")
        else:
            self.queued.add(lease.task.id)

    @rule()
    def starve(self) -> None:
        starved = self.book.starve()
        assert not starved or not self.held
        for one in starved:
            self.queued.remove(one.id)
            self.end(one.id, "unaffordable")

    @rule(shuffle=st.randoms(use_true_random=False))
    def begin_anew(self, shuffle: random.Random) -> None:
        """Another book goes on with what was written down; the tasks that have not ended come again in any order."""
        leased = {lease.task.id: number for number, (_, lease) in self.held.items()}
        losses = {name: self.attempts.get(name, 0) - (name in leased) for name in (*self.queued, *leased)}
        old = self.book.ledger
        ledger = Ledger(self.budget, spent=old.spent, wasted=old.wasted)
        self.book = LeaseBook(ledger, FirstCome(self.first), attempts=losses, first=self.leases + 1)
        names = sorted(losses)
        shuffle.shuffle(names)
        for name in names:
            self.book.add(self.tasks[name])
        assert self.book.restore([self.disk[number] for number in self.held], 0.0) == []
        self.refused.clear()
        for number in self.held:
            self.granted[number] = ledger.granted(number)
            assert ledger.exposure(number) == self.disk[number].flops
            assert self.granted[number] == self.disk[number].granted or self.budget is None

    def end(self, name: str, how: str) -> None:
        assert name not in self.ended
        self.ended[name] = how

    @invariant()
    def each_task_is_at_one_place(self) -> None:
        if not hasattr(self, "book"):
            return
        leased = [lease.task.id for _, lease in self.held.values()]
        assert sorted([*self.queued, *leased, *self.ended]) == sorted(self.tasks)
        assert (self.book.queued, self.book.leased) == (len(self.queued), len(self.held))
        for replica in "abc":
            mine = [number for number, (holder, _) in self.held.items() if holder == replica]
            assert sorted(self.book.held_by(replica)) == sorted(mine)

    @invariant()
    def the_books_are_conserved(self) -> None:
        if not hasattr(self, "book"):
            return
        ledger = self.book.ledger
        lent = sum(self.granted[number] for number in self.held)
        assert ledger.budget == ledger.free + lent + ledger.spent + ledger.wasted
        assert ledger.free >= 0

    @invariant()
    def what_is_counted_along_is_as_a_recount_says(self) -> None:
        if not hasattr(self, "book"):
            return
        held = self.book._held
        assert self.book._stuck == sum(one.stuck for one in held.values())
        assert self.book._asking == {i: one for i, one in held.items() if one.asked > 0 and not one.refused}

    def teardown(self) -> None:
        """From wherever it got: the living finish what they hold, and every task ends."""
        if not hasattr(self, "book"):
            return
        for _ in range(10_000):
            if not (self.book.queued or self.book.leased):
                break
            for number in list(self.held):
                self.book.settle(number, self.used[number])
                self.end(self.held.pop(number)[1].task.id, "answered")
            self.lease("a", 5)
            if not self.held:
                self.starve()
        assert sorted(self.ended) == sorted(self.tasks)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=40)
