"""Every task is queued, leased or ended, and ends once, whatever replicas do; who is refused, and when."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.ledger import Ledger
from actors.messages import Grant, Hold, Lease
from actors.scheduling.leases import MAX_ATTEMPTS, LeaseBook
from actors.strategy import Models, Prompt, Solution
from actors.work import Task
from orchestration.allocation.first_come import FirstCome

FIRST = 100


@dataclass(frozen=True, slots=True)
class Wide:
    """A strategy of which only its number of sequences matters."""

    sequences: int = 1
    text: str = "wide"
    uses_verifier: bool = False

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        raise NotImplementedError


def task(number: int, *widths: int) -> Task:
    strategies = tuple(Wide(width) for width in widths or (1,))
    return Task(f"t{number}", Prompt(f"p{number}", (number,)), strategies, tuple("k" * len(strategies)), 0)


def book(budget: int | None, *tasks: Task, first: int | None = FIRST) -> LeaseBook:
    made = LeaseBook(Ledger(budget), FirstCome(first))
    for one in tasks:
        made.add(one)
    return made


def answers(one: LeaseBook) -> dict[str, list[Grant]]:
    """Answer the purses that ask, and tell every replica."""
    one.refill()
    told = {replica: one.grants(replica) for replica in "abc"}
    return {replica: grants for replica, grants in told.items() if grants}


def numbers(leases: list[Lease]) -> list[int]:
    return [lease.task.prompt.token_ids[0] for lease in leases]


def test_leases_cover_the_sequences_wanted_and_no_more() -> None:
    one = book(None, *(task(i, 4, 2) for i in range(100)), first=None)
    leases = one.lease("a", 13, now=0.0, replicas=2)
    assert numbers(leases) == [0, 1, 2]
    assert [(lease.id, lease.attempt) for lease in leases] == [(1, 1), (2, 1), (3, 1)]
    assert one.held_by("a") == (1, 2, 3)
    assert one.lease("a", 0, now=0.0) == []
    assert (one.queued, one.leased) == (97, 3)


def test_towards_the_end_a_replica_gets_its_share_alone() -> None:
    one = book(None, *(task(i) for i in range(40)), first=None)
    sizes = []
    while one.queued:
        sizes.append(len(one.lease("ab"[len(sizes) % 2], 1_000, now=0.0, replicas=2)))
    assert sizes == [10, 8, 6, 4, 3, 3, 2, 1, 1, 1, 1]


def test_a_lone_replica_gets_all_it_can_carry() -> None:
    one = book(None, *(task(i) for i in range(40)), first=None)
    assert len(one.lease("a", 1_000, now=0.0, replicas=1)) == 40


def test_the_budget_limits_how_many_start() -> None:
    one = book(250, *(task(i) for i in range(5)))
    assert len(one.lease("a", 10, now=0.0)) == 2
    assert one.lease("a", 10, now=0.0) == []
    assert one.starve() == [], "what runs may give back enough"
    one.settle(1, 40)
    assert numbers(one.lease("a", 10, now=0.0)) == [2]
    one.settle(2, 100)
    one.settle(3, 90)
    assert [t.id for t in one.starve()] == ["t3", "t4"]
    assert (one.queued, one.leased, one.ledger.free) == (0, 0, 20)


@dataclass
class ByWidth:
    """Grants 10 FLOPs a sequence at first, whatever is asked afterwards unless `refusing`."""

    refusing: bool = False
    asked: list[tuple[str, int, int, int]] = field(default_factory=list)

    def first_grant(self, task: Task, free: int) -> int:
        return 10 * task.strategies[0].sequences

    def refill(self, task: Task, asked: int, held: int, free: int) -> int | None:
        self.asked.append((task.id, asked, held, free))
        return None if self.refusing else asked


class InLumps:
    """Grants 40 FLOPs at first and 30 at a time later."""

    def first_grant(self, task: Task, free: int) -> int:
        return 40

    def refill(self, task: Task, asked: int, held: int, free: int) -> int | None:
        return max(30, asked)


def test_only_tasks_that_can_never_start_starve() -> None:
    one = LeaseBook(Ledger(25), ByWidth())
    for number, width in enumerate((3, 1, 4, 1)):
        one.add(task(number, width))
    assert one.lease("a", 10, now=0.0) == []
    assert [t.id for t in one.starve()] == ["t0", "t2"]
    assert one.starve() == []
    assert numbers(one.lease("a", 10, now=0.0)) == [1, 3]


def test_what_a_lease_lacks_is_granted_to_its_replica_once() -> None:
    allocator = ByWidth()
    one = LeaseBook(Ledger(100), allocator)
    one.add(task(0, 2))
    one.add(task(1, 1))
    one.lease("a", 2, now=0.0)
    one.lease("b", 1, now=0.0)
    assert answers(one) == {}
    one.report(1, spent=15, reserved=5, lacking=30)
    one.report(2, spent=0, reserved=10, lacking=0)
    assert answers(one) == {"a": [Grant(1, 50)]}
    assert allocator.asked == [("t0", 30, 20, 70)]
    assert answers(one) == {}
    assert one.ledger.free == 40


def test_grants_are_told_as_totals_and_once() -> None:
    one = LeaseBook(Ledger(200), ByWidth())
    one.add(task(0, 2))
    [lease] = one.lease("a", 2, now=0.0)
    assert (lease.grant, one.grants("a")) == (20, []), "the lease itself tells of the first grant"
    for lacking in (30, 45):
        one.report(1, 15, 5, lacking)
        one.refill()
    assert one.grants("b") == []
    assert one.grants("a") == [Grant(1, 20 + 30 + 45)]
    assert one.grants("a") == []


def test_what_was_granted_while_a_report_was_under_way_is_not_granted_again() -> None:
    allocator = ByWidth()
    one = LeaseBook(Ledger(200), allocator)
    one.add(task(0, 2))
    one.lease("a", 2, now=0.0)
    one.report(1, 15, 5, lacking=30, granted=20)
    one.refill()
    # Written before the 30 reached it: one request more of 20 has come to wait there.
    one.report(1, 15, 5, lacking=50, granted=20)
    one.refill()
    assert [asked for _, asked, _, _ in allocator.asked] == [30, 20]
    assert one.grants("a") == [Grant(1, 70)]
    one.report(1, 15, 5, lacking=50, granted=20)
    assert one.refill() is None
    assert one.grants("a") == []
    one.report(1, 15, 5, lacking=8, granted=70)
    one.refill()
    assert one.grants("a") == [Grant(1, 78)]
    assert one.ledger.free == 200 - 78


def test_who_waits_for_what_is_on_its_way_is_not_held_to_be_stuck() -> None:
    """It may go on with it, and return FLOPs."""
    one = book(200, task(0), task(1))
    one.lease("a", 1, now=0.0)
    one.lease("b", 1, now=0.0)
    one.report(1, 60, 0, lacking=10, granted=100)
    one.settle(2, 0)
    one.refill()
    one.add(task(2))
    assert one.lease("b", 1, now=0.0) == []
    one.report(1, 60, 0, lacking=10, granted=100)
    one.refill()
    assert one.grants("a") == [Grant(1, 110)], "told, and not refused"


def test_an_allocator_may_refuse_for_good() -> None:
    one = LeaseBook(Ledger(100), ByWidth(refusing=True))
    one.add(task(0, 2))
    one.lease("a", 2, now=0.0)
    one.report(1, 15, 5, lacking=30)
    assert answers(one) == {"a": [Grant(1, None)]}
    one.report(1, 15, 5, lacking=30)
    assert answers(one) == {}


def test_nobody_is_refused_while_somebody_may_return_flops() -> None:
    one = book(300, *(task(i) for i in range(3)))
    assert len(one.lease("a", 2, now=0.0)) == 2
    assert len(one.lease("b", 1, now=0.0)) == 1
    one.report(1, 100, 0, lacking=80)
    one.report(2, 100, 0, lacking=70)
    assert answers(one) == {}, "lease 3 runs"
    one.settle(3, 40)
    assert answers(one) == {"a": [Grant(2, None)]}


def test_nobody_is_refused_while_a_request_of_theirs_runs() -> None:
    """It was paid for its worst case: what it gives back may be enough for who waits beside it."""
    one = book(100, task(0))
    one.lease("a", 1, now=0.0)
    one.report(1, spent=0, reserved=100, lacking=100)
    assert answers(one) == {}
    one.report(1, spent=30, reserved=0, lacking=30)
    assert answers(one) == {"a": [Grant(1, None)]}


def test_the_youngest_gives_up_first_and_the_next_waits_for_what_it_returns() -> None:
    one = book(300, *(task(i) for i in range(3)))
    one.lease("a", 2, now=0.0, replicas=1)
    one.lease("b", 1, now=0.0)
    one.report(1, 90, 0, lacking=20)
    one.report(2, 100, 0, lacking=20)
    one.report(3, 10, 0, lacking=200)
    assert answers(one) == {"b": [Grant(3, None)]}
    assert answers(one) == {}, "lease 3 ends now, and may carry the others"
    one.report(2, 100, 0, lacking=20)
    assert answers(one) == {}
    one.settle(3, 10)
    assert answers(one) == {"a": [Grant(1, 120), Grant(2, 120)]}


def test_as_many_give_up_at_once_as_the_oldest_needs() -> None:
    """One at a time would cost a heartbeat for each lease in hand, when a budget ends."""
    one = book(500, *(task(i) for i in range(5)))
    one.lease("a", 5, now=0.0)
    for lease, spent in enumerate((100, 60, 70, 60, 90), start=1):
        one.report(lease, spent, 0, lacking=60)
    # Lease 1 needs 60: the youngest return 10 and 40 and 30.
    assert answers(one) == {"a": [Grant(5, None), Grant(4, None), Grant(3, None)]}
    one.settle(5, 90)
    assert answers(one) == {}
    one.settle(4, 60)
    one.settle(3, 70)
    assert answers(one) == {"a": [Grant(1, 160)]}


def test_an_allocator_that_grants_more_than_is_asked_still_sees_everybody_end() -> None:
    one = LeaseBook(Ledger(100), InLumps())
    for number in range(2):
        one.add(task(number))
    one.lease("a", 2, now=0.0)
    one.report(1, 40, 0, lacking=15)
    one.report(2, 40, 0, lacking=15)
    assert answers(one) == {"a": [Grant(2, None)]}, "20 are free, but nothing below 30 is granted"
    one.settle(2, 40)
    assert answers(one) == {"a": [Grant(1, None)]}


def test_a_report_of_a_lease_that_is_not_held_counts_for_nothing() -> None:
    one = book(300, task(0))
    [lease] = one.lease("a", 1, now=0.0)
    assert one.counts(lease.id, 1)
    assert not one.counts(lease.id, 2)
    one.lose(lease.id)
    assert not one.counts(lease.id, 1)
    one.report(lease.id, 10, 10, lacking=10)
    assert answers(one) == {}
    [again] = one.lease("b", 1, now=0.0)
    assert (again.id, again.attempt, again.task) == (2, 2, lease.task)


def test_a_hold_says_what_a_lost_lease_is_charged() -> None:
    limited = LeaseBook(Ledger(100), ByWidth())
    limited.add(task(0, 2))
    limited.lease("a", 2, now=0.0)
    assert limited.holds([1, 7]) == [Hold(1, "t0", 1, "a", 20)], "7 is nobody's"
    limited.report(1, 5, 5, lacking=30)
    limited.refill()
    assert limited.holds([1]) == [Hold(1, "t0", 1, "a", 50)]
    free = book(None, task(0), first=None)
    free.lease("a", 1, now=0.0)
    assert free.holds([1]) == [Hold(1, "t0", 1, "a", 0)]
    free.report(1, 5, 7, lacking=0)
    assert free.holds([1]) == [Hold(1, "t0", 1, "a", 12)]
    assert free.lose(1)[1] == 12


def successor(old: LeaseBook, *tasks: Task, first: int | None = FIRST) -> tuple[LeaseBook, list[Hold]]:
    """A book that goes on where another died, given the tasks that have not ended; and the holds that are nobody's."""
    holds = old.holds(range(100))
    ledger = Ledger(
        old.ledger.budget if old.ledger.limited else None, spent=old.ledger.spent, wasted=old.ledger.wasted
    )
    made = LeaseBook(ledger, FirstCome(first), first=1 + max((hold.lease for hold in holds), default=0))
    for one in tasks:
        made.add(one)
    return made, made.restore(holds, now=50.0)


