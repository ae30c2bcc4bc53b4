"""Which outcomes a run folder holds, and how each ended: what a resume asks of millions of them.

It reads keys, states and reasons, a batch at a time, and knows nothing of what is asked for. Invariant: of an outcome that
was made several times, the newest row counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.store.digests import DigestMap
from actors.store.log import live_records, parts, reading
from actors.store.schema import OUTCOMES
from actors.work import UNPAID, State

BATCH = 1 << 14
"""Rows that are decoded at once."""


class Ended(IntEnum):
    """How an outcome ended, as far as another start may ask for it again: a budget left `unpaid` ones without a candidate,
    and cut `short` ones that have an answer."""

    whole = 0
    unpaid = 1
    quarantined = 2
    short = 3


class Done:
    """Outcomes by key; memory: 24 bytes each. One is in it unless outcomes that ended so are to be made again."""

    def __init__(self, again: frozenset[Ended] = frozenset()) -> None:
        self._ended = DigestMap()
        self._again = again

    def note(self, key: str, ended: Ended) -> None:
        self._ended[key] = ended

    def without(self, *again: Ended) -> Done:
        """The same outcomes, those that ended so taken to be still to make."""
        found = Done(self._again | set(again))
        found._ended = self._ended
        return found

    def __contains__(self, key: object) -> bool:
        assert isinstance(key, str)
        number = self._ended.get(key)
        return number is not None and number not in self._again

    def ended(self, key: str) -> Ended | None:
        """How an outcome ended, made again or not; None where there is none."""
        number = self._ended.get(key)
        return None if number is None else Ended(number)

    def answered(self, key: str) -> bool:
        """Whether there is an answer, made again or not."""
        return self._ended.get(key) in (Ended.whole, Ended.short)

    def counts(self) -> Counter[Ended]:
        """How many ended so."""
        return Counter({Ended(number): count for number, count in self._ended.counts().items()})


def read_done(folder: Path) -> Done:
    """The outcomes that a run folder holds, in parts or still in its log."""
    done = Done()
    for batch in _outcomes(folder, ["key", "state", "reason"]):
        unpaid = pc.starts_with(batch["reason"], UNPAID).fill_null(False)
        quarantined = pc.equal(batch["state"], "quarantined").fill_null(False)
        answered = pc.equal(batch["state"], "answered").fill_null(False)
        cut = pc.if_else(answered, Ended.short, Ended.unpaid)
        ended = pc.if_else(quarantined, Ended.quarantined, pc.if_else(unpaid, cut, Ended.whole))
        for key, number in zip(batch["key"].to_pylist(), ended.to_pylist(), strict=True):
            done.note(key, Ended(number))
    return done


def read_states(folder: Path) -> dict[str, int]:
    """How many outcomes ended in each state, those in the log with them."""
    names: list[str] = list(get_args(State))
    found = DigestMap()
    for batch in _outcomes(folder, ["key", "state"]):
        for key, state in zip(batch["key"].to_pylist(), batch["state"].to_pylist(), strict=True):
            found[key] = names.index(state)
    return {names[number]: count for number, count in found.counts().items()}


def holds_outcomes(folder: Path) -> bool:
    """Whether a run folder holds any outcome; a few bytes of it are read."""
    for part in parts(folder, "outcomes"):
        with reading(part):
            if pq.read_metadata(part).num_rows:
                return True
    return any(record.get("outcomes") for record in live_records(folder))


def _outcomes(folder: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Some columns of all rows of a folder's outcomes, oldest first."""
    # The log first: a segment that becomes a part meanwhile is then read twice, never missed.
    logged = [
        {name: row[name] for name in columns}
        for record in live_records(folder)
        for row in record.get("outcomes", ())
    ]
    for part in parts(folder, "outcomes"):
        with reading(part):
            # Unlike whole tables, batches are given back before the next one is read.
            for batch in pq.ParquetFile(part).iter_batches(BATCH, columns=columns):
                # A column that is not there is named here.
                yield batch.select(columns)
    schema = pa.schema([OUTCOMES.field(name) for name in columns])
    yield from pa.Table.from_pylist(logged, schema=schema).to_batches()
