"""A map from texts to numbers for millions of entries: 24 bytes an entry, of which the text itself is none.

Entries gather in a small dict, which is packed into sorted arrays of digests; arrays of like size are merged, so that there
are few to search. It knows nothing of what the texts mean. Invariant: it answers as a dict does, but for the texts
themselves, which it cannot give back.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from struct import Struct

import numpy as np
import numpy.typing as npt

GATHERED = 1 << 15
"""Entries that are kept as Python objects, of some 150 bytes each, before they are packed."""

_HALVES = Struct("<QQ")

_Numbers = npt.NDArray[np.uint64]


class DigestMap:
    """Texts, by a digest of 128 bits, to numbers of 64 bits (from 0 on)."""

    def __init__(self) -> None:
        self._gathered: dict[bytes, int] = {}
        # Older and larger ones first: what is found in a later one is newer.
        self._packed: list[_Sorted] = []

    def __setitem__(self, text: str, number: int) -> None:
        self._gathered[_digest(text)] = number
        if len(self._gathered) >= GATHERED:
            self._pack()

    def get(self, text: str) -> int | None:
        """The number of a text, None where it has none."""
        digest = _digest(text)
        found = self._gathered.get(digest)
        if found is None and self._packed:
            high, low = _HALVES.unpack(digest)
            for block in reversed(self._packed):
                found = block.get(np.uint64(high), low)
                if found is not None:
                    break
        return found

    def __contains__(self, text: str) -> bool:
        return self.get(text) is not None

    def __len__(self) -> int:
        return len(self._whole())

    def counts(self) -> Counter[int]:
        """How many texts have each number."""
        numbers, counts = np.unique(self._whole().numbers, return_counts=True)
        return Counter(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))

    def _whole(self) -> _Sorted:
        """All of it in one array."""
        self._pack()
        while len(self._packed) > 1:
            newer = self._packed.pop()
            self._packed[-1] = _merged(self._packed[-1], newer)
        return self._packed[0] if self._packed else _merged()

    def _pack(self) -> None:
        if not self._gathered:
            return
        halves = np.frombuffer(b"".join(self._gathered), np.uint64).reshape(-1, 2)
        numbers = np.fromiter(self._gathered.values(), np.uint64, len(self._gathered))
        self._gathered.clear()
        block = _merged(_Sorted(halves[:, 0], halves[:, 1], numbers))
        while self._packed and len(self._packed[-1]) <= 2 * len(block):
            block = _merged(self._packed.pop(), block)
        self._packed.append(block)


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Both halves of digests, sorted by the first, and their numbers."""

    high: _Numbers
    low: _Numbers
    numbers: _Numbers

    def __len__(self) -> int:
        return len(self.high)

    def get(self, high: np.uint64, low: int) -> int | None:
        place = int(self.high.searchsorted(high))
        while place < len(self.high) and self.high[place] == high:
            if self.low[place] == low:
                return int(self.numbers[place])
            place += 1
        return None


def _merged(*blocks: _Sorted) -> _Sorted:
    """One sorted array of several, the last number of each digest."""
    columns = [
        np.concatenate([np.empty(0, np.uint64), *(getattr(one, name) for one in blocks)])
        for name in ("high", "low", "numbers")
    ]
    # Sorted stably: of equal digests the newest is the last.
    order = np.lexsort((columns[1], columns[0]))
    for place, column in enumerate(columns):
        columns[place] = column[order]
    high, low, numbers = columns
    last = np.ones(len(high), np.bool_)
    last[:-1] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    return _Sorted(high, low, numbers) if last.all() else _Sorted(high[last], low[last], numbers[last])


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