def test_a_restored_lease_is_as_its_replica_holds_it() -> None:
    one = book(450, *(task(i) for i in range(4)))
    one.lease("a", 1, now=0.0)
    one.lease("b", 1, now=0.0)
    one.report(2, 60, 20, lacking=30)
    assert answers(one) == {"b": [Grant(2, 130)]}
    one.settle(1, 40, wasted=10)
    one.lease("a", 1, now=0.0)

    two, orphans = successor(one, *(task(i) for i in (1, 2, 3)))
    assert orphans == []
    assert (two.queued, two.leased) == (1, 2)
    assert (two.held_by("a"), two.held_by("b")) == ((3,), (2,))
    ledger = two.ledger
    assert (ledger.spent, ledger.wasted, ledger.free) == (30, 10, 450 - 40 - 130 - 100)
    assert (ledger.granted(2), ledger.granted(3)) == (130, 100), "exactly what was granted"
    assert two.counts(2, 1)
    assert two.knows(3)
    # The last word of the old book may not have reached them.
    assert two.grants("b") == [Grant(2, 130)]
    assert two.grants("a") == [Grant(3, 100)]
    assert two.oldest(now=51.0, count=9) == (("p1 on b", 1.0), ("p2 on a", 1.0))
    # A report from before the last grant came: 110 are lacking, of which 30 are on their way.
    two.report(2, 80, 20, lacking=110, granted=100)
    two.refill()
    assert two.grants("b") == [Grant(2, 130 + 80)]
    two.settle(2, 200)
    assert numbers(two.lease("b", 1, now=60.0)) == [3], "a task restored is no longer queued"
    assert two.held_by("b") == (4,)
    two.settle(3, 0)
    two.settle(4, 100)
    assert (two.queued, two.leased, ledger.free) == (0, 0, 450 - 40 - 200 - 100)


