"""How long a process and those under it could not run for want of a processor, as Linux tells it.

A process that is starved by a loaded machine and one that hangs look alike from outside: neither answers. Only the kernel
tells them apart: the threads of the first wait on a run queue, those of the second wait for each other. It knows nothing
of what they do. Invariant: where the kernel does not tell, nothing has starved.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

EVERY_S = 1.0
"""A look reads some files of each thread: many replicas that ask at once are told what the last look saw."""


class Starvation:
    """Seconds that a process and those under it have waited for a processor: of the thread that waited longest, look by
    look, of which there is one in `every` seconds at most."""

    def __init__(self, proc: Path = Path("/proc"), pid: int | None = None, *, every: float = EVERY_S) -> None:
        self._proc, self._pid, self._every = proc, os.getpid() if pid is None else pid, every
        self._seconds = 0.0
        self._waits = dict(self._read())
        self._next = time.monotonic() + every
        # Asked from the work's thread and from that of health.
        self._lock = threading.Lock()

    def look(self) -> float:
        """The sum so far, as it was a moment ago; 0 where the kernel does not tell."""
        with self._lock:
            if time.monotonic() < self._next:
                return self._seconds
            self._next = time.monotonic() + self._every
            waits = dict(self._read())
            # One that is new has waited all of it since the last look.
            self._seconds += (
                max((wait - self._waits.get(one, 0) for one, wait in waits.items()), default=0) / 1e9
            )
            self._waits = waits
            return self._seconds

    def _read(self) -> Iterator[tuple[str, int]]:
        """Threads, with the nanoseconds that each has waited."""
        for pid in self._tree():
            for task in _within(self._proc / str(pid) / "task"):
                try:
                    fields = (task / "schedstat").read_text().split()
                    yield f"{pid}/{task.name}", int(fields[1])
                except (OSError, ValueError, IndexError):
                    continue

    def _tree(self) -> Iterator[int]:
        ring = [self._pid]
        while ring:
            pid = ring.pop()
            yield pid
            for task in _within(self._proc / str(pid) / "task"):
                try:
                    ring += map(int, (task / "children").read_text().split())
                except (OSError, ValueError):
                    continue


def _within(folder: Path) -> Iterable[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return ()
