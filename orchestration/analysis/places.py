"""Which row of every array a problem has.

It knows ids and nothing else. Invariant: problems stand in the order in which they first come, whatever the batches; of an id
no text is kept, so a million problems take some megabytes.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


class Places:
    """Places of the problems of a run, by their ids' hashes (two ids share one by chance of 1 in 2**63)."""

    def __init__(self, columns: Iterable[pa.Array]) -> None:
        seen = [np.empty(0, dtype=np.int64), *(_hashed(ids)[1] for ids in columns)]
        self._hashes, first = np.unique(np.concatenate(seen), return_index=True)
        self._places = first.argsort().argsort()

    def __len__(self) -> int:
        return len(self._hashes)

    def of(self, ids: pa.Array) -> NDArray[np.int64]:
        """The place of each id, -1 for one that is not among them."""
        rows, hashes = _hashed(ids)
        at = np.searchsorted(self._hashes, hashes)
        at[at == len(self._hashes)] = 0
        known = self._hashes[at] == hashes if len(self) else np.zeros(len(hashes), dtype=bool)
        places = np.where(known, self._places[at] if len(self) else 0, -1)
        return places[rows].astype(np.int64)


def _hashed(ids: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each id its row among the distinct ones, and the hashes of those."""
    coded = ids.dictionary_encode()
    texts = coded.dictionary.to_pylist()
    return coded.indices.to_numpy(), np.fromiter(map(hash, texts), np.int64, len(texts))