def test_without_a_budget_exposure_stays_on_the_books_until_its_replica_reports() -> None:
    one = book(None, task(0), task(1), first=None)
    one.lease("a", 1, now=0.0)
    one.lease("b", 1, now=0.0)
    one.report(1, 30, 5, lacking=0)
    one.report(2, 70, 9, lacking=0)
    two, _ = successor(one, task(0), task(1), first=None)
    assert [hold.flops for hold in two.holds((1, 2))] == [35, 79]
    two.report(1, 41, 0, lacking=0)
    assert [hold.flops for hold in two.holds((1, 2))] == [41, 79]
    two.refill()
    assert all(grant.total is not None and grant.total > 1 << 60 for grant in two.grants("a"))
    assert two.lose(2)[1] == 79
    two.settle(1, 44)
    assert (two.ledger.spent, two.ledger.wasted, two.ledger.reserved) == (44, 79, 0)


def test_a_hold_whose_task_is_not_there_is_nobodys() -> None:
    one = book(300, task(0), task(1))
    one.lease("a", 2, now=0.0)
    two, orphans = successor(one, task(1))
    assert [hold.task_id for hold in orphans] == ["t0"]
    assert (two.queued, two.leased, two.held_by("a")) == (0, 1, (2,))
    assert two.ledger.free == 200


