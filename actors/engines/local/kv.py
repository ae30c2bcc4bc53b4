"""Where keys and values live: rows that run now, and prefixes that may be run again.

`SlotCache` has the sequences in flight as its first rows, and room for not many more than those, of not much more than the
longest of their lengths; `PrefixCache` keeps the keys and values of sequences that ended, found again token by token, so that
a branch copies its past and computes only what is new. Neither knows of models or requests. Invariants: a prefix is used only
where every token id of it is equal; what a row holds does not change as the cache grows and shrinks.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor

from actors.memory import give_back_freed_memory

ROWS, POSITIONS = 8, 64
"""What a slot cache grows by at least."""

PATIENCE = 32
"""Times in a row that half of a slot cache has to stand empty before it shrinks: each costs a copy of what stays."""

LARGE = 64 << 20
"""Bytes that are worth being given back to the system at once."""


def rounded(count: int, least: int) -> int:
    """A count with room to grow, at most an eighth more than it or `least`: so that growth costs few copies, and attention
    and memory little for what stands empty."""
    step = max(least, 1 << max(0, count.bit_length() - 4))
    return -(-count // step) * step


class SlotCache:
    """Keys and values of at most `rows` sequences: of each layer a tensor [2, rows, kv_heads, positions, head_dim].

    A tensor for each layer: while it grows, only one of them is there twice.
    """

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
        self._most, self._heads, self._size = rows, kv_heads, head_dim
        self._dtype, self._device = dtype, device
        self.layers = [self._empty(0, 0) for _ in range(layers)]
        self.position_bytes = layers * 2 * kv_heads * head_dim * dtype.itemsize
        self._roomy = 0

    @property
    def rows(self) -> int:
        return self.layers[0].shape[1]

    @property
    def positions(self) -> int:
        return self.layers[0].shape[3]

    @property
    def nbytes(self) -> int:
        return self.bytes_of(self.rows, self.positions)

    def bytes_of(self, rows: int, positions: int) -> int:
        return rows * positions * self.position_bytes

    def row_bytes(self, positions: int) -> int:
        """Bytes that a row takes once it has grown to so many positions."""
        return self.bytes_of(1, self._rounded(1, positions)[1])

    def reserve(self, rows: int, positions: int, most: int | None = None) -> None:
        """Make room for `positions` positions in each of the first rows; of more rows than are asked for there are `most` in
        all, and others lose what they hold."""
        if rows <= self.rows <= (most or self.rows) and positions <= self.positions:
            return
        more_rows, more = self._rounded(rows, positions)
        want_rows = more_rows if rows > self.rows else self.rows
        if most is not None:
            want_rows = max(rows, min(want_rows, most))
        want = more if positions > self.positions else self.positions
        if (want_rows, want) != (self.rows, self.positions):
            self._resize(want_rows, want)

    def settle(self, rows: int, positions: int) -> None:
        """Give room back once half of it and more has stood empty for a while."""
        want = self._rounded(rows, positions)
        if 2 * self.bytes_of(*want) > self.nbytes:
            self._roomy = 0
            return
        self._roomy += 1
        if self._roomy >= PATIENCE:
            self._resize(*want)

    def clear(self) -> None:
        """Give all room back."""
        before, self._roomy = self.nbytes, 0
        self.layers = [self._empty(0, 0) for _ in self.layers]
        self._gave_back(before)

    def load(self, row: int, prefix: Tensor, length: int) -> None:
        """Copy the first `length` positions of a stored prefix into a row."""
        self.reserve(row + 1, length)
        for layer, stored in zip(self.layers, prefix, strict=True):
            layer[:, row, :, :length] = stored[:, :, :length]

    def store(self, row: int, length: int) -> Tensor:
        """Return a copy of a row's first `length` positions, shape [layers, 2, kv_heads, length, head_dim]."""
        return torch.stack([layer[:, row, :, :length] for layer in self.layers])

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a row's first `length` positions over another row."""
        for layer in self.layers:
            layer[:, target, :, :length] = layer[:, source, :, :length]

    def _rounded(self, rows: int, positions: int) -> tuple[int, int]:
        # Padding may lie beyond the context.
        most = max(positions, min(self.context, rounded(positions, POSITIONS)))
        return max(rows, min(self._most, rounded(rows, ROWS))), most

    def _resize(self, rows: int, positions: int) -> None:
        before, self._roomy = self.nbytes, 0
        kept_rows, kept = min(rows, self.rows), min(positions, self.positions)
        try:
            for number in range(len(self.layers)):
                new = self._empty(rows, positions)
                new[:, :kept_rows, :, :kept] = self.layers[number][:, :kept_rows, :, :kept]
                # What is masked has to be a number all the same.
                new[:, kept_rows:].zero_()
                new[:, :kept_rows, :, kept:].zero_()
                self.layers[number] = new
        except BaseException:
            # Its layers would have several sizes. Whoever has rows in it hears of this.
            self.clear()
            raise
        self._gave_back(before)

    def _gave_back(self, before: int) -> None:
        """Have the system get what was given up since there were so many bytes, where that is much."""
        if before - self.nbytes < LARGE:
            return
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        else:
            give_back_freed_memory()

    def _empty(self, rows: int, positions: int) -> Tensor:
        shape = (2, rows, self._heads, positions, self._size)
        return torch.empty(shape, dtype=self._dtype, device=self._device)


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

    def bound(self, max_bytes: int) -> None:
        """Keep to so many bytes from now on."""
        self.max_bytes = max_bytes
        self._fit()

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
        self._fit()

    def _fit(self) -> None:
        while self.nbytes > self.max_bytes:
            self._drop(next(iter(self._entries.values())))

    def _drop(self, entry: _Entry) -> None:
        del self._entries[id(entry)]
        self.nbytes -= entry.nbytes
        for value in entry.hashes:
            if self._index.get(value) is entry:
                del self._index[value]
