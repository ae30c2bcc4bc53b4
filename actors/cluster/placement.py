"""Processes onto machines: makes Ray actors of scheduler, writer and replicas, and runs tasks through them from a driver.

The driver creates every actor (actors die with their owner) and hands the scheduler their names. It knows nothing of
problems or strategies. Invariant: all building of an actor happens in its constructor, for a restart re-runs nothing else;
a scheduler that died is given the tasks again that have not ended.
"""

from __future__ import annotations

import os
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.cluster.driver import Driver, get
from actors.cluster.links import (
    LibraryLink,
    Placed,
    VerifierLink,
    WriterLink,
)
from actors.cluster.ray_start import start_ray
from actors.cluster.shells import SchedulerActor
from actors.engines.plan import ModelPlan
from actors.errors import UserError
from actors.memory import spare_what_is_loaded
from actors.messages import ReplicaInfo
from actors.replicas.bench import Bench
from actors.replicas.solver import PolicyReplica
from actors.replicas.verifier import VerifierReplica
from actors.scheduling.scheduler import STARTING
from actors.store.library import SampleLibrary
from actors.store.log import parts, process_name
from actors.store.writer import Retention, RunWriter
from actors.work import Allocator, Judge, Progress, Task

NEWS = 5.0
"""Seconds between two words on what a start waits for."""

AGAIN = 0.5
"""Seconds before a replica whose process died is asked again."""

GRACE = 30.0
"""Seconds that what is in hand may take to end after the first Ctrl-C."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Everything a run needs besides its tasks. `budget` is in FLOPs of `bench.unit`; None: unlimited. `address` is that of
    a Ray cluster to join; `reuse` are folders of other runs whose samples and scores are used where they fit, `grace` the
    seconds that what is in hand has to end in after Ctrl-C, `packages` folders and modules that every worker is to have."""

    folder: Path
    policy: ModelPlan
    verifier: ModelPlan | None
    bench: Bench
    allocator: Allocator
    judge: Judge | None
    budget: int | None = None
    retention: Retention = "all"
    address: str | None = None
    reuse: tuple[Path, ...] = ()
    grace: float = GRACE
    packages: tuple[Path, ...] = ()


class _PolicyActor(PolicyReplica):
    """Finds its peers by name: handles among a constructor's arguments would be lost to a restart."""

    def __init__(
        self,
        name: str,
        plan: ModelPlan,
        bench: Bench,
        verifiers: tuple[str, ...],
        writer: str,
        library: str | None,
        placed: Placed,
    ) -> None:
        placed()
        links = tuple(VerifierLink(ray.get_actor(verifier)) for verifier in verifiers)
        shelf = None if library is None else LibraryLink(ray.get_actor(library))
        with _building():
            super().__init__(name, plan, bench, links, WriterLink(ray.get_actor(writer)), shelf)


class _VerifierActor(VerifierReplica):
    def __init__(self, plan: ModelPlan, placed: Placed) -> None:
        placed()
        with _building():
            super().__init__(plan)


@contextmanager
def _building() -> Iterator[None]:
    """What was built, the garbage collector leaves alone. A constructor that raises is never run again. So it may for what is
    wrong from the start; one that takes the place of a process which was up before leaves its own, to be tried again."""
    try:
        yield
        spare_what_is_loaded()
    except UserError:
        raise
    except Exception:
        if not ray.get_runtime_context().was_current_actor_reconstructed:
            raise
        traceback.print_exc()
        time.sleep(AGAIN)
        os._exit(1)


