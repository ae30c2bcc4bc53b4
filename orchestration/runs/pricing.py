"""The allocator of a start of a run, and which prompts that stopped may be taken up again.

It knows plans, budgets and what a folder has decided, nothing of replicas. Invariants: under one price what is left of the
folder's budget is shared among what is left to do; of an outcome that was made again the newest decisions count.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from actors.errors import counted
from actors.store.digests import DigestMap
from actors.store.log import live_records, parts, reading
from actors.work import Allocator
from orchestration.allocation.first_come import FirstCome
from orchestration.allocation.price import EVERY, GlobalPrice
from orchestration.allocation.priced import Priced
from orchestration.allocation.value_table import START, ValueTable
from orchestration.setup.plans import priced
from orchestration.setup.prepare import Prepared
from orchestration.strategies.bound import Bound

_PARTS = 16
"""Times that the price of a small run is solved anew, about."""

_LEAST = 8


def price_of(prepared: Prepared) -> Bound | None:
    """The plan that the run's price comes from; None where the budget goes to who comes first."""
    return priced(prepared.strategies) if prepared.settings.budget.allocation == "global" else None


def allocator_of(prepared: Prepared, outcomes: int) -> Allocator:
    """Who gets what of the budget, with so many outcomes still to make."""
    bound = price_of(prepared)
    if bound is None or prepared.budget is None or prepared.first_grant is None:
        return FirstCome(prepared.first_grant)
    every = min(EVERY, max(_LEAST, outcomes // _PARTS))
    floor = prepared.settings.budget.floor > 0
    price = GlobalPrice(bound.table, budget=prepared.budget, prompts=outcomes, floor=floor, every=every)
    return Priced(prepared.first_grant, price)


def unaffordable(prepared: Prepared, outcomes: int, charged: int) -> str:
    """What a user should know where a budget cannot pay a first sample for each prompt; else empty."""
    bound, budget, worst = price_of(prepared), prepared.budget, prepared.first_grant
    if bound is None or budget is None or worst is None or not prepared.settings.budget.floor:
        return ""
    first = next(move for move in bound.table.moves if move.source == START)
    each = sum(first.flops) / len(first.flops)
    # The last one needs its worst case.
    paid = max(0, int((budget - charged - worst) // each) + 1)
    if paid >= outcomes:
        return ""
    return (
        f"the budget pays a first sample for about {paid:,} of {counted(outcomes, 'prompt')}: about {outcomes - paid:,}, the "
        "last of the data, will be unaffordable; give more, or ask fewer problems"
    )


class Stopped:
    """Where the prompts of a folder stopped, by the newest decisions of each outcome; memory: 24 bytes each."""

    def __init__(self, folder: Path, strategy: str, table: ValueTable) -> None:
        self._table, self._states = table, DigestMap()
        known = {stage.name for stage in table.stages}
        for row in _decisions(folder):
            if row["strategy"] == strategy and row["stage"] in known:
                self._states[row["key"]] = table.starts[table.place(row["stage"])] + row["cell"]
        self._going: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self._states)

    def again(self, prepared: Prepared, spent: int, taken_up: int) -> Priced | None:
        """The allocator under which some of them go on with what is left of the budget; None where that buys nothing."""
        assert prepared.budget is not None
        assert prepared.first_grant is not None
        every = min(EVERY, max(_LEAST, len(self) // _PARTS))
        floor = prepared.settings.budget.floor > 0
        price = GlobalPrice(self._table, budget=prepared.budget, prompts=0, floor=floor, every=every)
        for state, count in self._states.counts().items():
            price.courses.stopped[state] = count
        price.resume(spent, 0)
        self._going = frozenset(price.take_up())
        return Priced(prepared.first_grant, price, taken_up) if self._going else None

    def __contains__(self, key: object) -> bool:
        """Whether an outcome is left as it is: as what is done to a stream of tasks."""
        assert isinstance(key, str)
        state = self._states.get(key)
        return state is None or state not in self._going


def _decisions(folder: Path) -> Iterator[dict[str, Any]]:
    """All decisions in the order in which they were written."""
    columns = ["key", "strategy", "stage", "cell"]
    for part in parts(folder, "decisions"):
        with reading(part):
            for batch in pq.ParquetFile(part).iter_batches(columns=columns):
                yield from batch.to_pylist()
    for record in live_records(folder):
        yield from record.get("decisions", ())
