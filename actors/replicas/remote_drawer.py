"""Draws of a model elsewhere, for tasks that live beside another one: a policy replica's task that asks the reviser.

A request goes to the first replica that is up in the task's own order, so that a chain meets its own keys and values there,
and takes its turn in that engine's slots like any other. It knows nothing of Ray, budgets or strategies. Invariant: every
request ends with a generation, with `CallLost` (it may have been computed to its end; ask again) or with an error of its own;
one that nobody waits for any more is stopped there.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import Protocol

from actors.engines.base import Aborted, EngineCounters, EngineInfo, GenerateRequest, Generation
from actors.messages import States
from actors.replicas.peers import CallLost, Peer, Peers, rendezvous
from actors.strategy import Role

DRAWER_TIMEOUT_S = 120.0
"""Seconds of a replica's own time without an answer, nor a token computed, after which a call is lost and it is started
anew."""

AT_ONCE = 256
"""Requests that a replica sends to all others at once, at most: a replica's orders must not wait behind draws of others."""


class DrawError(RuntimeError):
    """The replica answered that it cannot make this draw."""


class DrawLink(Peer, Protocol):
    """A replica that draws, as those see it who solve tasks elsewhere."""

    async def engine(self) -> EngineInfo:
        """What its model is; raises where the call was lost."""

    async def draw(self, request: GenerateRequest, states: States) -> Generation | str:
        """What it drew, or what is wrong with the request; raises where the call was lost. The request says nothing of texts
        that end it, but the `states` that they are in."""


class RemoteDrawer:
    """Draws for all tasks of a replica, by the replicas of another `role`."""

    def __init__(
        self, role: Role, links: tuple[DrawLink, ...], *, deadline: float = DRAWER_TIMEOUT_S
    ) -> None:
        self._links = links
        self._peers = Peers(role, links, deadline)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._info: EngineInfo | None = None
        # One task asks what the model is, for all.
        self._asking = asyncio.Lock()
        # Requests that wait here, or there.
        self.outstanding = 0

    async def of(self, key: str) -> TaskDrawer:
        """The engine of one task; tasks of one key have one home. Waits for the first replica that is up, which says what
        its model is. Raises ServiceLost where there is none any more."""
        order = rendezvous(key, len(self._links))
        self.outstanding += 1
        try:
            async with self._asking:
                while self._info is None:
                    number = await self._peers.up(order)
                    with contextlib.suppress(Exception):
                        self._info = await self._peers.answer(number, self._links[number].engine())
        finally:
            self.outstanding -= 1
        return TaskDrawer(self, order, self._info)

    async def generate(self, request: GenerateRequest, order: tuple[int, ...]) -> Generation:
        """Ask the first replica of `order` that is up. Raises CallLost, ServiceLost where none is left, and DrawError for
        what the replica refuses."""
        self.outstanding += 1
        sent = False
        try:
            async with self._slots:
                number = await self._peers.up(order)
                sent = True
                states = tuple((one.finish, one.state) for one in request.watches)
                draw = self._links[number].draw(replace(request, watches=()), states)
                try:
                    answer = await self._peers.answer(number, draw)
                except Exception as error:
                    raise CallLost(repr(error)[:400]) from None
        except asyncio.CancelledError:
            if not sent:
                raise Aborted(0, 0) from None
            raise
        finally:
            self.outstanding -= 1
        if isinstance(answer, str):
            raise DrawError(answer)
        return answer


@dataclass(frozen=True, slots=True)
class TaskDrawer:
    """The engine of one task, which asks the replicas in the task's `order`. It has no slots of its own, and tells nobody of
    a token before the last one is there."""

    remote: RemoteDrawer
    order: tuple[int, ...]
    info: EngineInfo
    slots: int = 0
    paced: bool = False

    async def generate(self, request: GenerateRequest) -> Generation:
        return await self.remote.generate(request, self.order)

    def counters(self) -> EngineCounters:
        """Its replicas tell what they have done."""
        return EngineCounters(0, 0, 0.0, 0)

    async def close(self) -> None:
        """Its replicas are not this task's to close."""