class Cluster:
    """The actors of one run. Use as a context manager: leaving it compacts the run folder and ends the actors."""

    def __init__(self, plan: RunPlan) -> None:
        start_ray(plan.address, packages=plan.packages)
        self._plan = plan
        self._joined = bool(plan.address or os.environ.get("RAY_ADDRESS"))
        self._check_room()
        self._run = uuid.uuid4().hex[:8]
        # Workers have another current folder.
        self._writer = self._helper(RunWriter, "writer").remote(
            plan.folder.resolve(), plan.judge, plan.retention, holder=process_name()
        )
        # It compacts what an earlier writer left: only then is all that the folder has to offer in its parts.
        get(self._writer.unfinished.remote())
        self._library = self._open_library()
        self._scheduler = self._helper(
            SchedulerActor, "scheduler", max_restarts=-1, max_task_retries=0, max_concurrency=1000
        ).remote(
            {f"policy-{i}": self._named(f"policy-{i}") for i in range(plan.policy.replicas)},
            self._named("writer"),
            plan.allocator,
            plan.budget,
            self._library is not None,
        )
        self.verifiers = self._verifiers()
        self.policies = {
            f"policy-{i}": self._actor(_PolicyActor, plan.policy, f"policy-{i}").remote(
                f"policy-{i}",
                plan.policy,
                plan.bench,
                tuple(self._named(name) for name in self.verifiers),
                self._named("writer"),
                None if self._library is None else self._named("library"),
                Placed(self._named("scheduler"), f"policy-{i}"),
            )
            for i in range(plan.policy.replicas)
        }
        self._driver = Driver(
            self._scheduler,
            self._writer,
            self.verifiers,
            grace=plan.grace,
            sequences=plan.policy.replicas * plan.policy.max_sequences,
            why=self._why,
        )

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self.close()
        except Exception:
            # What went wrong before says more than that the end went wrong too.
            if kind is None:
                raise

    def infos(
        self, *, first: bool = False, on_progress: Callable[[Progress], None] = lambda _: None
    ) -> list[ReplicaInfo]:
        """Wait until every replica (with `first`: one of each kind) has loaded its model, and say what each is.

        A cluster that is full, or still growing, may keep them waiting: `on_progress` is told for what every few seconds.
        """
        infos: list[ReplicaInfo] = []
        for kind, handles in (("verifier", self.verifiers), ("policy", self.policies)):
            asked = {handle.info.remote(): handle for handle in handles.values()}
            wanted = len(infos) + (min(1, len(asked)) if first else len(asked))
            began = told = time.monotonic()
            while len(infos) < wanted:
                ready, _ = ray.wait(list(asked), timeout=NEWS)
                for reference in ready:
                    handle = asked.pop(reference)
                    try:
                        infos.append(get(reference))
                    except ActorUnavailableError:
                        # Its process died while it loaded, and another takes its place.
                        if time.monotonic() - began > STARTING:
                            raise
                        time.sleep(AGAIN)
                        asked[handle.info.remote()] = handle
                    except RayActorError:
                        if not first or not asked:
                            raise
                if time.monotonic() - told >= NEWS:
                    told = time.monotonic()
                    self._tell_start(kind, handles, on_progress)
        return infos

    def _tell_start(
        self, kind: str, handles: dict[str, Any], on_progress: Callable[[Progress], None]
    ) -> None:
        """Say what a start waits for."""
        plan = self._plan.policy if kind == "policy" else self._plan.verifier
        try:
            progress, why = self._driver.progress(), self._why(handles)
        except ActorUnavailableError:
            # The scheduler's process died meanwhile; the next one will say.
            return
        on_progress(replace(progress, waiting_for=f"{_asked(kind, plan)}, {why}"))

    def run(
        self,
        tasks: Iterable[tuple[Task, str | None]],
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> Progress:
        """Stream (task, reference answer) pairs through the replicas; returns when every task has ended.

        The answer goes to the run writer alone. Ctrl-C lets what is in hand end within `RunPlan.grace` seconds, then raises
        KeyboardInterrupt; a second one raises it at once.
        """
        return self._driver.run(tasks, on_progress)

    def close(self) -> None:
        """Compact the run folder and end every actor of this run."""
        try:
            get(self._writer.close.remote())
        finally:
            helpers = [self._scheduler, self._writer, *([] if self._library is None else [self._library])]
            for handle in [*helpers, *self.policies.values(), *self.verifiers.values()]:
                ray.kill(handle)

    def _helper(self, kind: type, name: str, **options: Any) -> Any:
        """An actor that stays on the driver's machine and takes none of its cores: the folder is there."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        return ray.remote(kind).options(
            num_cpus=0, name=self._named(name), scheduling_strategy=here, **options
        )

    def _open_library(self) -> Any:
        """The library of what exists already; None where that is nothing."""
        folders = [folder.resolve() for folder in (self._plan.folder, *self._plan.reuse)]
        if not any(parts(folder, "samples") for folder in folders):
            return None
        library = self._helper(SampleLibrary, "library", max_restarts=-1, max_task_retries=-1).remote(folders)
        # A folder that cannot be read is said before anything is spent.
        get(library.prior.remote(""))
        return library

    def _verifiers(self) -> dict[str, Any]:
        plan = self._plan.verifier
        if plan is None:
            return {}
        return {
            f"verifier-{i}": self._actor(_VerifierActor, plan, f"verifier-{i}").remote(
                plan, Placed(self._named("scheduler"), f"verifier-{i}")
            )
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

    def _why(self, replicas: Iterable[str]) -> str:
        """What replicas that are not up wait for: a place on a machine, or their model."""
        placed: set[str] = get(self._scheduler.placed.remote())
        pending = [name for name in replicas if name not in placed]
        if not pending:
            return "loading"
        have, free = ray.cluster_resources(), ray.available_resources()
        plans = [plan for plan in (self._plan.policy, self._plan.verifier) if plan is not None]
        kinds = ["CPU", *(["GPU"] if any(plan.gpus for plan in plans) else [])]
        left = ", ".join(f"{free.get(kind, 0.0):g} of {have.get(kind, 0.0):g} {kind} free" for kind in kinds)
        return f"no place yet for {', '.join(pending)}: {left}"

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
