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

import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.store.digests import DigestMap
from actors.store.log import live_records, parts, reading
from actors.work import UNPAID, State

BATCH = 1 << 14
"""Rows that are decoded at once."""


class Ended(IntEnum):
    """How an outcome ended, as far as another start may ask for it again: `unpaid` ones a budget cut short."""

    whole = 0
    unpaid = 1
    quarantined = 2


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

    def counts(self) -> Counter[Ended]:
        """How many ended so."""
        return Counter({Ended(number): count for number, count in self._ended.counts().items()})


def read_done(folder: Path) -> Done:
    """The outcomes that a run folder holds, in parts or still in its log."""
    done = Done()
    for part in parts(folder, "outcomes"):
        with reading(part):
            for key, ended in _in_part(part):
                done.note(key, ended)
    for record in live_records(folder):
        for row in record.get("outcomes", ()):
            done.note(row["key"], ended_so(row["state"], row["reason"]))
    return done


def read_states(folder: Path) -> dict[str, int]:
    """How many outcomes ended in each state, those in the log with them."""
    names: list[str] = list(get_args(State))
    found = DigestMap()
    # The log first: a segment that becomes a part meanwhile is then read twice, never missed.
    logged = [(row["key"], row["state"]) for one in live_records(folder) for row in one.get("outcomes", ())]
    for part in parts(folder, "outcomes"):
        with reading(part):
            for batch in pq.ParquetFile(part).iter_batches(BATCH, columns=["key", "state"]):
                for key, state in zip(batch["key"].to_pylist(), batch["state"].to_pylist(), strict=True):
                    found[key] = names.index(state)
    for key, state in logged:
        found[key] = names.index(state)
    return {names[number]: count for number, count in found.counts().items()}


def ended_so(state: str, reason: str | None) -> Ended:
    """How an outcome of this state and reason ended."""
    if state == "quarantined":
        return Ended.quarantined
    return Ended.unpaid if (reason or "").startswith(UNPAID) else Ended.whole


def holds_outcomes(folder: Path) -> bool:
    """Whether a run folder holds any outcome; a few bytes of it are read."""
    for part in parts(folder, "outcomes"):
        with reading(part):
            if pq.read_metadata(part).num_rows:
                return True
    return any(record.get("outcomes") for record in live_records(folder))


def _in_part(part: Path) -> Iterator[tuple[str, Ended]]:
    # Unlike whole tables, batches are given back before the next one is read.
    for batch in pq.ParquetFile(part).iter_batches(BATCH, columns=["key", "state", "reason"]):
        unpaid = pc.starts_with(batch["reason"], UNPAID).fill_null(False)
        quarantined = pc.equal(batch["state"], "quarantined").fill_null(False)
        ended = pc.if_else(quarantined, Ended.quarantined, pc.if_else(unpaid, Ended.unpaid, Ended.whole))
        for key, number in zip(batch["key"].to_pylist(), ended.to_pylist(), strict=True):
            yield key, Ended(number)
