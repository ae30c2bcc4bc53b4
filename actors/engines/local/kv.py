"""Where keys and values live: rows that run now, and prefixes that may be run again.

`SlotCache` is one tensor whose first rows are the sequences in flight; `PrefixCache` keeps the keys and values of
sequences that ended, found again token by token, so that a branch copies its past and computes only what is new. Neither
knows of models or requests. Invariant: a prefix is used only where every token id of it is equal.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor

GROWTH = 64
"""Positions a slot cache grows by: few enough not to waste attention on empty keys, enough to grow seldom."""


class SlotCache:
    """Keys and values of `rows` sequences, shape [layers, 2, rows, kv_heads, positions, head_dim]."""

    def __init__(
        self,
        layers: int,
        rows: int,
        kv_heads: int,
        head_dim: int,
        *,
        context: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.context = context
        self.data = torch.zeros((layers, 2, rows, kv_heads, 0, head_dim), dtype=dtype, device=device)

    @property
    def rows(self) -> int:
        return self.data.shape[2]

    def reserve(self, positions: int) -> None:
        """Make room for `positions` positions in every row, and give room back when much stands empty."""
        have = self.data.shape[4]
        if positions <= have:
            return
        want = min(self.context, -(-positions // GROWTH) * GROWTH)
        shape = list(self.data.shape)
        shape[4] = max(want, positions)
        grown = self.data.new_zeros(shape)
        grown[:, :, :, :, :have] = self.data
        self.data = grown

    def load(self, row: int, prefix: Tensor, length: int) -> None:
        """Copy the first `length` positions of a stored prefix into a row."""
        self.reserve(length)
        self.data[:, :, row, :, :length] = prefix[:, :, :, :length]

    def store(self, row: int, length: int) -> Tensor:
        """Return a copy of a row's first `length` positions, shape [layers, 2, kv_heads, length, head_dim]."""
        return self.data[:, :, row, :, :length].clone()

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a row's first `length` positions over another row."""
        self.data[:, :, target, :, :length] = self.data[:, :, source, :, :length]


class _Entry:
    __slots__ = ("hashes", "ids", "kv", "nbytes")

    def __init__(self, ids: tuple[int, ...], kv: Tensor, hashes: list[int]) -> None:
        self.ids = ids
        self.kv = kv
        self.hashes = hashes
        self.nbytes = kv.numel() * kv.element_size()


def _chain(ids: tuple[int, ...]) -> list[int]:
    """Hash of every prefix of ids, shortest first."""
    value, hashes = 0, []
    for token in ids:
        value = hash((value, token))
        hashes.append(value)
    return hashes


class PrefixCache:
    """Keys and values of past sequences, least recently used out first beyond `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.nbytes = 0
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._index: dict[int, _Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, ids: tuple[int, ...]) -> tuple[Tensor | None, int]:
        """Return the stored tensor that shares the longest prefix with `ids`, and how many tokens they share."""
        hashes = _chain(ids)
        for length in range(len(ids), 0, -1):
            entry = self._index.get(hashes[length - 1])
            if entry is not None and entry.ids[:length] == ids[:length]:
                self._entries.move_to_end(id(entry))
                return entry.kv, length
        return None, 0

    def put(self, ids: tuple[int, ...], kv: Tensor) -> None:
        """Keep `kv` [layers, 2, kv_heads, len(ids), head_dim]; an entry that it extends gives way to it."""
        if not ids:
            return
        hashes = _chain(ids)
        longest = self._index.get(hashes[-1])
        if longest is not None and longest.ids[: len(ids)] == ids:
            self._entries.move_to_end(id(longest))
            return
        entry = _Entry(ids, kv, hashes)
        if entry.nbytes > self.max_bytes:
            return
        for value in hashes[:-1]:
            old = self._index.get(value)
            if old is not None and old.hashes[-1] == value and old.ids == ids[: len(old.ids)]:
                self._drop(old)
        self._entries[id(entry)] = entry
        self.nbytes += entry.nbytes
        for value in hashes:
            self._index[value] = entry
        while self.nbytes > self.max_bytes:
            self._drop(next(iter(self._entries.values())))

    def _drop(self, entry: _Entry) -> None:
        del self._entries[id(entry)]
        self.nbytes -= entry.nbytes
        for value in entry.hashes:
            if self._index.get(value) is entry:
                del self._index[value]
