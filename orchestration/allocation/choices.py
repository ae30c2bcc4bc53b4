"""What to do in each state at a price: the best option by backward induction, and what it is expected to cost.

The value of a state at price p is the larger of the chance to be right now, and over its moves the expected value of
where they lead less p times their FLOPs. It knows the value table and numbers, nothing of budgets. Invariants: to stop
is preferred where nothing is strictly better; the value never rises with the price, and its slope is what is spent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestration.allocation.value_table import UNDRAWN, ValueTable

Array = NDArray[np.float64]

STOP = -1
_TIE = 1e-12


@dataclass(frozen=True, slots=True)
class MoveArrays:
    """One move as arrays: `flops` (source cells,), `leads` (source cells, target cells), and the first states of both."""

    source: int
    target: int
    flops: Array
    leads: Array

    @property
    def here(self) -> slice:
        return slice(self.source, self.source + self.leads.shape[0])

    @property
    def there(self) -> slice:
        return slice(self.target, self.target + self.leads.shape[1])


def arrays_of(table: ValueTable) -> tuple[MoveArrays, ...]:
    """The moves of a table, in their order there."""
    found = []
    for move in table.moves:
        leads = np.asarray(move.leads, dtype=np.float64)
        source, target = (table.starts[table.place(name)] for name in (move.source, move.target))
        found.append(
            MoveArrays(
                source, target, np.asarray(move.flops, np.float64), leads / leads.sum(axis=1, keepdims=True)
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Solved:
    """At each of K prices, arrays (states, K): the `choice` (a move's number in the table, or STOP), the `value`, the
    chance to be `right` in the end, and the FLOPs expected to be `spent` from there on."""

    prices: Array
    choice: NDArray[np.int64]
    value: Array
    right: Array
    spent: Array


class Solver:
    """Solves one table again and again. With `floor`, that a prompt gets something is no matter of price: before there is
    an answer none stops, and takes what is worth most, at a high price the cheapest there is."""

    def __init__(self, table: ValueTable, *, floor: bool) -> None:
        self.table, self.floor = table, floor
        self.arrays = arrays_of(table)
        self._right = np.concatenate([np.asarray(stage.right, np.float64) for stage in table.stages])
        by_source: dict[int, list[int]] = {}
        for number, step in enumerate(self.arrays):
            by_source.setdefault(step.source, []).append(number)
        self._order = sorted(by_source.items(), reverse=True)

    @property
    def _undrawn(self) -> frozenset[int]:
        """The first states of the stages of prompts without an answer."""
        return frozenset(
            at for at, one in zip(self.table.starts, self.table.stages, strict=True) if one.name in UNDRAWN
        )

    def solve(self, prices: Array, real: tuple[MoveArrays, ...] | None = None) -> Solved:
        """Choose by the table. What is spent is told by it, too, or by what moves `real`ly take and lead to."""
        count = len(prices)
        arrays = self.arrays if real is None else real
        value = np.repeat(self._right[:, None], count, axis=1)
        right, spent = value.copy(), np.zeros_like(value)
        choice = np.full(value.shape, STOP, dtype=np.int64)
        undrawn = self._undrawn
        for source, numbers in self._order:
            here = self.arrays[numbers[0]].here
            forced = self.floor and source in undrawn
            for place, number in enumerate(numbers):
                step = self.arrays[number]
                net = step.leads @ value[step.there] - step.flops[:, None] * prices
                better = np.ones(net.shape, bool) if forced and place == 0 else net > value[here] + _TIE
                if not better.any():
                    continue
                value[here] = np.where(better, net, value[here])
                choice[here] = np.where(better, number, choice[here])
                right[here] = np.where(better, step.leads @ right[step.there], right[here])
                told = arrays[number]
                onward = told.flops[:, None] + told.leads @ spent[step.there]
                spent[here] = np.where(better, onward, spent[here])
        return Solved(prices, choice, value, right, spent)

    def bounds(self) -> tuple[float, float]:
        """A price at which nobody who need not takes anything, and one that is next to none."""
        cheapest = min((float(step.flops.min()) for step in self.arrays), default=1.0)
        dearest = sum(float(step.flops.max()) for step in self.arrays)
        return 1.01 / cheapest, 1e-9 / max(dearest, 1.0)


def reserve_prices(solver: Solver, rounds: int = 40) -> Array:
    """For each state the price below which it is worth going on: 0 where it never is. The higher, the better the next
    FLOP."""
    high, low = solver.bounds()
    prices = np.geomspace(low, high, rounds * 8)
    going = solver.solve(prices).choice != STOP
    # The last price at which a state goes on; going on at a price means going on at every lower one.
    last = going.shape[1] - 1 - going[:, ::-1].argmax(axis=1)
    return np.asarray(np.where(going.any(axis=1), prices[last], 0.0))
