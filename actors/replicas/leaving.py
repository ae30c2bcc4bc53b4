"""How a replica's process ends where its engine cannot go on.

Invariant: nothing of an engine outlives its replica, whatever it holds.
"""

from __future__ import annotations

import multiprocessing
import os
import sys

from actors.engines.base import EngineError


def leave(error: EngineError) -> None:
    """End this process, so that a fresh one takes its place.

    Going on would fail every task that comes; leaving in good order (Ray's `exit_actor`) would be for good.
    """
    print(f"this replica makes way for a new one: {error}", file=sys.stderr, flush=True)
    # Leaving like this ends no process of an engine's own, which would go on and hold the GPU.
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(1)
