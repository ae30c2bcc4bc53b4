"""Who of those that wait is let in next: as many at once as there are places, the lowest priority first, then in the order of
asking.

It knows nothing of what they do inside. Invariant: a place that is given back goes to one that still waits, or stands free.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Gate:
    """`places` at once; a server's memory cannot be asked for, so the number is the user's."""

    def __init__(self, places: int) -> None:
        self.places = self._free = places
        self._asked = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def entered(self, priority: int) -> AsyncIterator[None]:
        await self._enter(priority)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, priority: int) -> None:
        if self._free:
            self._free -= 1
            return
        place = asyncio.get_running_loop().create_future()
        self._asked += 1
        heapq.heappush(self._waiting, (priority, self._asked, place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                # It was let in at the moment in which it went.
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            _, _, place = heapq.heappop(self._waiting)
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
