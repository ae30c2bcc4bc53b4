"""Processes onto machines: makes Ray actors of scheduler, writer and replicas, and runs tasks through them from a driver.

The driver creates every actor (actors die with their owner) and hands the scheduler their names. It knows nothing of
problems or strategies. Invariant: all building of an actor happens in its constructor, for a restart re-runs nothing else;
a scheduler that died is given the tasks again that have not ended.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.cluster.driver import Driver, get
from actors.cluster.links import DrawLink, LibraryLink, StartLink, VerifierLink, WriterLink
from actors.cluster.packed import packed, unpacked
from actors.cluster.ray_start import start_ray
from actors.cluster.shells import SchedulerActor, WriterActor, staging
from actors.engines.plan import ModelPlan, ReplicaShare
from actors.engines.troubles import insist
from actors.errors import UserError, counted
from actors.memory import spare_what_is_loaded
from actors.messages import ReplicaInfo
from actors.replicas.bench import Bench
from actors.replicas.leaving import take_along
from actors.replicas.solver import SolverReplica
from actors.replicas.starting import starting
from actors.replicas.verifier import VerifierReplica
from actors.store.library import Prior, SampleLibrary, anything
from actors.store.log import process_name
from actors.store.writer import Retention
from actors.strategy import Role
from actors.work import Allocator, Judge, Progress, Task

START_NEWS_S = 5.0
"""Seconds between two words on what a start waits for."""

ASK_AGAIN_S = 0.5
"""Seconds before a replica whose process died is asked again."""

GRACE_S = 30.0
"""Seconds that what is in hand may take to end after the first Ctrl-C."""

STARTUP_S = 600.0
"""Seconds that a replica may take to load, once it has a machine."""

HEALTH = "health"
"""The channel of a replica by which it is asked how it is: it never waits behind the replica's work."""

HEALTH_CALLS = 1000
"""Calls that the channel takes at once: whoever waits for a verifier to be up has one there."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Everything a run needs besides its tasks.

    `models` has a model for each role that is asked; replicas of those that draw have the tasks. `budget` is in FLOPs of
    `bench.unit`; None: unlimited. `address` is that of a Ray cluster to join; `reuse` are folders of other runs whose
    samples and scores are used where they fit, `grace` the seconds that what is in hand has to end in after Ctrl-C,
    `startup` those that a replica may take to load, once it has a machine, `packages` folders and modules that every
    worker is to have.
    """

    folder: Path
    models: Mapping[Role, ModelPlan]
    bench: Bench
    allocator: Allocator
    judge: Judge | None
    budget: int | None = None
    retention: Retention = "all"
    address: str | None = None
    reuse: tuple[Path, ...] = ()
    grace: float = GRACE_S
    startup: float = STARTUP_S
    packages: tuple[Path, ...] = ()


class _PolicyActor(SolverReplica):
    """Finds its peers by name: handles among a constructor's arguments would be lost to a restart."""

    def __init__(
        self,
        name: str,
        role: Role,
        plan: ModelPlan,
        verifiers: tuple[str, ...],
        revisers: tuple[str, ...],
        writer: str,
        library: str | None,
        start: StartLink,
        startup: float,
        *packed_bench: bytes,
    ) -> None:
        take_along()
        with starting(name, start.begin(), startup, start.failed):
            bench: Bench = unpacked(packed_bench)
            links = tuple(VerifierLink(ray.get_actor(verifier)) for verifier in verifiers)
            others = tuple(DrawLink(ray.get_actor(reviser)) for reviser in revisers)
            shelf = None if library is None else LibraryLink(ray.get_actor(library))
            stage = WriterLink(ray.get_actor(writer))
            super().__init__(name, plan, bench, links, stage, shelf, role=role, revisers=others)
        spare_what_is_loaded()
        start.up()

    # A channel has a thread and an event loop of its own.
    info = ray.method(concurrency_group=HEALTH)(SolverReplica.info)
    pulse = ray.method(concurrency_group=HEALTH)(SolverReplica.pulse)


class _ReviserActor(_PolicyActor):
    """The same by a name of its own, which its process has."""


