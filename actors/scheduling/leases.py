"""Queue and leases: which replica holds which task, what each may spend, and how far it may go before more is on disk.
Synchronous, Ray-free.

Fed with what replicas report, it says what they get next. It knows nothing of strategies beyond how many sequences they run.
Invariants: each task is queued, leased or ended, never two of them; each ends once; a report counts only for the lease
and attempt that hold the task; a task on its last attempt is alone with its replica; only its home's role has it.
"""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from actors.ledger import Ledger
from actors.messages import Account, Grant, Hold, Lease, Limit
from actors.scheduling.slices import Slices
from actors.strategy import Role
from actors.work import Allocator, Pricing, Task

MAX_ATTEMPTS = 3
"""Times a task may be lost with its replica before it is held to be what kills replicas."""

RAISED_BELOW = 0.75
"""The share of a slice below which a lease is given a new one: all that are near it at once, for that is one commit."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A lease that was taken back: FLOPs charged as waste, and whether its task is given up with it."""

    lease: Lease
    waste: int
    given_up: bool


@dataclass(slots=True)
class _Held:
    lease: Lease
    replica: str
    since: float
    reserved: int = 0
    asked: int = 0
    refused: bool = False
    noted: int = -1
    # Its slice while no pace is known; one that was taken over gets what it waits for alone.
    first: int = 0
    # As last reported: the limit that its replica knows of, what it had used, and the limit it wanted.
    known: int = 0
    used: int = 0
    wanted: int = 0

    @property
    def stuck(self) -> bool:
        """Whether it waits for a refill with nothing under way that could return FLOPs."""
        return self.asked > 0 and not self.reserved and not self.refused


@dataclass(slots=True)
class _Hands:
    """What one replica holds, the leases of which it has not been told all, what they have used, as last reported, and what
    those took that ended."""

    leases: dict[int, _Held] = field(default_factory=dict)
    news: dict[int, None] = field(default_factory=dict)
    slices: Slices = field(default_factory=Slices)
    used: int = 0
    ended: int = 0


