"""Typed clients of actors, for other actors: the protocols that scheduler and replicas know, over Ray's handles.

It knows how calls fail, nothing of what they are for. Invariant: a call that was given up is cancelled, and one that spends
FLOPs is never made twice.
"""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, RayActorError, RayTaskError

from actors.engines.base import EngineInfo, GenerateRequest, Generation, ScoreRequest, Scores
from actors.errors import ServiceLost, UserError
from actors.messages import Books, Commit, Orders, Pulse, Record, ReplicaInfo, Report, States
from actors.replicas.peers import PeerGone
from actors.scheduling.journal import COMMIT_TIMEOUT_S
from actors.scheduling.starts import Attempt
from actors.store.library import Prior

STAGE_TIMEOUT_S = 3600.0
"""Seconds that a record may take to be graded, behind those of others. That the writer is alive its commits tell sooner."""

LOOKUPS = 20
"""How often a replica's name is looked up, twice a second, before it is held to be dead for good."""

BEGIN_TIMEOUT_S = 30.0
"""Seconds that a replica which starts waits for the scheduler to say which start it is."""

WRITER_DIED = "the run writer's process died: the same command goes on where it stopped"


def mistake_in(error: Exception) -> str | None:
    """The UserError that an actor's constructor raised: it stands at the end of the traceback that is Ray's text."""
    _, mark, tail = str(error).rpartition("UserError: ")
    return tail.strip().splitlines()[0] if mark else None


class WriterLink:
    """The run writer."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def commit(self, commit: Commit) -> list[str]:
        try:
            missing: list[str] = await self._handle.commit.remote(commit)
        except RayTaskError as error:
            if isinstance(error.cause, UserError):
                raise error.cause from None
            raise
        except RayActorError:
            raise UserError(WRITER_DIED) from None
        return missing

    async def take_over(self) -> Books:
        try:
            books: Books = await self._handle.take_over.remote()
        except RayTaskError:
            raise
        except RayActorError:
            raise UserError(WRITER_DIED) from None
        return books

    async def stage(self, lease: int, task_id: str, record: Record) -> None:
        """Raises ServiceLost where the writer does not answer; what is wrong with the record itself is its task's fault."""
        try:
            await asyncio.wait_for(self._handle.stage.remote(lease, task_id, record), STAGE_TIMEOUT_S)
        except RayTaskError as error:
            # Its own last line is what a reader looks for; where it was raised stands in what it came from.
            raise error.cause from error
        except (RayActorError, TimeoutError) as error:
            raise ServiceLost(
                f"the run writer does not answer: {type(error).__name__}: {error}"[:300]
            ) from None


class LibraryLink:
    """The library of samples that exist already. Reading twice costs nothing, so Ray may call again."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def prior(self, problem_id: str) -> Prior:
        """Raises ServiceLost where the library does not answer."""
        try:
            prior: Prior = await asyncio.wait_for(self._handle.prior.remote(problem_id), COMMIT_TIMEOUT_S)
        except Exception as error:
            raise ServiceLost(
                f"the library of samples failed: {type(error).__name__}: {error}"[:300]
            ) from None
        return prior


class PeerLink:
    """A replica that other replicas ask."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def ready(self) -> str:
        try:
            info: ReplicaInfo = await self._handle.info.remote()
            return f"{info.host}/{info.pid}"
        except ActorDiedError as error:
            why = mistake_in(error) or str(error).strip().splitlines()[0]
            raise PeerGone(why[:300]) from None

    async def pulse(self) -> Pulse:
        pulse: Pulse = await self._handle.pulse.remote()
        return pulse

    async def restart(self) -> None:
        ray.kill(self._handle, no_restart=False)


class VerifierLink(PeerLink):
    """A verifier replica."""

    async def score(self, requests: list[ScoreRequest]) -> list[Scores | str]:
        reference = self._handle.score.remote(requests)
        try:
            answers: list[Scores | str] = await reference
        except asyncio.CancelledError:
            ray.cancel(reference)
            raise
        return answers


class DrawLink(PeerLink):
    """A replica that draws for tasks of others."""

    async def engine(self) -> EngineInfo:
        info: ReplicaInfo = await self._handle.info.remote()
        return info.engine

    async def draw(self, request: GenerateRequest, states: States = ()) -> Generation | str:
        reference = self._handle.draw.remote(request, states)
        try:
            answer: Generation | str = await reference
        except asyncio.CancelledError:
            # Nobody waits for it any more, and it would go on spending.
            ray.cancel(reference)
            raise
        return answer


class SolverLink:
    """A replica that solves tasks, by its actor's name: it may be made after whoever holds this."""

    def __init__(self, actor: str) -> None:
        self._actor = actor

    @cached_property
    def _handle(self) -> Any:
        return ray.get_actor(self._actor)

    async def ready(self) -> None:
        for number in itertools.count(1):
            try:
                self._handle  # noqa: B018
                break
            except ValueError:
                # It is about to be made; or dead for good: Ray forgets a name then.
                if number == LOOKUPS:
                    raise
                await asyncio.sleep(0.5)
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

    async def pulse(self) -> Pulse:
        pulse: Pulse = await self._handle.pulse.remote()
        return pulse

    async def restart(self) -> None:
        ray.kill(self._handle, no_restart=False)


@dataclass(frozen=True, slots=True)
class StartLink:
    """Tells the scheduler (an actor's name) of a replica's starts, from the replica's constructor."""

    scheduler: str
    replica: str

    def begin(self) -> Attempt:
        """It has found a machine; says which of its starts this is."""
        again = bool(ray.get_runtime_context().was_current_actor_reconstructed)
        try:
            attempt: Attempt = ray.get(
                ray.get_actor(self.scheduler).begin.remote(self.replica), timeout=BEGIN_TIMEOUT_S
            )
        except (RayActorError, TimeoutError, ValueError):
            # The scheduler is being started itself: its next process counts anew.
            return Attempt(proven=again)
        # A first start to a scheduler that took over from the one that saw it up.
        return replace(attempt, proven=attempt.proven or (again and attempt.number == 1))

    def failed(self, why: str) -> None:
        """It could not load, and leaves to be started again."""
        with suppress(RayActorError, TimeoutError, ValueError):
            # Waited for: the process ends next.
            scheduler = ray.get_actor(self.scheduler)
            ray.get(scheduler.failed.remote(self.replica, why), timeout=BEGIN_TIMEOUT_S)

    def up(self) -> None:
        """It has loaded."""
        with suppress(ValueError):
            ray.get_actor(self.scheduler).up.remote(self.replica)
