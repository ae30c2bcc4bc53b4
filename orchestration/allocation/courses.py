"""What became of prompts, counted by cells: where they stopped, what their moves took, and where these led.

It knows states and FLOPs, nothing of prompts by name, budgets or prices. Invariant: its size is that of the table,
however many prompts are counted; counts of shards add up to those of the whole, in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.strategy import Decision
from orchestration.allocation.choices import MoveArrays, arrays_of
from orchestration.allocation.value_table import START, ValueTable

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Course:
    """One prompt's way from where it began, or was taken up `again`, to where it stopped: its `states`, what each move
    between them took, and what it `lost` beside them (a move that the budget cut short)."""

    states: tuple[int, ...]
    flops: tuple[int, ...]
    lost: int = 0
    again: bool = False

    def __post_init__(self) -> None:
        if not self.states or len(self.flops) != len(self.states) - 1:
            raise ValueError("a course has a state more than moves, and one at least")

    @property
    def spent(self) -> int:
        return sum(self.flops) + self.lost


def course_of(table: ValueTable, decisions: Sequence[Decision], *, again: bool = False) -> Course:
    """The course that decisions tell, of which the last is a stop, or a move that was cut short. Of a prompt that was taken
    up `again`, it begins where it had stopped: what it repeated was counted then."""
    fresh = [one for one in decisions if not (again and one.repeated)]
    states = tuple(table.starts[table.place(one.stage)] + one.cell for one in fresh)
    flops = [one.flops for one in fresh]
    return Course(states, tuple(flops[:-1]), flops[-1], again)


class Courses:
    """The sums of many courses."""

    def __init__(self, table: ValueTable) -> None:
        self.table = table
        self.ended = self.spent = 0
        self.begun = np.zeros(table.states)
        self.stopped = np.zeros(table.states)
        arrays = arrays_of(table)
        self._leads = [np.zeros(step.leads.shape) for step in arrays]
        self._flops = [np.zeros(len(step.flops)) for step in arrays]
        self._numbers = {
            (table.place(move.source), table.place(move.target)): number
            for number, move in enumerate(table.moves)
        }
        self._first = table.stage(START).cells

    def __setstate__(self, state: dict[str, Any]) -> None:
        # What comes from another process may lie in memory that nobody may write.
        self.__dict__.update(state)
        self.begun, self.stopped = self.begun.copy(), self.stopped.copy()
        self._leads = [array.copy() for array in self._leads]
        self._flops = [array.copy() for array in self._flops]

    def add(self, course: Course) -> None:
        """Count one that ended."""
        first, last = course.states[0], course.states[-1]
        if course.again:
            self.stopped[first] -= 1
        else:
            self.ended += 1
            self.begun[first] += 1
        self.stopped[last] += 1
        self.spent += course.spent
        for source, target, flops in zip(course.states, course.states[1:], course.flops, strict=False):
            self._move(source, target, flops, 1)

    def add_many(
        self, sources: NDArray[np.int64], targets: NDArray[np.int64], flops: NDArray[np.int64] | Array
    ) -> None:
        """Count moves of many prompts at once: from, to, and what each took."""
        pairs, at, counts = np.unique(
            np.stack([sources, targets], axis=1), axis=0, return_inverse=True, return_counts=True
        )
        sums = np.bincount(at.ravel(), weights=flops.astype(np.float64))
        for (source, target), count, total in zip(
            pairs.tolist(), counts.tolist(), sums.tolist(), strict=True
        ):
            self._move(source, target, total, count)
        # As whole numbers of any size: 64 bits overflow without a word.
        self.spent += int(sum(flops.tolist()))

    def end_many(self, begun: NDArray[np.int64], stopped: NDArray[np.int64], *, again: bool = False) -> None:
        """Count prompts whose moves were counted: the states in which they began, or were taken up again, and stopped."""
        if again:
            np.subtract.at(self.stopped, begun, 1)
        else:
            self.ended += len(begun)
            np.add.at(self.begun, begun, 1)
        np.add.at(self.stopped, stopped, 1)

    def _move(self, source: int, target: int, flops: float, count: int) -> None:
        place, goal = (np.searchsorted(self.table.starts, s, side="right") - 1 for s in (source, target))
        number = self._numbers[int(place), int(goal)]
        at = source - self.table.starts[place]
        self._leads[number][at, target - self.table.starts[goal]] += count
        self._flops[number][at] += flops

    def __iadd__(self, other: Courses) -> Courses:
        self.ended += other.ended
        self.spent += other.spent
        self.begun += other.begun
        self.stopped += other.stopped
        for mine, theirs in zip((*self._leads, *self._flops), (*other._leads, *other._flops), strict=True):
            mine += theirs
        return self

    def arrays(self) -> tuple[MoveArrays, ...]:
        """The table's moves as they really are: what it was fitted on, and what came since, each prompt counting once.
        No label has a part in it."""
        found = []
        for number, step in enumerate(arrays_of(self.table)):
            leads, flops = self._leads[number], self._flops[number]
            place = int(np.searchsorted(self.table.starts, step.source, side="right")) - 1
            prior = np.maximum(np.asarray(self.table.stages[place].problems, np.float64), 1.0)
            seen = leads.sum(axis=1)
            found.append(
                MoveArrays(
                    step.source,
                    step.target,
                    (step.flops * prior + flops) / (prior + seen),
                    (step.leads * prior[:, None] + leads) / (prior + seen)[:, None],
                )
            )
        return tuple(found)

    def starts(self) -> Array:
        """The shares of the states in which prompts begin, (states,)."""
        shares = self.begun.copy()
        shares[: self._first] += np.maximum(np.asarray(self.table.stage(START).problems, np.float64), 1e-9)
        return np.asarray(shares / shares.sum())