class LeaseBook:
    """Queue and leases over one ledger. `attempts` are losses of tasks before this book was made, `first` is the number of
    its first lease. With a `prior`, samples may exist already: a task that the budget cannot start is leased all the same,
    with an empty purse."""

    def __init__(
        self,
        ledger: Ledger,
        allocator: Allocator,
        *,
        attempts: Mapping[str, int] | None = None,
        first: int = 1,
        prior: bool = False,
    ) -> None:
        self.ledger = ledger
        self._allocator = allocator
        self._pricing = allocator if isinstance(allocator, Pricing) else None
        # By the role whose replicas take them.
        self._queues: defaultdict[Role, deque[Task]] = defaultdict(deque)
        # One more loss ends these: each is leased alone, for among them may be what kills replicas.
        self._suspects: defaultdict[Role, deque[Task]] = defaultdict(deque)
        self._attempts: dict[str, int] = dict(attempts or {})
        self._held: dict[int, _Held] = {}
        self._hands: dict[str, _Hands] = {}
        self._asking: dict[int, _Held] = {}
        # Asked since the last refill, and what was free after it: older asks fit no better until more is free.
        self._fresh: dict[int, _Held] = {}
        self._free = 0
        self._stuck = 0
        self._next = first
        self._prior = prior

    @property
    def queued(self) -> int:
        return sum(len(queue) for queue in self._all_queues())

    def queued_at(self, role: Role) -> int:
        """Those that only a replica of this role takes."""
        return len(self._queues[role]) + len(self._suspects[role])

    def _all_queues(self) -> Iterator[deque[Task]]:
        """Every queue, those of suspects first."""
        yield from self._suspects.values()
        yield from self._queues.values()

    @property
    def leased(self) -> int:
        return len(self._held)

    def held_by(self, replica: str) -> tuple[int, ...]:
        hands = self._hands.get(replica)
        return tuple(hands.leases) if hands else ()

    def oldest(self, now: float, count: int) -> tuple[tuple[str, float], ...]:
        """The tasks that are longest in hand: (problem and replica, seconds)."""
        # Leases are numbered as they are handed out.
        oldest = itertools.islice(self._held.values(), count)
        return tuple((f"{held.lease.task.prompt.id} on {held.replica}", now - held.since) for held in oldest)

    def add(self, task: Task) -> None:
        """Queue a task; one that was lost before, and is lost at most once more, waits to be alone with its replica."""
        last = self._attempts.get(task.id, 0) >= MAX_ATTEMPTS - 1
        (self._suspects if last else self._queues)[task.home].append(task)

    def restore(self, holds: Iterable[Hold], now: float) -> list[Hold]:
        """Take over what an earlier book handed out, of the tasks queued; return those whose task is not there."""
        wanted = {hold.task_id: hold for hold in holds}
        for queue in self._all_queues():
            tasks = [task for task in queue if task.id in wanted]
            queued = [task for task in queue if task.id not in wanted]
            queue.clear()
            queue.extend(queued)
            for task in tasks:
                hold = wanted.pop(task.id)
                self.ledger.restore(hold.lease, hold.flops, hold.granted)
                self._attempts[task.id] = hold.attempt
                granted = self.ledger.granted(hold.lease)
                # Its terms its holder has.
                terms = None if self._pricing is None else self._pricing.begin(task)
                lease = Lease(hold.lease, hold.attempt, task, granted, terms=terms)
                self._take(_Held(lease, hold.replica, now))
                # Its holder may not have been told of the last grant.
                self._hands[hold.replica].news[hold.lease] = None
        return list(wanted.values())

    def lease(
        self, replica: str, sequences: int, now: float, replicas: int = 1, *, role: Role = "policy"
    ) -> list[Lease]:
        """Hand out tasks worth about `sequences` sequences, as far as the budget lets them start, to one of so many
        `replicas` of a role.

        Towards the end of the queue one replica gets no more than its share, so that the last tasks do not wait in one
        place (guided self-scheduling).
        """
        mine = self._hands.setdefault(replica, _Hands()).leases
        # Whoever is on its last attempt is alone: looking at one lease is enough.
        if any(held.lease.attempt == MAX_ATTEMPTS for held in itertools.islice(mine.values(), 1)):
            return []
        queue, suspects = self._queues[role], self._suspects[role]
        if suspects and sequences > 0 and not mine:
            alone = self._start(suspects, replica, now)
            return [] if alone is None else [alone]
        leases: list[Lease] = []
        share = -(-len(queue) // (2 * replicas)) if replicas > 1 else len(queue)
        while queue and sequences > 0 and len(leases) < share:
            lease = self._start(queue, replica, now)
            if lease is None:
                break
            sequences -= sum(strategy.sequences for strategy in lease.task.strategies)
            leases.append(lease)
        return leases

    def _start(self, queue: deque[Task], replica: str, now: float) -> Lease | None:
        """Lease the first of a queue, where the budget holds its first grant."""
        task = queue[0]
        grant = self._allocator.first_grant(task, self.ledger.free)
        broke = not self.ledger.grant(self._next, grant)
        if broke:
            # Who has a grant may return some of it; what exists already costs nothing.
            if not self._prior or self.ledger.outstanding:
                return None
            self.ledger.grant(self._next, grant := 0)
        queue.popleft()
        attempt = self._attempts[task.id] = self._attempts.get(task.id, 0) + 1
        limit = self._first_limit(replica, grant)
        terms = None if self._pricing is None else self._pricing.begin(task)
        lease = Lease(self._next, attempt, task, grant, limit if self.ledger.limited else None, terms)
        self.ledger.raise_limit(self._next, limit)
        self._next += 1
        held = _Held(lease, replica, now, first=grant, known=limit)
        self._take(held)
        if broke:
            self._refuse(held)
        return lease

    def _first_limit(self, replica: str, grant: int) -> int:
        hands = self._hands[replica]
        slice_ = hands.slices.size(hands.used, len(hands.leases) + 1)
        return grant if slice_ is None else min(grant, slice_)

    def _take(self, held: _Held) -> None:
        self._held[held.lease.id] = held
        self._hands.setdefault(held.replica, _Hands()).leases[held.lease.id] = held

    def _drop(self, lease: int) -> _Held:
        held = self._held.pop(lease)
        hands = self._hands[held.replica]
        del hands.leases[lease]
        hands.used -= held.used
        hands.news.pop(lease, None)
        self._asking.pop(lease, None)
        self._fresh.pop(lease, None)
        self._stuck -= held.stuck
        return held

    def starve(self) -> list[Task]:
        """Take the tasks that can never start: nothing runs that could return FLOPs, and their first grant does not fit."""
        if self._held or self._prior:
            return []
        free = self.ledger.free
        starved: list[Task] = []
        for queue in self._all_queues():
            tasks = list(queue)
            queue.clear()
            for task in tasks:
                (starved if self._allocator.first_grant(task, free) > free else queue).append(task)
        for task in starved:
            self._attempts.pop(task.id, None)
        return starved

    def report(self, lease: int, spent: int, reserved: int, lacking: int, granted: int | None = None) -> None:
        """Note what a running lease has spent and reserved so far, and what it lacks to go on with the `granted` FLOPs that
        it knows of (None: all of them)."""
        held = self._held.get(lease)
        if held is None:
            return
        self.ledger.report(lease, spent, reserved)
        # What was granted while its report was under way it does not lack.
        under_way = 0 if granted is None else self.ledger.granted(lease) - granted
        self._set(held, reserved, max(0, lacking - under_way), held.refused)

    def hear(self, replica: str, accounts: Iterable[Account], busy: float) -> None:
        """Note where a replica's leases stand, and the seconds that it has computed since it started."""
        hands = self._hands.setdefault(replica, _Hands())
        for one in accounts:
            self.report(one.lease, one.spent, one.reserved, one.lacking, one.granted)
            if (held := hands.leases.get(one.lease)) is not None:
                hands.used += one.used - held.used
                held.known, held.used, held.wanted = one.limit, one.used, one.wanted
        hands.slices.see(hands.ended + hands.used, busy)

    def limits(self, replica: str) -> list[Limit]:
        """Raise the limits of a replica's leases that come near them; what it is to be told, once that is durable."""
        hands = self._hands.get(replica)
        if hands is None or not self.ledger.limited:
            return []
        known, told = hands.slices.size(hands.used, len(hands.leases)), []
        for number, held in hands.leases.items():
            limit, slice_ = self.ledger.limit(number), held.first if known is None else known
            if held.wanted > limit or limit - held.used < RAISED_BELOW * slice_:
                limit = self.ledger.raise_limit(number, max(held.used + slice_, held.wanted))
            # One that was told may not have arrived, where two schedulers followed each other.
            if limit > held.known:
                told.append(Limit(number, limit))
        return told

    def _set(self, held: _Held, reserved: int, asked: int, refused: bool) -> None:
        self._stuck -= held.stuck
        held.reserved, held.asked, held.refused = reserved, asked, refused
        self._stuck += held.stuck
        if held.asked > 0 and not held.refused:
            self._asking[held.lease.id] = self._fresh[held.lease.id] = held
        else:
            self._asking.pop(held.lease.id, None)
            self._fresh.pop(held.lease.id, None)

    def refill(self) -> None:
        """Answer the purses that ask. A purse is refused only when nobody is left to return FLOPs."""
        asks = self._asking if self.ledger.free > self._free else self._fresh
        for number in sorted(asks):
            held = asks[number]
            task, granted = held.lease.task, self.ledger.granted(number)
            amount = self._allocator.refill(task, held.asked, granted, self.ledger.free)
            if amount is None:
                self._refuse(held)
            elif self.ledger.grant(number, amount):
                self._set(held, held.reserved, 0, refused=False)
                self._hands[held.replica].news[number] = None
        self._fresh.clear()
        self._free = self.ledger.free
        # One that was refused ends now, and one with a request in flight goes on: both may return FLOPs.
        if self._asking and self._stuck == len(self._held):
            # The youngest give up first, as many as it takes for what they return to carry the oldest on.
            oldest, *others = (self._asking[number] for number in sorted(self._asking))
            lacking = oldest.asked - self.ledger.free
            for held in reversed(others or [oldest]):
                self._refuse(held)
                lacking -= self.ledger.unspent(held.lease.id)
                if lacking <= 0:
                    break

    def _refuse(self, held: _Held) -> None:
        self._set(held, held.reserved, held.asked, refused=True)
        self._hands[held.replica].news[held.lease.id] = None

    def grants(self, replica: str) -> list[Grant]:
        """What a replica has not been told yet of its leases' grants; to be asked for as it is told."""
        hands = self._hands.get(replica)
        if hands is None:
            return []
        news, hands.news = hands.news, {}
        return [self._grant(number, hands.leases[number]) for number in news]

    def _grant(self, number: int, held: _Held) -> Grant:
        total = None if held.refused else self.ledger.granted(number)
        return Grant(number, total, None if self._pricing is None else self._pricing.terms(held.lease.task))

    def holds(self, leases: Iterable[int]) -> list[Hold]:
        """Leases as they must stand on disk before their holder is told of them."""
        found = []
        for number in leases:
            if (held := self._held.get(number)) is not None:
                held.noted = self.ledger.exposure(number)
                granted = self.ledger.granted(number) if self.ledger.limited else 0
                found.append(
                    Hold(number, held.lease.task.id, held.lease.attempt, held.replica, held.noted, granted)
                )
        return found

    def settle(self, lease: int, spent: int, wasted: int = 0) -> Task:
        """End a lease that is held and came to its end; what it did not spend is free again. Returns its task."""
        held = self._drop(lease)
        self._hands[held.replica].ended += spent
        self.ledger.close(lease, spent, wasted)
        del self._attempts[held.lease.task.id]
        return held.lease.task

    def changed(self, replica: str) -> list[int]:
        """A replica's leases whose exposure is not what `holds` last gave of it."""
        hands = self._hands.get(replica)
        leases = hands.leases if hands else {}
        return [number for number, held in leases.items() if self.ledger.exposure(number) != held.noted]

    def knows(self, lease: int) -> bool:
        return lease in self._held

    def counts(self, lease: int, attempt: int) -> bool:
        """Whether a report of this lease and attempt still counts."""
        held = self._held.get(lease)
        return held is not None and held.lease.attempt == attempt

    def lose(self, lease: int, spent: int | None = None, *, blame: bool = True) -> Lost:
        """Take back a lease that failed.

        `spent` is what its replica says that it took, None where the replica is gone. A task that is not given up is
        queued again, at the front. Without `blame` (it was stopped, for no fault of its own) the attempt does not count.
        """
        held = self._drop(lease)
        if spent is None:
            waste = self.ledger.lose(lease)
        else:
            waste = spent
            self.ledger.close(lease, spent, spent)
        task = held.lease.task
        if not blame:
            self._attempts[task.id] -= 1
        lost = self._attempts[task.id]
        if lost >= MAX_ATTEMPTS:
            del self._attempts[task.id]
        elif lost == MAX_ATTEMPTS - 1:
            self._suspects[task.home].append(task)
        else:
            self._queues[task.home].appendleft(task)
        return Lost(held.lease, waste, given_up=lost >= MAX_ATTEMPTS)
