"""A process reward model in a process of its own, which scores for every task.

It knows nothing of Ray; `actors.cluster.placement` makes an actor of it. Invariant: an engine whose state is unknown answers
nothing more: its process gives way to a fresh one.
"""

from __future__ import annotations

import asyncio
import os
import socket

from actors.engines.base import EngineError, ScoreRequest, Scores
from actors.engines.plan import ModelPlan
from actors.memory import keep_freed_memory
from actors.messages import Pulse, ReplicaInfo
from actors.replicas.leaving import leave
from actors.replicas.starvation import Starvation


class VerifierReplica:
    """A process reward model that scores for every task."""

    def __init__(self, plan: ModelPlan) -> None:
        keep_freed_memory()
        # Whoever holds a handle of a replica has loaded this module: torch comes with the engine alone.
        from actors.engines.loading import load_verifier

        self._starvation = Starvation()
        self._engine = load_verifier(plan)
        plan.check(self._engine.info)

    async def info(self) -> ReplicaInfo:
        return ReplicaInfo("verifier", socket.gethostname(), os.getpid(), self._engine.info)

    async def pulse(self) -> Pulse:
        """Asked beside the work, on another thread."""
        return Pulse(self._engine.counters(), self._starvation.look())

    async def score(self, requests: list[ScoreRequest]) -> list[Scores | str]:
        """Score a batch; each request's answer stands at its place, or what is wrong with this request."""
        answers = await asyncio.gather(
            *(self._engine.score(request) for request in requests), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, EngineError):
                leave(str(answer))
        return [a if isinstance(a, Scores) else f"{type(a).__name__}: {a}" for a in answers]
