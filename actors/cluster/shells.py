"""Scheduler and run writer as actors: the plain classes' methods, made where their processes are.

They are apart from `scheduler.py` and `writer.py`, which know nothing of Ray. Invariants: a fresh process of the scheduler
needs nothing but its constructor's arguments and the run writer; a commit never waits for a record that is being graded.
"""

from __future__ import annotations

import time
from typing import Any

import ray

from actors.cluster.links import SolverLink, WriterLink
from actors.cluster.packed import unpacked
from actors.messages import Record
from actors.scheduling.scheduler import Scheduler
from actors.scheduling.starts import Attempt, Starts
from actors.store.writer import RunWriter
from actors.strategy import Role
from actors.work import Progress, Task

STAGING = 16
"""Threads of the writer's actor that grade records; the one beside them does all else, in the order in which it is asked."""


class WriterActor(RunWriter):
    """An actor of `staging`."""

    @ray.method(concurrency_group="staging")  # type: ignore[untyped-decorator]
    def stage(self, lease: int, task_id: str, record: Record) -> None:
        super().stage(lease, task_id, record)


def staging(kind: type[WriterActor]) -> Any:
    """The actor class of a writer."""
    return ray.remote(concurrency_groups={"staging": STAGING})(kind)


class SchedulerActor:
    """`replicas` and `writer` are names of actors: handles among a constructor's arguments would be lost to a restart, and so
    would be what is large: the `allocator` comes packed."""

    def __init__(
        self,
        replicas: dict[str, str],
        writer: str,
        budget: int | None,
        prior: bool,
        roles: dict[str, Role],
        *allocator: bytes,
    ) -> None:
        links = {name: SolverLink(actor) for name, actor in replicas.items()}
        self._scheduler = Scheduler(
            links,
            WriterLink(ray.get_actor(writer)),
            unpacked(allocator),
            budget=budget,
            prior=prior,
            roles=roles,
        )
        self._starts = Starts()

    async def begin(self, replica: str) -> Attempt:
        """Take note that a replica has found a machine, and is about to load."""
        return self._starts.begin(replica, time.monotonic())

    async def failed(self, replica: str, why: str) -> None:
        """Take note that it could not load, and leaves to be started again."""
        self._starts.failed(replica, why)

    async def up(self, replica: str) -> None:
        """Take note that it has loaded."""
        self._starts.up(replica)

    async def placed(self) -> set[str]:
        """Replicas that have found a machine since this scheduler started."""
        return self._starts.placed

    async def open(self) -> int:
        return await self._scheduler.open()

    async def submit(self, tasks: list[Task], number: int) -> None:
        await self._scheduler.submit(tasks, number)

    async def close(self) -> None:
        await self._scheduler.close()

    async def drain(self, seconds: float) -> None:
        await self._scheduler.drain(seconds)

    async def run(self) -> None:
        await self._scheduler.run()

    async def progress(self) -> Progress:
        return self._scheduler.progress()
