"""Deadlines that leave out what a process could not help: the time in which it was starved of a processor, and that in which
whoever waits for it did not look.

It knows replicas by their pulse alone. Invariant: a deadline is `MOST_STRETCH` times as long at most, whatever a process
tells of itself, and as long as it says where the process tells nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from actors.messages import Pulse

MOST_STRETCH = 10.0
"""A process that gets less of a processor than one part in so many is held to hang in the end."""

LOOKS = 4
"""How often in a deadline a process is asked for its pulse."""


T = TypeVar("T")


class OwnTime:
    """Seconds since a moment, less those in which a process was starved and those that are excused; `starved` is its sum at
    that moment, None where it is not known."""

    def __init__(self, now: float, starved: float | None = None) -> None:
        self._since, self._base = now, starved
        self._starved = self._excused = 0.0

    def tell(self, starved: float) -> None:
        """Take the process's sum as it is now."""
        if self._base is None or starved < self._base:
            # Nothing was known before, or it is another process's.
            self._base = starved
        self._starved = starved - self._base

    def excuse(self, seconds: float) -> None:
        """Leave out so many more: an answer may have come in them that nobody took."""
        self._excused += seconds

    def at(self, now: float) -> float:
        """How much of it has passed."""
        passed = now - self._since
        return max(passed - self._starved - self._excused, passed / MOST_STRETCH)


async def answer_of(
    call: Awaitable[T],
    pulse: Callable[[], Awaitable[Pulse]],
    deadline: float,
    *,
    moves: Callable[[Pulse], object] = lambda _: None,
    starved: float | None = None,
) -> T:
    """What a process answers to a call. TimeoutError where nothing comes in `deadline` seconds of its own time, counted anew
    whenever what `moves` reads of its pulse has changed; the call is cancelled then. `starved`: the last that is known of
    it."""
    loop = asyncio.get_running_loop()
    calling = asyncio.ensure_future(call)
    asking: asyncio.Future[Pulse] | None = None
    look = deadline / LOOKS
    own, mark, first = OwnTime(loop.time(), starved), None, True
    try:
        while True:
            waited: list[asyncio.Future[Any]] = [calling] if asking is None else [calling, asking]
            began = loop.time()
            await asyncio.wait(waited, timeout=look, return_when=asyncio.FIRST_COMPLETED)
            if calling.done():
                return calling.result()
            if (late := loop.time() - began - look) > look:
                # This process stood still itself.
                own.excuse(late)
            if asking is None:
                asking = asyncio.ensure_future(pulse())
                await asyncio.sleep(0)
            if asking.done():
                if not asking.cancelled() and asking.exception() is None:
                    told = asking.result()
                    if not first and moves(told) != mark:
                        own = OwnTime(loop.time(), told.starved)
                    own.tell(told.starved)
                    mark, first = moves(told), False
                asking = None
            if own.at(loop.time()) >= deadline:
                raise TimeoutError(f"no answer in {deadline:g} s")
    finally:
        calling.cancel()
        if asking is not None:
            asking.cancel()
