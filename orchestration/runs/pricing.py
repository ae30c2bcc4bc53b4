"""The allocator of a start of a run, and which prompts that stopped may be taken up again.

It knows plans, budgets and what a folder has decided, nothing of replicas. Invariants: under one price what is left of the
folder's budget is shared among what is left to do and what may go on; of an outcome that was made again the newest decisions
count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from orchestration.allocation.value_table import ValueTable
from orchestration.runs.learnt import Learnt
from orchestration.setup.plans import priced
from orchestration.setup.prepare import Prepared
from orchestration.strategies.bound import Bound

_PARTS = 16
"""Times that the price of a small run is solved anew, about."""

_LEAST = 8

_PASSES = 8
"""Times that the problems are gone through, the best value first, to take some of them up again."""


def price_of(prepared: Prepared) -> Bound | None:
    """The plan that the run's price comes from; None where the budget goes to who comes first."""
    return priced(prepared.strategies) if prepared.settings.budget.allocation == "global" else None


def allocator_of(prepared: Prepared, outcomes: int, answered: int = 0, *, anew: bool = False) -> Allocator:
    """Who gets what of the budget, with so many outcomes still to make, of which `answered` ones go on from where a smaller
    budget cut them short. Those that it left nothing are made `anew`."""
    bound = price_of(prepared)
    if bound is None or prepared.budget is None or prepared.first_grant is None:
        return FirstCome(prepared.first_grant)
    price = _price(prepared, bound.table, outcomes - answered, max(_LEAST, outcomes // _PARTS))
    return Priced(prepared.first_grant, price, learnt=_learnt(prepared, bound, anew=anew))


def _price(prepared: Prepared, table: ValueTable, prompts: int, every: int) -> GlobalPrice:
    floor = prepared.settings.budget.floor > 0
    return GlobalPrice(table, budget=prepared.budget, prompts=prompts, floor=floor, every=min(EVERY, every))


def _learnt(prepared: Prepared, bound: Bound, *, anew: bool = False) -> Learnt:
    folder, seeds = Path(prepared.settings.folder).resolve(), tuple(prepared.settings.seeds)
    return Learnt(folder, prepared.strategies[0].text, bound.table, seeds, anew)


def unaffordable(prepared: Prepared, outcomes: int, charged: int) -> str:
    """What a user should know where a budget cannot pay a first sample for each prompt; else empty."""
    bound, budget, worst = price_of(prepared), prepared.budget, prepared.first_grant
    if bound is None or budget is None or worst is None or not prepared.settings.budget.floor:
        return ""
    first = bound.table.moves[0]
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
    """Where the outcomes that are `asked` for stopped, by the newest decisions of each; memory: 24 bytes each. `counts` says
    how many stand in each state."""

    def __init__(self, prepared: Prepared, bound: Bound, asked: Iterable[str]) -> None:
        self._prepared, self._bound, self._states = prepared, bound, DigestMap()
        table = bound.table
        known = {stage.name for stage in table.stages}
        for row in _decisions(Path(prepared.settings.folder)):
            if row["strategy"] == prepared.strategies[0].text and row["stage"] in known:
                self._states[row["key"]] = table.starts[table.place(row["stage"])] + row["cell"]
        states = (self._states.get(key) for key in asked)
        self.counts = Counter(state for state in states if state is not None)

    def again(self, spent: int) -> tuple[Priced, list[GoingOn]] | None:
        """The allocator under which some of them go on with what is left of the budget, and these, the best value first; None
        where that buys nothing. What was `spent` before names the time, so that none has the lots of another, in this start
        or an earlier one."""
        assert self._prepared.first_grant is not None
        every = max(_LEAST, self.counts.total() // _PARTS)
        price = _price(self._prepared, self._bound.table, 0, every)
        courses = _learnt(self._prepared, self._bound)()
        courses.stopped[:] = 0
        for state, count in self.counts.items():
            courses.stopped[state] = count
        price.resume(spent, 0, courses)
        going = price.take_up()
        if not going:
            return None
        first = self._bound.table.undrawn
        passes = [GoingOn(self._states, some, first) for some in _parted(going, self.counts)]
        # One at least: with nothing spent it is no first time either.
        return Priced(self._prepared.first_grant, price, taken_up=spent + 1), passes


@dataclass(frozen=True, slots=True)
class GoingOn:
    """Of outcomes those that stand in some states, to be made again; a candidate they have but for the `first` states."""

    standing: DigestMap
    states: frozenset[int]
    first: int

    def __contains__(self, key: object) -> bool:
        """Whether an outcome is left as it is: as what is done to a stream of tasks."""
        assert isinstance(key, str)
        state = self.standing.get(key)
        return state is None or state not in self.states

    def answered(self, key: str) -> bool:
        state = self.standing.get(key)
        return state is not None and state >= self.first


def _parted(going: Sequence[int], counts: Mapping[int, int]) -> Iterator[frozenset[int]]:
    """States in their order as `_PASSES` at most, of about as many prompts each."""
    each = sum(counts[state] for state in going) / _PASSES
    mine: list[int] = []
    for state in going:
        mine.append(state)
        if sum(counts[one] for one in mine) >= each:
            yield frozenset(mine)
            mine = []
    if mine:
        yield frozenset(mine)


def _decisions(folder: Path) -> Iterator[dict[str, Any]]:
    """All decisions in the order in which they were written."""
    columns = ["key", "strategy", "stage", "cell"]
    for part in parts(folder, "decisions"):
        with reading(part):
            for batch in pq.ParquetFile(part).iter_batches(columns=columns):
                yield from batch.to_pylist()
    for record in live_records(folder):
        yield from record.get("decisions", ())
