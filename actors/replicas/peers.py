"""Replicas that are asked from other replicas: who of them is up, who comes back, who hangs and is started anew.

Each task has an order of its own in which it asks them: the first that is up is its home there, where its prefixes are
cached. It knows replicas by a small protocol, and nothing of what they are asked. Invariant: nobody is sent to a replica
that is down, or that will never be up again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from actors.errors import ServiceLost
from actors.messages import Pulse
from actors.scheduling.own_time import answer_of

T = TypeVar("T")

READY_ASK_S = 60.0
"""Seconds after which a replica that has not said that it is up is asked anew: its answer may be lost."""

PULSES = 100
"""How often in a deadline a replica is asked for its pulse at most, by all tasks of another one: each answer takes of the
time that it has for what they wait for."""

KILLED_S = 0.1
"""How often a replica that was killed is looked for: its channel of health may still answer for the process that hangs."""


class CallLost(Exception):
    """The replica died or hung during this request's call."""


class PeerGone(Exception):
    """This replica will never answer again."""


class Peer(Protocol):
    """A replica as those see it who ask it."""

    async def ready(self) -> str:
        """Return the name of its process when it is up; PeerGone if it never will be."""

    async def pulse(self) -> Pulse:
        """How its process is; answered whatever its work is at."""

    async def restart(self) -> None:
        """Kill the process, so that a fresh one takes its place."""


def rendezvous(key: str, replicas: int) -> tuple[int, ...]:
    """The order in which what is known by `key` asks the replicas 0 to `replicas` - 1: by their hashes with it.

    Each is first for an equal share of keys. Where one is down, its keys go to all others alike, and no other key moves.
    """
    of_key = hashlib.blake2b(key.encode(), digest_size=8)

    def weight(replica: int) -> bytes:
        both = of_key.copy()
        both.update(b"/%d" % replica)
        return both.digest()

    return tuple(sorted(range(replicas), key=weight))


class Peers:
    """All replicas of a `role` that can be asked; one hangs that neither answers a call nor computes anything for `deadline`
    seconds of its own time."""

    def __init__(self, role: str, links: Sequence[Peer], deadline: float) -> None:
        self._role, self._links, self._deadline = role, links, deadline
        # Of each, when its process was last asked how it is, and what it says.
        self._pulses: dict[int, tuple[float, asyncio.Future[Pulse]]] = {}
        # Who is down, with the task that waits until it is up again (or never will be).
        self._down: dict[int, asyncio.Task[None]] = {}
        self._gone: dict[int, str] = {}
        # Of each that was up, its process.
        self._process: dict[int, str] = {}
        self._begun = False

    def is_up(self, number: int) -> bool:
        return number not in self._down and number not in self._gone

    async def up(self, order: tuple[int, ...]) -> int:
        """The first replica of an order that is up; waits while one is on its way, however long: it may be for a machine,
        and a start that comes to nothing ends itself (see `starting`). Raises ServiceLost where all are gone."""
        if not self._begun:
            # One is up that has said so: others may still load, or wait for a machine.
            self._begun = True
            for number in range(len(self._links)):
                self._watch(number)
        while True:
            for number in order:
                if self.is_up(number):
                    return number
            if not self._down:
                why = next(iter(self._gone.values()), "there is none")
                raise ServiceLost(f"no {self._role} answers: {why}")
            await asyncio.wait(self._down.values(), return_when=asyncio.FIRST_COMPLETED)

    async def answer(self, number: int, call: Coroutine[Any, Any, T]) -> T:
        """What a replica answers to a call. Raises what the call does, and TimeoutError where the replica hangs, which is
        started anew then; after either nothing is sent there before it is up again."""
        try:
            return await answer_of(
                call,
                partial(self._pulse, number),
                self._deadline,
                moves=lambda pulse: pulse.counters.tokens_computed,
            )
        except Exception as error:
            if self._lose(number, error):
                await self._links[number].restart()
            raise

    async def _pulse(self, number: int) -> Pulse:
        """How a replica's process is, or was a moment ago: all who wait for it are told by one answer."""
        now = asyncio.get_running_loop().time()
        at, asked = self._pulses.get(number, (now, None))
        if asked is None or (asked.done() and now >= at + self._deadline / PULSES):
            asked = asyncio.ensure_future(self._links[number].pulse())
            # Whoever asked may wait no more: a failure is read here, or asyncio says that nobody did.
            asked.add_done_callback(lambda told: told.cancelled() or told.exception())
            self._pulses[number] = now, asked
        return await asyncio.shield(asked)

    def _lose(self, number: int, error: Exception) -> bool:
        """A call was lost with this error: nothing is sent there before it is up again, by another process if it hung.
        Whether that one is to be killed: of several calls that run out together the first says so."""
        known, hung = number in self._down, isinstance(error, TimeoutError)
        self._watch(number, self._process.get(number) if hung else None)
        return hung and not known

    def _watch(self, number: int, hung: str | None = None) -> None:
        """Send nothing to a replica before it is up again, by another process than one that `hung`."""
        if self.is_up(number):
            self._down[number] = asyncio.create_task(self._comes_back(number, hung))

    async def _comes_back(self, number: int, hung: str | None) -> None:
        while True:
            try:
                process = await asyncio.wait_for(self._links[number].ready(), READY_ASK_S)
                if process != hung:
                    self._process[number] = process
                    break
                await asyncio.sleep(KILLED_S)
            except PeerGone as gone:
                self._gone[number] = str(gone)
                break
            except Exception:
                # On its way up, or its machine is being replaced.
                await asyncio.sleep(0.5)
        # What was asked of a process that hung may never be answered.
        self._pulses.pop(number, None)
        del self._down[number]
