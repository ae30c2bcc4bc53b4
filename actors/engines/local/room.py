"""How much memory the keys and values of an engine may take: what is free on its device, or the share of it that is set.

It asks the system and the GPU, and knows nothing of requests. Invariant: what others hold is never counted on, and of what is
free a part is left for whatever else grows.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from actors.engines.plan import GPU_MEMORY, ReplicaShare
from actors.memory import free_memory, machine_memory

LOOK_S = 1.0
"""Seconds for which what was found free is believed."""

IDLE_S = 1.0
"""Seconds without a request after which no memory is kept for rows."""

ROW_BYTES = 40
"""Bytes that a draw takes for each token of the vocabulary, in each row."""


class Room:
    """Of one engine on a `device`, a replica of a `share`."""

    def __init__(
        self,
        device: torch.device,
        share: ReplicaShare | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device, self._share, self._clock = device, share or ReplicaShare(), clock
        self._found = 0
        self._until = float("-inf")

    def bytes_for(self, held: int) -> int:
        """Bytes that keys and values may take in all, where they take `held` now."""
        now = self._clock()
        if now >= self._until:
            self._found, self._until = self._look(held), now + LOOK_S
        return self._found

    def _look(self, held: int) -> int:
        if self._device.type != "cuda":
            return self._share.room(free_memory() + held, machine_memory())
        free, whole = torch.cuda.mem_get_info(self._device)
        used = torch.cuda.memory_allocated(self._device)
        # What the allocator keeps is free for us alone.
        free += torch.cuda.memory_reserved(self._device) - used
        return max(0, int(min(self._share.of_gpu * whole - (used - held), GPU_MEMORY * free + held)))
