"""Processes onto machines: makes Ray actors of scheduler, writer and replicas, and runs tasks through them from a driver.

The driver creates every actor (actors die with their owner) and hands the scheduler the handles. It knows nothing of
problems or strategies. Invariant: all building of an actor happens in its constructor, for a restart re-runs nothing else.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.engines.base import EngineCounters, ScoreRequest, Scores
from actors.errors import UserError
from actors.leases import Allocator
from actors.messages import GivenUp, Orders, ReplicaInfo, Report, Row, Settlement, Waste
from actors.reader import Judge
from actors.replicas import Bench, ModelPlan, PolicyReplica, VerifierReplica
from actors.run_writer import Retention, RunWriter
from actors.scheduler import Scheduler
from actors.verifying import VerifierGone
from actors.work import Outcome, Progress, Task

WINDOW = 2_000
"""Tasks that wait in the scheduler at once; the data set is streamed behind it."""

TICK = 0.25
"""Seconds between two looks of the driver at the run's progress."""

NEWS = 5.0
"""Seconds between two words on what a start waits for."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Everything a run needs besides its tasks. `budget` is in FLOPs of `bench.unit`; None: unlimited. `address` is that of
    a Ray cluster to join."""

    folder: Path
    policy: ModelPlan
    verifier: ModelPlan | None
    bench: Bench
    allocator: Allocator
    judge: Judge | None
    budget: int | None = None
    retention: Retention = "all"
    address: str | None = None


# Thin shells: an actor's methods are the plain class's, made where its process is.


class _WriterActor:
    def __init__(self, folder: Path, judge: Judge | None, retention: Retention) -> None:
        self._writer = RunWriter(folder, judge, retention)

    def books(self) -> tuple[int, int]:
        return self._writer.books

    def label(self, labels: dict[str, str | None]) -> None:
        self._writer.label(labels)

    def stage(self, task: str, attempt: int, outcomes: tuple[Outcome, ...], rows: list[Row]) -> None:
        self._writer.stage(task, attempt, outcomes, rows)

    def commit(self, settled: list[Settlement], wasted: list[Waste], given_up: list[GivenUp]) -> list[str]:
        return self._writer.commit(settled, wasted, given_up)

    def close(self) -> None:
        self._writer.close()


class _Writer:
    """Typed client of the writer's actor."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def commit(
        self, settled: list[Settlement], wasted: list[Waste], given_up: list[GivenUp]
    ) -> list[str]:
        missing: list[str] = await self._handle.commit.remote(settled, wasted, given_up)
        return missing

    async def stage(self, task: str, attempt: int, outcomes: tuple[Outcome, ...], rows: list[Row]) -> None:
        await self._handle.stage.remote(task, attempt, outcomes, rows)


class _Verifier:
    """Typed client of a verifier replica's actor."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def ready(self) -> None:
        try:
            await self._handle.info.remote()
        except ActorDiedError as error:
            raise VerifierGone(str(error)) from None

    async def score(self, requests: list[ScoreRequest]) -> list[Scores | str]:
        answers: list[Scores | str] = await self._handle.score.remote(requests)
        return answers

    async def restart(self) -> None:
        ray.kill(self._handle, no_restart=False)


class _Policy:
    """Typed client of a policy replica's actor."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def ready(self) -> None:
        while True:
            try:
                await self._handle.info.remote()
                return
            except ActorUnavailableError:
                # It is being restarted, or its machine is being replaced; one that is dead raises ActorDiedError.
                await asyncio.sleep(0.5)

    async def exchange(self, orders: Orders) -> Report:
        reference = self._handle.exchange.remote(orders)
        try:
            report: Report = await reference
        except asyncio.CancelledError:
            # Giving up waiting does not stop the call, and it would go on spending.
            ray.cancel(reference)
            raise
        return report

    async def restart(self) -> None:
        ray.kill(self._handle, no_restart=False)


class _PolicyActor(PolicyReplica):
    """Finds its peers by name: handles among a constructor's arguments would be lost to a restart."""

    def __init__(
        self, name: str, plan: ModelPlan, bench: Bench, verifiers: tuple[str, ...], writer: str
    ) -> None:
        links = tuple(_Verifier(ray.get_actor(verifier)) for verifier in verifiers)
        super().__init__(name, plan, bench, links, _Writer(ray.get_actor(writer)))


