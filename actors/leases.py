"""The scheduler's mind, without Ray or asyncio: queue, leases, attempts, grants and what has ended.

Fed with what replicas report, it says what they get next. It knows nothing of strategies beyond how many sequences they run.
Invariants: each task is queued, leased or ended, never two of them; each ends once; a report counts only for the lease
and attempt that hold the task; a task on its last attempt is alone with its replica.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from actors.ledger import Ledger
from actors.work import Task

MAX_ATTEMPTS = 3
"""Times a task may be lost with its replica before it is held to be what kills replicas."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A task in a replica's hands."""

    id: int
    attempt: int
    task: Task
    grant: int


@dataclass(frozen=True, slots=True)
class Grant:
    """More for a lease's purse; `amount` None says that there will be no more."""

    lease: int
    amount: int | None


class Allocator(Protocol):
    """Says what a task may have. Pure: fed with tasks and numbers, tested with lists."""

    def first_grant(self, task: Task, free: int) -> int:
        """FLOPs to lend a task when it starts."""

    def refill(self, task: Task, asked: int, held: int, free: int) -> int | None:
        """FLOPs to lend a task that lacks `asked` and had `held`; None refuses for good."""


@dataclass(slots=True)
class _Held:
    lease: Lease
    replica: str
    since: float
    reserved: int = 0
    asked: int = 0
    refused: bool = False


class LeaseBook:
    """Queue and leases over one ledger."""

    def __init__(self, ledger: Ledger, allocator: Allocator) -> None:
        self.ledger = ledger
        self._allocator = allocator
        self._queue: deque[Task] = deque()
        # One more loss ends these: each is leased alone, for among them may be what kills replicas.
        self._suspects: deque[Task] = deque()
        self._attempts: dict[str, int] = {}
        self._held: dict[int, _Held] = {}
        self._next = 1

    @property
    def queued(self) -> int:
        return len(self._queue) + len(self._suspects)

    @property
    def leased(self) -> int:
        return len(self._held)

    def held_by(self, replica: str) -> tuple[int, ...]:
        return tuple(i for i, held in self._held.items() if held.replica == replica)

    def oldest(self, now: float, count: int) -> tuple[tuple[str, float], ...]:
        """The tasks that are longest in hand: (problem and replica, seconds)."""
        oldest = sorted(self._held.values(), key=lambda held: held.since)[:count]
        return tuple((f"{held.lease.task.prompt.id} on {held.replica}", now - held.since) for held in oldest)

    def add(self, task: Task) -> None:
        self._queue.append(task)

    def lease(self, replica: str, sequences: int, now: float, replicas: int = 1) -> list[Lease]:
        """Hand out tasks worth about `sequences` sequences, as far as the budget lets them start.

        Towards the end of the queue one replica gets no more than its share, so that the last tasks do not wait in one
        place (guided self-scheduling).
        """
        mine = self.held_by(replica)
        if any(self._held[number].lease.attempt == MAX_ATTEMPTS for number in mine):
            return []
        if self._suspects and sequences > 0 and not mine:
            alone = self._start(self._suspects, replica, now)
            return [] if alone is None else [alone]
        leases: list[Lease] = []
        share = -(-len(self._queue) // (2 * replicas)) if replicas > 1 else len(self._queue)
        while self._queue and sequences > 0 and len(leases) < share:
            lease = self._start(self._queue, replica, now)
            if lease is None:
                break
            sequences -= sum(strategy.sequences for strategy in lease.task.strategies)
            leases.append(lease)
        return leases

    def _start(self, queue: deque[Task], replica: str, now: float) -> Lease | None:
        """Lease the first of a queue, where the budget holds its first grant."""
        task = queue[0]
        grant = self._allocator.first_grant(task, self.ledger.free)
        if not self.ledger.grant(self._next, grant):
            return None
        queue.popleft()
        attempt = self._attempts[task.id] = self._attempts.get(task.id, 0) + 1
        lease = Lease(self._next, attempt, task, grant)
        self._next += 1
        self._held[lease.id] = _Held(lease, replica, now)
        return lease

    def starve(self) -> list[Task]:
        """Take the tasks that can never start: nothing runs that could return FLOPs, and their first grant does not fit."""
        if self._held:
            return []
        free = self.ledger.free
        starved = [
            task for task in (*self._suspects, *self._queue) if self._allocator.first_grant(task, free) > free
        ]
        gone = {task.id for task in starved}
        self._suspects = deque(task for task in self._suspects if task.id not in gone)
        self._queue = deque(task for task in self._queue if task.id not in gone)
        return starved

    def report(self, lease: int, spent: int, reserved: int, lacking: int) -> None:
        """Note what a running lease has spent and reserved so far, and what it lacks to go on."""
        held = self._held.get(lease)
        if held is not None:
            self.ledger.report(lease, spent, reserved)
            held.reserved, held.asked = reserved, lacking

    def refills(self) -> dict[str, list[Grant]]:
        """Answer the purses that ask, by replica. A purse is refused only when nobody is left to return FLOPs."""
        answers: dict[str, list[Grant]] = {}
        waiting: list[_Held] = []
        for held in self._held.values():
            if held.asked <= 0 or held.refused:
                continue
            task = held.lease.task
            amount = self._allocator.refill(task, held.asked, held.lease.grant, self.ledger.free)
            if amount is not None and self.ledger.grant(held.lease.id, amount):
                answers.setdefault(held.replica, []).append(Grant(held.lease.id, amount))
                held.asked = 0
            elif amount is None:
                held.refused = True
                answers.setdefault(held.replica, []).append(Grant(held.lease.id, None))
            else:
                waiting.append(held)
        # One that was refused ends now, and one with a request in flight goes on: both may return FLOPs.
        stuck = all(held.asked > 0 and not held.reserved and not held.refused for held in self._held.values())
        if waiting and stuck:
            # The youngest give up first, as many as it takes for what they return to carry the oldest on.
            oldest, *others = sorted(waiting, key=lambda held: held.lease.id)
            lacking = oldest.asked - self.ledger.free
            for held in reversed(others or [oldest]):
                held.refused = True
                answers.setdefault(held.replica, []).append(Grant(held.lease.id, None))
                lacking -= self.ledger.unspent(held.lease.id)
                if lacking <= 0:
                    break
        return answers

    def settle(self, lease: int, spent: int, wasted: int = 0) -> None:
        """End a lease that is held and came to its end; what it did not spend is free again."""
        held = self._held.pop(lease)
        self.ledger.close(lease, spent, wasted)
        del self._attempts[held.lease.task.id]

    def holds(self, lease: int, attempt: int) -> bool:
        """Whether a report of this lease and attempt still counts."""
        held = self._held.get(lease)
        return held is not None and held.lease.attempt == attempt

    def lose(self, lease: int, spent: int | None = None) -> tuple[Lease, int, bool]:
        """Take back a lease that failed: the lease, what is charged as waste, and whether its task is given up.

        `spent` is what its replica says that it took, None where the replica is gone. A task that is not given up is
        queued again, at the front.
        """
        held = self._held.pop(lease)
        waste = self.ledger.lose(lease, spent)
        task = held.lease.task
        lost = self._attempts[task.id]
        if lost >= MAX_ATTEMPTS:
            del self._attempts[task.id]
        elif lost == MAX_ATTEMPTS - 1:
            self._suspects.append(task)
        else:
            self._queue.appendleft(task)
        return held.lease, waste, lost >= MAX_ATTEMPTS