class _VerifierActor(VerifierReplica):
    def __init__(self, name: str, plan: ModelPlan, start: StartLink, startup: float) -> None:
        take_along()
        with starting(name, start.begin(), startup, start.failed):
            super().__init__(plan)
        spare_what_is_loaded()
        start.up()

    info = ray.method(concurrency_group=HEALTH)(VerifierReplica.info)
    pulse = ray.method(concurrency_group=HEALTH)(VerifierReplica.pulse)


class _LibraryActor(SampleLibrary):
    """Its folders may lie on a network disk, and one that is dead for good would end the run."""

    def __init__(self, folders: list[Path], own: Path) -> None:
        insist(lambda: SampleLibrary.__init__(self, folders, own))

    def prior(self, problem_id: str) -> Prior:
        return insist(lambda: SampleLibrary.prior(self, problem_id))


_SOLVERS: dict[Role, type[_PolicyActor]] = {"reviser": _ReviserActor, "policy": _PolicyActor}
"""Whose replicas solve tasks; those that others ask come first."""


class Cluster:
    """The actors of one run. Use as a context manager: leaving it compacts the run folder and ends the actors."""

    def __init__(self, plan: RunPlan) -> None:
        start_ray(plan.address, packages=plan.packages)
        self._plan = plan
        self._joined = bool(plan.address or os.environ.get("RAY_ADDRESS"))
        self._check_room()
        self._run = uuid.uuid4().hex[:8]
        # Workers have another current folder.
        self._writer = self._helper(staging(WriterActor), "writer").remote(
            plan.folder.resolve(), plan.judge, plan.retention, holder=process_name()
        )
        # It compacts what an earlier writer left: only then is all that the folder has to offer in its parts.
        get(self._writer.unfinished.remote())
        self._library = self._open_library()
        names = {
            role: [f"{role}-{i}" for i in range(one.share.replicas)] for role, one in plan.models.items()
        }
        solvers = {name: role for role in _SOLVERS for name in names.get(role, ())}
        self._scheduler = self._helper(
            ray.remote(SchedulerActor), "scheduler", max_restarts=-1, max_task_retries=0, max_concurrency=1000
        ).remote(
            {name: self._named(name) for name in solvers},
            self._named("writer"),
            plan.budget,
            self._library is not None,
            solvers,
            *packed(plan.allocator),
        )
        # Who is asked before who asks, and looks it up by name as it starts.
        self.replicas: dict[Role, dict[str, Any]] = {
            "verifier": {name: self._verifier(name) for name in names.get("verifier", ())}
        }
        for role in _SOLVERS:
            if role in names:
                self.replicas[role] = {name: self._solver(role, name) for name in names[role]}
        shares = [plan.models[role].share for role in _SOLVERS if role in names]
        self._driver = Driver(
            self._scheduler,
            self._writer,
            self.replicas["verifier"],
            grace=plan.grace,
            sequences=sum(share.replicas * share.max_sequences for share in shares),
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
        """Wait until every replica (with `first`: one of each role) has loaded its model, and say what each is.

        A cluster that is full, or still growing, may keep them waiting: `on_progress` is told for what every few seconds.
        """
        infos: list[ReplicaInfo] = []
        for role, handles in self.replicas.items():
            asked = {handle.info.remote(): handle for handle in handles.values()}
            wanted = len(infos) + (min(1, len(asked)) if first else len(asked))
            told = time.monotonic()
            while len(infos) < wanted:
                ready, _ = ray.wait(list(asked), timeout=START_NEWS_S)
                for reference in ready:
                    handle = asked.pop(reference)
                    try:
                        infos.append(get(reference))
                    except ActorUnavailableError:
                        # Its process died while it loaded, and another takes its place, as often as `starting` lets it.
                        time.sleep(ASK_AGAIN_S)
                        asked[handle.info.remote()] = handle
                    except RayActorError:
                        if not first or not asked:
                            raise
                if time.monotonic() - told >= START_NEWS_S:
                    told = time.monotonic()
                    self._tell_start(role, handles, on_progress)
        return infos

    def _tell_start(
        self, role: Role, handles: dict[str, Any], on_progress: Callable[[Progress], None]
    ) -> None:
        """Say what a start waits for."""
        try:
            progress, why = self._driver.progress(), self._why(handles)
        except ActorUnavailableError:
            # The scheduler's process died meanwhile; the next one will say.
            return
        on_progress(replace(progress, waiting_for=f"{_asked(role, self._plan.models[role].share)}, {why}"))

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
            # Who asks goes before who is asked: nobody sees its verifiers die.
            asking_first = reversed(self.replicas.values())
            replicas = [one for handles in asking_first for one in handles.values()]
            for handle in [*helpers, *replicas]:
                ray.kill(handle)

    def _helper(self, kind: Any, name: str, **options: Any) -> Any:
        """An actor that stays on the driver's machine and takes none of its cores: the folder is there."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        return kind.options(num_cpus=0, name=self._named(name), scheduling_strategy=here, **options)

    def _open_library(self) -> Any:
        """The library of what exists already; None where that is nothing."""
        folders = [folder.resolve() for folder in (self._plan.folder, *self._plan.reuse)]
        if not anything(folders, folders[0]):
            return None
        library = self._helper(
            ray.remote(_LibraryActor), "library", max_restarts=-1, max_task_retries=-1
        ).remote(folders, folders[0])
        # A folder that cannot be read is said before anything is spent.
        get(library.prior.remote(""))
        return library

    def _verifier(self, name: str) -> Any:
        plan = self._plan.models["verifier"]
        return self._actor(_VerifierActor, plan.share, name).remote(
            name, plan, self._start(name), self._plan.startup
        )

    def _solver(self, role: Role, name: str) -> Any:
        plan = self._plan.models[role]
        return self._actor(_SOLVERS[role], plan.share, name).remote(
            name,
            role,
            plan,
            tuple(self._named(verifier) for verifier in self.replicas["verifier"]),
            # Those that are there already: a reviser asks none.
            tuple(self._named(reviser) for reviser in self.replicas.get("reviser", ())),
            self._named("writer"),
            None if self._library is None else self._named("library"),
            self._start(name),
            self._plan.startup,
            *packed(self._plan.bench),
        )

    def _start(self, name: str) -> StartLink:
        return StartLink(self._named("scheduler"), name)

    def _named(self, name: str) -> str:
        return f"{name}-{self._run}"

    def _actor(self, kind: type, share: ReplicaShare, name: str) -> Any:
        return replica_actor(kind, share, self._named(name))

    def _why(self, replicas: Iterable[str]) -> str:
        """What replicas that are not up wait for: a place on a machine, or their model."""
        placed: set[str] = get(self._scheduler.placed.remote())
        pending = [name for name in replicas if name not in placed]
        if not pending:
            return "loading"
        have, free = ray.cluster_resources(), ray.available_resources()
        shares = [plan.share for plan in self._plan.models.values()]
        kinds = ["CPU", *(["GPU"] if any(share.gpus for share in shares) else [])]
        left = ", ".join(f"{free.get(kind, 0.0):g} of {have.get(kind, 0.0):g} {kind} free" for kind in kinds)
        return f"no place yet for {', '.join(pending)}: {left}"

    def _check_room(self) -> None:
        """A replica that fits nowhere would wait for ever without a word."""
        have = ray.cluster_resources()
        shares = {role: plan.share for role, plan in self._plan.models.items()}
        for resource in ("cpus", "gpus"):
            need = sum(getattr(share, resource) * share.replicas for share in shares.values())
            there = have.get(resource.removesuffix("s").upper(), 0.0)
            if need > there + 1e-6 and not self._joined:
                asked = ", ".join(
                    f"{role}: {share.replicas} x {getattr(share, resource):g}"
                    for role, share in shares.items()
                )
                raise UserError.of(
                    f"cluster {resource}",
                    need,
                    f"this machine has {there:g}: lower replicas or their share ({asked})",
                )


def replica_actor(kind: type, share: ReplicaShare, name: str) -> Any:
    """A replica's class as an actor of that name, to be made by `remote`."""
    # Whatever spends FLOPs is never retried by Ray: the scheduler leases again, so that waste is charged once.
    return ray.remote(concurrency_groups={HEALTH: HEALTH_CALLS})(kind).options(
        name=name,
        num_cpus=share.cpus,
        num_gpus=share.gpus,
        max_restarts=-1,
        max_task_retries=0,
        max_concurrency=1000,
    )


def _asked(role: Role, share: ReplicaShare) -> str:
    """What the replicas of a role ask a machine for."""
    gpus = f" and {counted(share.gpus, 'GPU')}" if share.gpus else ""
    return f"a {role} replica ({share.replicas} x {counted(share.cpus, 'CPU')}{gpus} asked for)"