class _SchedulerActor:
    def __init__(
        self,
        replicas: dict[str, Any],
        writer: Any,
        allocator: Allocator,
        budget: int | None,
        books: tuple[int, int],
    ) -> None:
        self._scheduler = Scheduler(
            {name: _Policy(handle) for name, handle in replicas.items()},
            _Writer(writer),
            allocator,
            budget=budget,
            spent=books[0],
            wasted=books[1],
        )

    async def submit(self, tasks: list[Task]) -> None:
        await self._scheduler.submit(tasks)

    async def close(self) -> None:
        await self._scheduler.close()

    async def drain(self) -> None:
        await self._scheduler.drain()

    async def run(self) -> None:
        await self._scheduler.run()

    async def progress(self) -> Progress:
        return self._scheduler.progress()


def start_ray(address: str | None = None, cpus: int | None = None) -> None:
    """Join the cluster at `address` (or at RAY_ADDRESS), or start one of this machine's cores, whatever else runs here."""
    if ray.is_initialized():
        return
    # At each start Ray would tell that token authentication, its default, is on.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    if address or os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, log_to_driver=False, configure_logging=False)
        return
    ray.init(
        address="local",
        num_cpus=cpus or os.cpu_count(),
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=200 << 20,
    )


class Cluster:
    """The actors of one run. Use as a context manager: leaving it compacts the run folder and ends the actors."""

    def __init__(self, plan: RunPlan) -> None:
        start_ray(plan.address)
        self._plan = plan
        self._joined = bool(plan.address or os.environ.get("RAY_ADDRESS"))
        self._check_room()
        self._run = uuid.uuid4().hex[:8]
        # The folder is on the driver's machine, so its writer is too; workers have another current folder.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._writer = (
            ray.remote(_WriterActor)
            .options(num_cpus=0, name=self._named("writer"), scheduling_strategy=here)
            .remote(plan.folder.resolve(), plan.judge, plan.retention)
        )
        books = _get(self._writer.books.remote())
        self.verifiers = self._verifiers()
        self.policies = {
            f"policy-{i}": self._actor(_PolicyActor, plan.policy, f"policy-{i}").remote(
                f"policy-{i}",
                plan.policy,
                plan.bench,
                tuple(self._named(name) for name in self.verifiers),
                self._named("writer"),
            )
            for i in range(plan.policy.replicas)
        }
        self._scheduler = (
            ray.remote(_SchedulerActor)
            .options(num_cpus=0, max_concurrency=1000)
            .remote(self.policies, self._writer, plan.allocator, plan.budget, books)
        )

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def infos(
        self, *, first: bool = False, on_progress: Callable[[Progress], None] = lambda _: None
    ) -> list[ReplicaInfo]:
        """Wait until every replica (with `first`: one of each kind) has loaded its model, and say what each is.

        A cluster that is full, or still growing, may keep them waiting: `on_progress` is told for what every few seconds.
        """
        infos: list[ReplicaInfo] = []
        for kind, handles in (("verifier", self.verifiers), ("policy", self.policies)):
            waiting = [handle.info.remote() for handle in handles.values()]
            wanted = len(infos) + (min(1, len(waiting)) if first else len(waiting))
            while len(infos) < wanted:
                ready, waiting = ray.wait(waiting, timeout=NEWS)
                if not ready:
                    plan = self._plan.policy if kind == "policy" else self._plan.verifier
                    on_progress(replace(self._progress(), waiting_for=_asked(kind, plan)))
                    continue
                try:
                    infos.append(_get(ready[0]))
                except RayActorError:
                    if not first or not waiting:
                        raise
        return infos

    def run(
        self,
        tasks: Iterable[tuple[Task, str | None]],
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> Progress:
        """Stream (task, reference answer) pairs through the replicas; returns when every task has ended.

        The answer goes to the run writer alone. Ctrl-C lets what is in hand end, then raises KeyboardInterrupt.
        """
        stream = iter(tasks)
        more = self._submit(stream, WINDOW)
        running = self._scheduler.run.remote()
        try:
            while True:
                if not more:
                    _get(self._scheduler.close.remote())
                done, _ = ray.wait([running], timeout=TICK)
                progress = self._progress()
                on_progress(progress)
                if done:
                    _get(running)
                    return progress
                if more and progress.tasks_open < WINDOW // 2:
                    more = self._submit(stream, WINDOW // 2)
        except KeyboardInterrupt:
            _get(self._scheduler.drain.remote())
            while not ray.wait([running], timeout=TICK)[0]:
                on_progress(self._progress())
            raise

    def close(self) -> None:
        """Compact the run folder and end every actor of this run."""
        try:
            _get(self._writer.close.remote())
        finally:
            for handle in [self._scheduler, self._writer, *self.policies.values(), *self.verifiers.values()]:
                ray.kill(handle)

    def _submit(self, stream: Iterator[tuple[Task, str | None]], count: int) -> bool:
        batch = list(itertools.islice(stream, count))
        if batch:
            _get(self._writer.label.remote({task.id: label for task, label in batch}))
            _get(self._scheduler.submit.remote([task for task, _ in batch]))
        return len(batch) == count

    def _progress(self) -> Progress:
        progress: Progress = _get(self._scheduler.progress.remote())
        busy = 0.0
        alive = 0
        references = [handle.counters.remote() for handle in self.verifiers.values()]
        ready, _ = ray.wait(references, num_returns=len(references), timeout=TICK) if references else ([], [])
        for reference in ready:
            try:
                counters: EngineCounters = ray.get(reference)
            except RayActorError:
                continue
            busy += counters.busy_seconds
            alive += 1
        return replace(progress, verifier_busy=busy, verifier_replicas=alive)

    def _verifiers(self) -> dict[str, Any]:
        plan = self._plan.verifier
        if plan is None:
            return {}
        return {
            f"verifier-{i}": self._actor(VerifierReplica, plan, f"verifier-{i}").remote(plan)
            for i in range(plan.replicas)
        }

    def _named(self, name: str) -> str:
        return f"{name}-{self._run}"

    def _actor(self, kind: type, plan: ModelPlan, name: str) -> Any:
        # Whatever spends FLOPs is never retried by Ray: the scheduler leases again, so that waste is charged once.
        return ray.remote(kind).options(
            name=self._named(name),
            num_cpus=plan.cpus,
            num_gpus=plan.gpus,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=1000,
        )

    def _check_room(self) -> None:
        """A replica that fits nowhere would wait for ever without a word."""
        have = ray.cluster_resources()
        plans = [("policy", self._plan.policy)] + (
            [("verifier", self._plan.verifier)] if self._plan.verifier else []
        )
        for resource in ("cpus", "gpus"):
            need = sum(getattr(plan, resource) * plan.replicas for _, plan in plans)
            there = have.get(resource.removesuffix("s").upper(), 0.0)
            if need > there + 1e-6 and not self._joined:
                asked = ", ".join(f"{name}: {p.replicas} x {getattr(p, resource):g}" for name, p in plans)
                raise UserError.of(
                    f"cluster {resource}",
                    need,
                    f"this machine has {there:g}: lower replicas or their share ({asked})",
                )


def _asked(kind: str, plan: ModelPlan | None) -> str:
    """What a kind of replica asks a machine for."""
    assert plan is not None
    gpus = f" and {plan.gpus:g} GPU" if plan.gpus else ""
    return f"a {kind} replica ({plan.replicas} x {plan.cpus:g} CPU{gpus} asked for)"


def _get(reference: Any) -> Any:
    """`ray.get` that gives a UserError of the other side back as itself."""
    try:
        return ray.get(reference)
    except (RayTaskError, RayActorError) as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, RayActorError):
            # A constructor's mistake arrives as the text of its traceback, also through another actor that met it.
            _, mark, tail = str(error).rpartition("UserError: ")
            if mark:
                raise UserError(tail.strip().splitlines()[0]) from None
        raise
