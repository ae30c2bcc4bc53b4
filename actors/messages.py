"""What scheduler, replicas and run writer say to each other. Frozen, small, picklable; candidates travel as plain rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from actors.engines.base import EngineCounters, EngineInfo
from actors.ledger import UNLIMITED, Entry, totals
from actors.strategy import Role, Terms
from actors.work import Outcome, State, Task

Row = dict[str, Any]

States = tuple[tuple[Literal["eos", "stop"], int], ...]
"""What of a request's `watches` crosses to a replica with a reader of the same plan: how each calls an end, and its state.
The tables that see an end stay: those of a large vocabulary have megabytes."""

STOPPED = "stopped with the run"
"""The error of a task that was ended by order."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A task in a replica's hands, with its first grant, and what of it may be used up before more is told (None: all);
    under a price with its `terms`."""

    id: int
    attempt: int
    task: Task
    grant: int
    limit: int | None = None
    terms: Terms | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What a lease's purse has been granted in all; `total` None says that there will be no more. Under a price the `terms`
    are today's."""

    lease: int
    total: int | None
    terms: Terms | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """What a lease may have used up in all before it is told of more."""

    lease: int
    total: int


@dataclass(frozen=True, slots=True)
class Hold:
    """A lease as it stands on disk: who holds which task, the FLOPs it is charged if it is never heard of again, and what it
    was granted (no less than these)."""

    lease: int
    task_id: str
    attempt: int
    replica: str
    flops: int
    granted: int = 0


@dataclass(frozen=True, slots=True)
class Orders:
    """Scheduler to replica. `holds` names every lease the scheduler counts on: others are dropped. `stop` ends all that is
    in hand as it stands. `life` numbers the schedulers of a run: orders of an earlier one than the last are refused."""

    leases: tuple[Lease, ...]
    grants: tuple[Grant, ...]
    acknowledged: tuple[int, ...]
    holds: tuple[int, ...]
    stop: bool = False
    life: int = 0
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """A lease that came to its end: an outcome per strategy, also of those that failed, or `error` where the task itself did,
    and what it took.

    `blameless` says that it ended for no fault of its own: it was stopped by order, or lacked a service.
    """

    lease: int
    attempt: int
    task_id: str
    outcomes: tuple[Outcome, ...]
    entries: tuple[Entry, ...]
    error: str = ""
    blameless: bool = False

    @property
    def spent(self) -> int:
        return sum(entry.flops for entry in self.entries)

    @property
    def wasted(self) -> int:
        return totals(self.entries)[1]


@dataclass(frozen=True, slots=True)
class Account:
    """Where a running lease's purse stands; `granted` and `limit` are what its replica knows of, `used` is what is used up at
    most, and `wanted` the limit with which nothing would wait for it."""

    lease: int
    granted: int
    spent: int
    reserved: int
    lacking: int
    limit: int = UNLIMITED
    used: int = 0
    wanted: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """Replica to scheduler: what ended (repeated until acknowledged), purses, load and counters. `elsewhere` are requests
    that wait for another replica, `staging` tasks whose record is being graded, `starved` is as in `Pulse`."""

    finished: tuple[Finished, ...]
    accounts: tuple[Account, ...]
    sequences_wanted: int
    counters: EngineCounters
    elsewhere: int = 0
    staging: int = 0
    starved: float = 0.0


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a replica's process says of its health, whatever its work is at: what its engine has computed, and for how many
    seconds in all it could not run for want of a processor."""

    counters: EngineCounters
    starved: float = 0.0


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """What a replica that is ready says of itself."""

    name: str
    host: str
    pid: int
    engine: EngineInfo


@dataclass(frozen=True, slots=True)
class Failure:
    """What a strategy failed of, as text: one line, its traceback, and the place in the code, which is the same for all
    problems that meet the same mistake."""

    reason: str
    trace: str
    place: str
    problem_id: str = ""
    strategy: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """What a finished attempt leaves on disk: outcomes, rows of the other tables by column name, and what strategies failed
    of."""

    outcomes: tuple[Outcome, ...]
    candidates: list[Row] = field(default_factory=list)
    samples: list[Row] = field(default_factory=list)
    scores: list[Row] = field(default_factory=list)
    failures: tuple[Failure, ...] = ()
    decisions: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Settlement:
    """Scheduler to run writer: this attempt's staged record counts, and is paid so."""

    lease: int
    task_id: str
    attempt: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Loss:
    """Scheduler to run writer: a lease came to nothing, and is charged so. `blamed` losses count as attempts."""

    lease: int
    task_id: str
    attempt: int
    entries: tuple[Entry, ...]
    reason: str
    blamed: bool = True

    @property
    def flops(self) -> int:
        return sum(entry.flops for entry in self.entries)


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Scheduler to run writer: a task that ends without an answer, for the reason its outcomes state."""

    task_id: str
    outcomes: tuple[Outcome, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """Scheduler to run writer: what is to be made durable together. `life` is the scheduler's: one that another has followed
    is refused."""

    holds: tuple[Hold, ...] = ()
    settled: tuple[Settlement, ...] = ()
    losses: tuple[Loss, ...] = ()
    given_up: tuple[GivenUp, ...] = ()
    life: int | None = None


@dataclass(frozen=True, slots=True)
class Books:
    """Run writer to a scheduler that starts: where the run stands on disk.

    FLOPs `spent` and `wasted`, of the budget's accounting; leases that are open; losses of tasks that go on; a number
    above every lease's so far; how many schedulers there were; and what this session has ended, with its tokens by role.
    """

    spent: int
    wasted: int
    holds: tuple[Hold, ...]
    attempts: dict[str, int]
    next_lease: int
    life: int
    outcomes: dict[State, int]
    tokens: dict[Role, int]
    seconds: float
