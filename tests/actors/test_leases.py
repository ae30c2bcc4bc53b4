"""Every task is queued, leased or ended, and ends once, whatever replicas do; who is refused, and when."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actors.leases import MAX_ATTEMPTS, Grant, Lease, LeaseBook
from actors.ledger import Ledger
from actors.work import Models, Prompt, Solution, Task
from orchestration.allocation import FirstCome

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
    assert one.refills() == {}
    one.report(1, spent=15, reserved=5, lacking=30)
    one.report(2, spent=0, reserved=10, lacking=0)
    assert one.refills() == {"a": [Grant(1, 30)]}
    assert allocator.asked == [("t0", 30, 20, 70)]
    assert one.refills() == {}
    assert one.ledger.free == 40


def test_an_allocator_may_refuse_for_good() -> None:
    one = LeaseBook(Ledger(100), ByWidth(refusing=True))
    one.add(task(0, 2))
    one.lease("a", 2, now=0.0)
    one.report(1, 15, 5, lacking=30)
    assert one.refills() == {"a": [Grant(1, None)]}
    one.report(1, 15, 5, lacking=30)
    assert one.refills() == {}


def test_nobody_is_refused_while_somebody_may_return_flops() -> None:
    one = book(300, *(task(i) for i in range(3)))
    assert len(one.lease("a", 2, now=0.0)) == 2
    assert len(one.lease("b", 1, now=0.0)) == 1
    one.report(1, 100, 0, lacking=80)
    one.report(2, 100, 0, lacking=70)
    assert one.refills() == {}, "lease 3 runs"
    one.settle(3, 40)
    assert one.refills() == {"a": [Grant(2, None)]}


def test_nobody_is_refused_while_a_request_of_theirs_runs() -> None:
    """It was paid for its worst case: what it gives back may be enough for who waits beside it."""
    one = book(100, task(0))
    one.lease("a", 1, now=0.0)
    one.report(1, spent=0, reserved=100, lacking=100)
    assert one.refills() == {}
    one.report(1, spent=30, reserved=0, lacking=30)
    assert one.refills() == {"a": [Grant(1, None)]}


def test_the_youngest_gives_up_first_and_the_next_waits_for_what_it_returns() -> None:
    one = book(300, *(task(i) for i in range(3)))
    one.lease("a", 2, now=0.0, replicas=1)
    one.lease("b", 1, now=0.0)
    one.report(1, 90, 0, lacking=20)
    one.report(2, 100, 0, lacking=20)
    one.report(3, 10, 0, lacking=200)
    assert one.refills() == {"b": [Grant(3, None)]}
    assert one.refills() == {}, "lease 3 ends now, and may carry the others"
    one.report(2, 100, 0, lacking=20)
    assert one.refills() == {}
    one.settle(3, 10)
    assert one.refills() == {"a": [Grant(1, 20), Grant(2, 20)]}


def test_as_many_give_up_at_once_as_the_oldest_needs() -> None:
    """One at a time would cost a heartbeat for each lease in hand, when a budget ends."""
    one = book(500, *(task(i) for i in range(5)))
    one.lease("a", 5, now=0.0)
    for lease, spent in enumerate((100, 60, 70, 60, 90), start=1):
        one.report(lease, spent, 0, lacking=60)
    # Lease 1 needs 60: the youngest return 10 and 40 and 30.
    assert one.refills() == {"a": [Grant(5, None), Grant(4, None), Grant(3, None)]}
    one.settle(5, 90)
    assert one.refills() == {}
    one.settle(4, 60)
    one.settle(3, 70)
    assert one.refills() == {"a": [Grant(1, 60)]}


def test_an_allocator_that_grants_more_than_is_asked_still_sees_everybody_end() -> None:
    one = LeaseBook(Ledger(100), InLumps())
    for number in range(2):
        one.add(task(number))
    one.lease("a", 2, now=0.0)
    one.report(1, 40, 0, lacking=15)
    one.report(2, 40, 0, lacking=15)
    assert one.refills() == {"a": [Grant(2, None)]}, "20 are free, but nothing below 30 is granted"
    one.settle(2, 40)
    assert one.refills() == {"a": [Grant(1, None)]}


def test_a_report_of_a_lease_that_is_not_held_counts_for_nothing() -> None:
    one = book(300, task(0))
    [lease] = one.lease("a", 1, now=0.0)
    assert one.holds(lease.id, 1)
    assert not one.holds(lease.id, 2)
    one.lose(lease.id)
    assert not one.holds(lease.id, 1)
    one.report(lease.id, 10, 10, lacking=10)
    assert one.refills() == {}
    [again] = one.lease("b", 1, now=0.0)
    assert (again.id, again.attempt, again.task) == (2, 2, lease.task)


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
    """Replicas take, report, end, fail and die in any order; the book is compared with what was done to it."""

    @initialize(budget=st.sampled_from([None, 0, 150, 500, 2_000]))
    def open(self, budget: int | None) -> None:
        self.limited = budget is not None
        self.book = book(budget, first=FIRST if self.limited else None)
        self.budget = self.book.ledger.budget
        self.added: list[str] = []
        self.queued: set[str] = set()
        self.held: dict[int, tuple[str, Lease]] = {}
        self.granted: dict[int, int] = {}
        self.used: dict[int, int] = {}
        self.refused: set[int] = set()
        self.attempts: dict[str, int] = {}
        self.ended: dict[str, str] = {}

    @rule(count=st.integers(1, 4))
    def add(self, count: int) -> None:
        for _ in range(count):
            one = task(len(self.added))
            self.added.append(one.id)
            self.queued.add(one.id)
            self.book.add(one)

    @rule(replica=st.sampled_from("abc"), sequences=st.integers(0, 5))
    def lease(self, replica: str, sequences: int) -> None:
        for lease in self.book.lease(replica, sequences, 0.0, replicas=3):
            self.queued.remove(lease.task.id)
            self.attempts[lease.task.id] = self.attempts.get(lease.task.id, 0) + 1
            assert lease.attempt == self.attempts[lease.task.id] <= MAX_ATTEMPTS
            assert lease.id not in self.granted
            self.held[lease.id] = (replica, lease)
            self.granted[lease.id], self.used[lease.id] = lease.grant, 0

    def some(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.held)))

    def pay(self, lease: int, share: float) -> int:
        """Spend a share of what is left, by halves at most, so that larger grants do not overflow a float."""
        self.used[lease] += int(share * min(self.granted[lease] - self.used[lease], 1_000))
        return self.used[lease]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), share=st.floats(0, 1), running=st.booleans(), lacking=st.integers(0, 300))
    def report(self, data: st.DataObject, share: float, running: bool, lacking: int) -> None:
        lease = self.some(data)
        spent = self.pay(lease, share)
        self.book.report(lease, spent, min(running, self.granted[lease] - spent), lacking)

    @rule()
    def refill(self) -> None:
        could_return = {i for i in self.held if i in self.refused or not self.asks(i)}
        for replica, grants in self.book.refills().items():
            for grant in grants:
                assert self.held[grant.lease][0] == replica
                assert grant.lease not in self.refused
                if grant.amount is None:
                    assert not could_return, "refused although another lease may return FLOPs"
                    self.refused.add(grant.lease)
                else:
                    assert grant.amount > 0
                    self.granted[grant.lease] += grant.amount

    def asks(self, lease: int) -> bool:
        return self.book._held[lease].asked > 0 and not self.book._held[lease].reserved

    @precondition(lambda self: self.held)
    @rule(data=st.data(), share=st.floats(0, 1))
    def settle(self, data: st.DataObject, share: float) -> None:
        lease = self.some(data)
        spent = self.pay(lease, share)
        self.book.settle(lease, spent)
        self.end(self.held.pop(lease)[1].task.id, "answered")

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.lose(self.some(data))

    @rule(replica=st.sampled_from("abc"))
    def die(self, replica: str) -> None:
        for lease in self.book.held_by(replica):
            self.lose(lease)

    def lose(self, number: int) -> None:
        lease, waste, hopeless = self.book.lose(number)
        assert lease == self.held.pop(number)[1]
        assert waste >= self.used[number] or not self.limited
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

    def end(self, name: str, how: str) -> None:
        assert name not in self.ended
        self.ended[name] = how

    @invariant()
    def each_task_is_at_one_place(self) -> None:
        if not hasattr(self, "book"):
            return
        leased = [lease.task.id for _, lease in self.held.values()]
        assert sorted([*self.queued, *leased, *self.ended]) == sorted(self.added)
        assert (self.book.queued, self.book.leased) == (len(self.queued), len(self.held))
        for replica in "abc":
            mine = [number for number, (holder, _) in self.held.items() if holder == replica]
            assert sorted(self.book.held_by(replica)) == sorted(mine)
        ledger = self.book.ledger
        lent = sum(self.granted[number] for number in self.held)
        assert ledger.budget == ledger.free + lent + ledger.spent + ledger.wasted
        assert ledger.free >= 0

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
        assert sorted(self.ended) == sorted(self.added)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
