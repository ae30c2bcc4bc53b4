"""Replicas and run writer of this process behind the faces that the scheduler knows, and ways in which they fail.

Everything but Ray is the real thing: engines, clients, purses, the run writer's folder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

from actors.engines.base import EngineInfo, EngineName, GenerateRequest, Generation, ScoreRequest, Scores
from actors.engines.plan import ModelPlan, Server
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.messages import Books, Commit, Loss, Orders, Pulse, Record, Report, Settlement, States
from actors.replicas.bench import Bench
from actors.replicas.solver import SolverReplica
from actors.replicas.verifier import VerifierReplica
from actors.scheduling.scheduler import EXCHANGE_TIMEOUT_S, Scheduler
from actors.store.library import Prior, SampleLibrary
from actors.store.writer import RunWriter
from actors.strategy import Role
from actors.work import Allocator, Progress, Task
from tests.support.tiny import LastDigit, first_come, make_bench, make_plan


class Dead(Exception):
    """What the caller of a dead process sees."""


class Writer:
    """The run writer as scheduler and replicas see it; `settled` notes what it was told in order."""

    def __init__(self, folder: Path) -> None:
        self.writer = RunWriter(folder, LastDigit())
        self.settled: list[Settlement] = []
        self.losses: list[Loss] = []
        self.fail: Exception | None = None

    async def stage(self, lease: int, task_id: str, record: Record) -> None:
        self.writer.stage(lease, task_id, record)

    async def take_over(self) -> Books:
        return self.writer.take_over()

    async def commit(self, commit: Commit) -> list[str]:
        await asyncio.sleep(0)
        if self.fail is not None:
            raise self.fail
        missing = self.writer.commit(commit)
        self.settled += [one for one in commit.settled if one.task_id not in missing]
        self.losses += commit.losses
        return missing


@dataclass(frozen=True, slots=True)
class Library:
    """The library of what exists, as policy replicas see it."""

    inner: SampleLibrary

    async def prior(self, problem_id: str) -> Prior:
        return self.inner.prior(problem_id)


class Verifier:
    """A verifier as policy replicas see it."""

    def __init__(self, plan: ModelPlan) -> None:
        self.replica = VerifierReplica(plan)

    async def ready(self) -> str:
        return "here"

    async def score(self, requests: list[ScoreRequest]) -> list[Scores | str]:
        return await self.replica.score(requests)

    async def pulse(self) -> Pulse:
        return await self.replica.pulse()

    async def restart(self) -> None:
        raise AssertionError("nothing hangs here")


Fault = Callable[["Replica", Orders], Awaitable[Report | None]]
"""What happens to an exchange in place of its usual course; None: nothing out of the ordinary."""


@dataclass
class Replica:
    """A policy replica of this process. `fault` may interfere with each exchange; `exchanges` counts them."""

    make: Callable[[], SolverReplica]
    fault: Fault | None = None
    starts: int = 0
    exchanges: int = 0
    restarts: int = 0
    inner: SolverReplica | None = None
    unready: asyncio.Event | None = None
    fails_to_start: Exception | None = None
    calls: set[asyncio.Task[Report]] = field(default_factory=set)
    drawing: set[asyncio.Task[Generation | str]] = field(default_factory=set)

    async def ready(self) -> None:
        if self.unready is not None:
            await self.unready.wait()
        if self.fails_to_start is not None:
            raise self.fails_to_start
        if self.inner is None:
            self.inner = self.make()
            self.starts += 1

    async def exchange(self, orders: Orders) -> Report:
        self.exchanges += 1
        if self.fault is not None:
            report = await self.fault(self, orders)
            if report is not None:
                return report
        return await self.through(orders)

    async def pulse(self) -> Pulse:
        if self.inner is None:
            raise Dead("the actor is restarting")
        return await self.inner.pulse()

    async def through(self, orders: Orders) -> Report:
        inner = self.inner
        if inner is None:
            raise Dead("the actor is restarting")
        report = await inner.exchange(orders)
        if self.inner is not inner:
            raise Dead("killed during the call")
        return report

    async def restart(self) -> None:
        self.restarts += 1
        await self.die()

    async def die(self) -> None:
        """The process ends: all its work is gone, nobody is told."""
        if self.inner is None:
            return
        inner, self.inner = self.inner, None
        work = [*inner._work.values(), *self.drawing]
        self.drawing.clear()
        for one in work:
            one.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        await inner._engine.close()


@dataclass
class Drawer:
    """A replica as those see it who ask it to draw. It notes the seeds of what it was asked, and dies at draw `kill_at`."""

    replica: Replica
    seeds: list[int] = field(default_factory=list)
    kill_at: int = 0

    async def ready(self) -> str:
        # It starts again by itself.
        await self.replica.ready()
        return str(self.replica.starts)

    async def engine(self) -> EngineInfo:
        return await self._inner.engine()

    async def draw(self, request: GenerateRequest, states: States) -> Generation | str:
        inner = self._inner
        self.seeds.append(request.seed)
        if len(self.seeds) == self.kill_at:
            await self.replica.die()
        if self.replica.inner is not inner:
            raise Dead("killed")
        drawing = asyncio.create_task(inner.draw(request, states))
        self.replica.drawing.add(drawing)
        try:
            return await drawing
        except asyncio.CancelledError:
            drawing.cancel()
            if self.replica.inner is not inner:
                raise Dead("killed during the call") from None
            raise

    async def pulse(self) -> Pulse:
        return await self._inner.pulse()

    async def restart(self) -> None:
        raise AssertionError("nothing hangs here")

    @property
    def _inner(self) -> SolverReplica:
        if self.replica.inner is None:
            raise Dead("the actor is restarting")
        return self.replica.inner


class Cell:
    """A scheduler with its replicas, verifier and run folder, all in this process."""

    def __init__(
        self,
        folder: Path,
        policy: Path,
        verifier: Path,
        *,
        replicas: int = 2,
        revisers: int = 0,
        budget: int | None = None,
        allocator: Allocator | None = None,
        deadline: float = EXCHANGE_TIMEOUT_S,
        max_sequences: int = 8,
        reuse: bool = False,
        engine: EngineName = "local",
        family: ChosenFamily | None = None,
        server: Server | None = None,
    ) -> None:
        self.bench: Bench = make_bench(policy, verifier, reviser=policy if revisers else None, family=family)
        self.writer = Writer(folder)
        self.verifier = Verifier(replace(make_plan(verifier), family=family))
        plan = replace(make_plan(policy, max_sequences=max_sequences), engine=engine, server=server)

        library = Library(SampleLibrary([folder])) if reuse else None

        def maker(name: str, role: Role) -> Callable[[], SolverReplica]:
            links = (self.verifier,)
            return lambda: SolverReplica(
                name,
                plan,
                self.bench,
                links,
                self.writer,
                library,
                role=role,
                revisers=tuple(self.drawers) if role == "policy" else (),
            )

        counts: dict[Role, int] = {"policy": replicas, "reviser": revisers}
        roles = {f"{role}-{i}": role for role, count in counts.items() for i in range(count)}
        self.replicas = {name: Replica(maker(name, role)) for name, role in roles.items()}
        self.drawers = [Drawer(self.replicas[name]) for name, role in roles.items() if role == "reviser"]
        if allocator is None:
            allocator = first_come(self.bench, budget)
        self.scheduler = Scheduler(
            dict(self.replicas),
            self.writer,
            allocator,
            budget=budget,
            deadline=deadline,
            prior=reuse,
            roles=roles,
        )

    async def __aenter__(self) -> Cell:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for replica in self.replicas.values():
            await replica.die()
        self.writer.writer.close()

    async def run(self, tasks: list[Task], seconds: float = 240) -> Progress:
        """Queue all tasks, and drive them to their end."""
        self.writer.writer.label({task.id: "4" for task in tasks})
        await self.scheduler.open()
        await self.scheduler.submit(tasks)
        await self.scheduler.close()
        await asyncio.wait_for(self.scheduler.run(), seconds)
        return self.scheduler.progress()