def test_losses_from_before_count_on() -> None:
    """A task that was lost twice is on its last attempt, whoever counts."""
    one = LeaseBook(Ledger(None), FirstCome(None), attempts={"t0": MAX_ATTEMPTS - 1, "t1": 1}, first=9)
    for number in (1, 0, 2):
        one.add(task(number))
    [last] = one.lease("a", 10, now=0.0)
    assert (last.id, last.task.id, last.attempt) == (9, "t0", MAX_ATTEMPTS)
    assert [(lease.task.id, lease.attempt) for lease in one.lease("b", 10, now=0.0)] == [("t1", 2), ("t2", 1)]


def test_a_restored_last_attempt_is_alone_with_its_replica() -> None:
    losses = {"t0": MAX_ATTEMPTS - 1}
    one = LeaseBook(Ledger(None), FirstCome(None), attempts=losses)
    one.add(task(0))
    one.lease("a", 1, now=0.0)
    two = LeaseBook(Ledger(None), FirstCome(None), attempts=losses, first=2)
    for number in (0, 1):
        two.add(task(number))
    assert two.restore(one.holds([1]), now=0.0) == []
    assert two.lease("a", 5, now=0.0) == []
    assert two.lose(1)[2], "given up"
    assert numbers(two.lease("a", 5, now=0.0)) == [1]


