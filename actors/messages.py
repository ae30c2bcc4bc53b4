"""What scheduler, replicas and run writer say to each other. Frozen, small, picklable; candidates travel as plain rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from actors.engines.base import EngineCounters, EngineInfo
from actors.leases import Grant, Lease
from actors.work import Outcome

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Orders:
    """Scheduler to replica. `holds` names every lease the scheduler counts on: others are dropped."""

    leases: tuple[Lease, ...]
    grants: tuple[Grant, ...]
    acknowledged: tuple[int, ...]
    holds: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """A lease that came to its end: an outcome per strategy, or `error` where the task itself failed.

    `wasted` is the part of `spent` that went for calls whose verifier was lost.
    """

    lease: int
    attempt: int
    task_id: str
    outcomes: tuple[Outcome, ...]
    spent: int
    error: str = ""
    wasted: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """Where a running lease's purse stands."""

    lease: int
    spent: int
    reserved: int
    lacking: int


@dataclass(frozen=True, slots=True)
class Report:
    """Replica to scheduler: what ended (repeated until acknowledged), purses, load and counters."""

    finished: tuple[Finished, ...]
    accounts: tuple[Account, ...]
    sequences_wanted: int
    counters: EngineCounters


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """What a replica that is ready says of itself."""

    name: str
    host: str
    pid: int
    engine: EngineInfo


@dataclass(frozen=True, slots=True)
class Settlement:
    """Scheduler to run writer: this attempt's staged record counts, at this price in FLOPs of the budget, `wasted` of
    which went for lost calls."""

    task_id: str
    attempt: int
    spent: int
    wasted: int = 0


@dataclass(frozen=True, slots=True)
class Waste:
    """Scheduler to run writer: FLOPs charged for work that was lost."""

    task_id: str
    attempt: int
    flops: int
    reason: str


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Scheduler to run writer: a task that ends without an answer, for the reason its outcomes state."""

    task_id: str
    outcomes: tuple[Outcome, ...]
