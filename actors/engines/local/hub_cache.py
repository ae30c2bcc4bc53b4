"""Our slots as a transformers cache, so that any model of transformers can run on them.

It knows only where new keys go and which slice attention may read; the mask is the caller's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from actors.engines.local.kv import SlotCache


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    is_sliding = False

    def __init__(self, cache: SlotCache, layer: int, first: int, positions: Tensor, longest: int) -> None:
        super().__init__()
        self.is_initialized = True
        self._cache, self._layer, self._first = cache, layer, first
        self._positions, self._longest = positions, longest

    def lazy_initialization(self, *_: Any, **__: Any) -> None:
        return

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        rows = self._positions.shape[0]
        index = torch.arange(self._first, self._first + rows, device=key_states.device)[:, None]
        keys, values = self._cache.layers[self._layer]
        keys[index, :, self._positions] = key_states.transpose(1, 2)
        values[index, :, self._positions] = value_states.transpose(1, 2)
        span = slice(self._first, self._first + rows)
        return keys[span, :, : self._longest], values[span, :, : self._longest]

    def get_seq_length(self) -> int:
        return self._longest - self._positions.shape[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._longest, 0

    def get_max_length(self) -> int:
        return self._cache.context


def slot_view(cache: SlotCache, first: int, positions: Tensor, longest: int) -> Cache:
    """Return a cache that writes new keys of rows [first, first + B) at `positions` [B, T]."""
    layers = [_SlotLayer(cache, i, first, positions, longest) for i in range(len(cache.layers))]
    return Cache(layers=layers)
