"""How many requests are under way in an engine that runs elsewhere, and for how long there has been any.

It knows nothing of what they are. Invariant: `seconds` grows exactly while `running` is above zero.
"""

from __future__ import annotations

import time


class Busy:
    """Entered by each request, for as long as it is under way; requests may overlap."""

    def __init__(self) -> None:
        self.running = 0
        self._ended = self._since = 0.0

    @property
    def seconds(self) -> float:
        return self._ended + (time.perf_counter() - self._since if self.running else 0.0)

    def __enter__(self) -> None:
        if not self.running:
            self._since = time.perf_counter()
        self.running += 1

    def __exit__(self, *_: object) -> None:
        self.running -= 1
        if not self.running:
            self._ended += time.perf_counter() - self._since