def test_a_task_that_was_stopped_has_not_lost_an_attempt() -> None:
    one = book(300, task(0), task(1))
    for _ in range(2 * MAX_ATTEMPTS):
        [lease] = one.lease("a", 1, now=0.0)
        assert (lease.task.id, lease.attempt) == ("t0", 1)
        _, waste, hopeless = one.lose(lease.id, 3, blame=False)
        assert (waste, hopeless) == (3, False)
    assert one.queued == 2
    assert one.ledger.wasted == 6 * MAX_ATTEMPTS


def test_a_task_is_given_up_after_its_last_attempt() -> None:
    one = book(None, task(0), task(1), first=None)
    for attempt in range(1, MAX_ATTEMPTS + 1):
        [lease] = one.lease("a", 1, now=0.0)
        assert (lease.task.id, lease.attempt) == ("t0", attempt)
        _, _, hopeless = one.lose(lease.id)
        assert hopeless == (attempt == MAX_ATTEMPTS)
    assert numbers(one.lease("a", 5, now=0.0)) == [1]
    assert (one.queued, one.leased) == (0, 1)


def test_attempts_are_counted_afresh_for_a_task_that_comes_again() -> None:
    one = book(None, task(0), first=None)
    for _ in range(MAX_ATTEMPTS):
        one.lose(one.lease("a", 1, now=0.0)[0].id)
    one.add(task(0))
    assert one.lease("a", 1, now=0.0)[0].attempt == 1


def test_whoever_dies_with_a_poison_task_outlives_it() -> None:
    """On its last attempt a task is alone with its replica, so that it takes nobody along."""
    one = book(None, *(task(i) for i in range(12)), first=None)
    ended: dict[int, str] = {}
    for _ in range(100):
        leases = one.lease("a", 4, now=0.0)
        if not leases:
            break
        assert len(leases) == 1 or max(lease.attempt for lease in leases) < MAX_ATTEMPTS
        poisoned = 5 in numbers(leases)
        for lease in leases:
            if poisoned:
                _, _, hopeless = one.lose(lease.id)
                if hopeless:
                    ended[lease.task.prompt.token_ids[0]] = "quarantined"
            else:
                one.settle(lease.id, 0)
                ended[lease.task.prompt.token_ids[0]] = "answered"
    assert ended == {i: "quarantined" if i == 5 else "answered" for i in range(12)}


def test_a_replica_takes_nothing_beside_a_last_attempt() -> None:
    one = book(None, task(0), task(1), first=None)
    for _ in range(MAX_ATTEMPTS - 1):
        one.lose(one.lease("a", 1, now=0.0)[0].id)
    [last] = one.lease("a", 10, now=0.0)
    assert (last.task.id, last.attempt) == ("t0", MAX_ATTEMPTS)
    assert one.lease("a", 10, now=0.0) == []
    assert numbers(one.lease("b", 10, now=0.0)) == [1]
    one.settle(last.id, 0)
    assert one.queued == 0


def test_a_failure_whose_price_is_known_is_charged_that_price() -> None:
    limited = book(300, task(0))
    [lease] = limited.lease("a", 1, now=0.0)
    _, waste, _ = limited.lose(lease.id, spent=30)
    assert (waste, limited.ledger.free) == (30, 270)
    free = book(None, task(0), first=None)
    [lease] = free.lease("a", 1, now=0.0)
    _, waste, _ = free.lose(lease.id, spent=30)
    assert waste == 30


def test_the_oldest_are_named_with_their_replica() -> None:
    one = book(None, task(0), task(1), task(2), first=None)
    one.lease("a", 1, now=5.0)
    one.lease("b", 2, now=7.0)
    assert one.oldest(now=8.0, count=2) == (("p0 on a", 3.0), ("p1 on b", 1.0))


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
        assert refused >= self.refused
        assert refused == self.refused or not could_return, "refused although another lease may return FLOPs"
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
        lease, waste, hopeless = self.book.lose(number, self.used[number] if known else None, blame=blame)
        assert lease.task == self.held.pop(number)[1].task
        assert waste == (self.used[number] if known else exposure)
        assert waste >= self.used[number] or self.budget is None
        if not blame:
            self.attempts[lease.task.id] -= 1
        assert hopeless == (self.attempts[lease.task.id] == MAX_ATTEMPTS)
        if hopeless:
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
            assert self.granted[number] == self.disk[number].flops or self.budget is None

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
TestLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
