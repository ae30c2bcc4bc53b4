"""A run's actors in this process: what `actors.cluster.placement.Cluster` does for a driver, without Ray.

For tests of what surrounds the runtime. Everything but Ray is the real thing: a policy, and a verifier where there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from actors.replicas.solver import SolverReplica
from actors.scheduling.scheduler import Scheduler
from actors.store.library import SampleLibrary
from actors.store.writer import RunWriter
from actors.strategy import Role
from actors.work import Progress, Task
from tests.support.inprocess import Drawer, Library, Replica, Verifier, Writer

if TYPE_CHECKING:
    from actors.cluster.placement import RunPlan

Tell = Callable[[Progress], None]


@contextmanager
def without_ray() -> Iterator[None]:
    """A run that starts meanwhile has its actors in this process: it waits for none to come up."""
    from actors.cluster import placement

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placement, "Cluster", ClusterHere)
        yield


class ClusterHere:
    """The actors of one run, in this process."""

    def __init__(self, plan: RunPlan) -> None:
        self._plan = plan
        self._writer = Writer.__new__(Writer)
        self._writer.writer = RunWriter(plan.folder, plan.judge, plan.retention)
        self._writer.settled, self._writer.losses, self._writer.fail = [], [], None

    def __enter__(self) -> ClusterHere:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.writer.close()

    def infos(self, *, first: bool, on_progress: Tell) -> None:
        """Nothing is waited for."""

    def run(self, tasks: Iterable[tuple[Task, str | None]], on_progress: Tell) -> Progress:
        return asyncio.run(self._run(list(tasks), on_progress))

    async def _run(self, tasks: list[tuple[Task, str | None]], on_progress: Tell) -> Progress:
        plan = self._plan
        library = Library(SampleLibrary([plan.folder, *plan.reuse], plan.folder))
        links = tuple(Verifier(model) for role, model in plan.models.items() if role == "verifier")

        def maker(role: Role) -> Callable[[], SolverReplica]:
            model = plan.models[role]
            others = tuple(drawers) if role == "policy" else ()
            return lambda: SolverReplica(
                f"{role}-0", model, plan.bench, links, self._writer, library, role=role, revisers=others
            )

        # Who is asked is there before who asks.
        drawing: tuple[Role, ...] = ("reviser", "policy")
        roles: dict[str, Role] = {f"{role}-0": role for role in drawing if role in plan.models}
        drawers: list[Drawer] = []
        replicas: dict[str, Replica] = {}
        for name, role in roles.items():
            replicas[name] = Replica(maker(role))
            drawers += [Drawer(replicas[name])] if role == "reviser" else []
        one = Scheduler(
            dict(replicas), self._writer, plan.allocator, budget=plan.budget, prior=True, roles=roles
        )
        self._writer.writer.label({task.id: label for task, label in tasks})
        await one.open()
        await one.submit([task for task, _ in tasks])
        await one.close()
        running = asyncio.create_task(one.run())
        while not (await asyncio.wait({running}, timeout=0.05))[0]:
            on_progress(one.progress())
        running.result()
        on_progress(one.progress())
        for replica in replicas.values():
            await replica.die()
        for link in links:
            await link.replica._engine.close()
        return one.progress()
