"""One price of a FLOP for all prompts: where the expected spending of what is left meets the budget that is left.

It knows the value table and what became of prompts, counted by cells; nothing of prompts by name, of replicas or of
clocks. Invariants: memory by cells, never by prompts; no label moves the price; a price and a prompt's lot decide what
it does, so a resume that keeps the price repeats the choice. That the budget is never overspent is the ledger's work,
not this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actors.seeds import derive
from actors.strategy import Decision
from orchestration.allocation.choices import STOP, MoveArrays, Solved, Solver, reserve_prices
from orchestration.allocation.courses import Course, Courses
from orchestration.allocation.value_table import ValueTable

Array = NDArray[np.float64]

EVERY = 256
"""Outcomes after which the price is solved again."""

HORIZON = 1024
"""With a rate a prompt, over how many prompts to come a surplus is spread, or a debt."""

_GRID = 24
_CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Price:
    """What a FLOP costs, in chances of being right. Choices change in jumps: at `low` slightly too much would be spent,
    at `high` too little, and the two are next to each other. A prompt pays `low` where its lot is below `share`."""

    low: float
    high: float
    share: float

    def of(self, lot: float) -> float:
        """What the prompt of this lot, in [0, 1), pays."""
        return self.low if lot < self.share else self.high


def lot_of(seed: int, prompt: str, taken_up: int = 0) -> float:
    """A prompt's lot, in [0, 1): it decides where a price leaves the choice open, the same whenever it is asked. Each
    time that it is taken up again, named by a number, it has a new one: those that stopped are the ones whose lots were
    high."""
    return derive(seed, "price", prompt, taken_up) / 2**63


def clear(solver: Solver, waiting: Array, left: float, real: tuple[MoveArrays, ...] | None = None) -> Price:
    """The price at which prompts `waiting` in each state (states,) are expected to spend what is `left`."""
    high, tiny = solver.bounds()
    grid = np.append(0.0, np.geomspace(tiny, high, 2 * _GRID))
    spent = waiting @ solver.solve(grid, real).spent
    if spent[0] <= left:
        return Price(0.0, 0.0, 1.0)
    if spent[-1] > left:
        return Price(high, high, 0.0)
    while True:
        # What is really spent need not fall at each single step of the price: the first that fits counts.
        k = int(np.flatnonzero(spent <= left)[0])
        (low, high), (more, less) = grid[k - 1 : k + 1], spent[k - 1 : k + 1]
        if high - low <= _CLOSE * high:
            return Price(float(low), float(high), float((left - less) / (more - less)))
        grid = np.linspace(low, high, _GRID) if low <= high / 4 else np.geomspace(low, high, _GRID)
        grid[0], grid[-1] = low, high
        spent = waiting @ solver.solve(grid, real).spent
        spent[0], spent[-1] = more, less


class Chooser:
    """Decides for one prompt after the other; a replica needs no more than this, the table and the price."""

    def __init__(self, table: ValueTable, *, floor: bool = True) -> None:
        self.table = table
        self.solver = Solver(table, floor=floor)
        self._solved: dict[float, Solved] = {}

    def at(self, price: float) -> Solved:
        """What to do in each state at a price; solved once for each of the last few."""
        found = self._solved.get(price)
        if found is None:
            found = self.solver.solve(np.array([price]))
            self._solved = {**dict(list(self._solved.items())[-3:]), price: found}
        return found

    def decide(self, state: int, price: float) -> Decision:
        """The option with the largest expected accuracy less price times FLOPs; to stop where none is above stopping."""
        solved = self.at(price)
        stage, cell = self.table.of(state)
        number = int(solved.choice[state, 0])
        option = None if number == STOP else self.table.moves[number].target
        chance = stage.right[cell]
        return Decision(stage.name, cell, chance, price, option, float(solved.value[state, 0]) - chance)


class GlobalPrice:
    """The price of a run as it goes on.

    Either a `budget` for a number of `prompts`, or a `rate` a prompt where nobody knows how many will come. What has
    ended is told by `end`, or as counts of a shard by `hear`; every few hundred outcomes the price is solved again.
    Once no more prompts come (`close`), `take_up` says which stopped ones the rest of the budget takes up.
    """

    def __init__(
        self,
        table: ValueTable,
        *,
        budget: int | None = None,
        prompts: int | None = None,
        rate: float | None = None,
        floor: bool = True,
        every: int = EVERY,
    ) -> None:
        if (rate is None) == (budget is None) or (budget is not None and prompts is None):
            raise ValueError("a price needs a budget and the number of prompts, or a rate a prompt")
        self.chooser = Chooser(table, floor=floor)
        self.courses = Courses(table)
        self._budget, self._prompts, self._rate, self._every = budget, prompts, rate, every
        self._since = 0
        self._first = 0.0
        self.in_hand = 0
        self.price = Price(0.0, 0.0, 1.0)
        self.solve()

    @property
    def left(self) -> float:
        """What may still be spent by what has not ended."""
        if self._budget is not None:
            return float(self._budget - self.courses.spent)
        assert self._rate is not None
        ahead = HORIZON if self._prompts is None else self._prompts - self.courses.ended
        return self._rate * (self.courses.ended + ahead) - self.courses.spent

    @property
    def waiting(self) -> Array:
        """How many prompts stand in each state and may go on from there, in hand or still to come."""
        if self._prompts is None:
            return HORIZON * self.courses.starts()
        to_come = max(self._prompts - self.courses.ended, 0)
        return np.asarray(np.maximum(self.courses.stopped, 0) + to_come * self.courses.starts())

    @property
    def reserve(self) -> int:
        """What the first samples of the prompts still to come, those `in_hand` left out, are expected to take: near the end
        of a budget nothing else may use it, where each prompt shall have one sample."""
        if not self.chooser.solver.floor or self._prompts is None:
            return 0
        return int(max(self._prompts - self.courses.ended - self.in_hand, 0) * self._first)

    def solve(self) -> Price:
        """Solve the price from what is left and from what really came."""
        self._since = 0
        real = self.courses.arrays()
        self.price = clear(self.chooser.solver, self.waiting, self.left, real)
        begins = self.courses.starts()[real[0].here]
        self._first = float(begins @ real[0].flops / begins.sum())
        return self.price

    def end(self, course: Course) -> None:
        """A prompt has stopped."""
        self.courses.add(course)
        self._count(1)

    def hear(self, courses: Courses) -> None:
        """What a shard has counted since it was last heard."""
        self.courses += courses
        self._count(courses.ended)

    def _count(self, ended: int) -> None:
        self._since += ended
        if self._since >= self._every:
            self.solve()

    def charge(self, flops: int) -> None:
        """What was spent beside all courses, as by a prompt that came to nothing; below 0 where a course had things for
        free."""
        self.courses.spent += flops

    def resume(self, spent: int, ended: int, learnt: Courses | None = None) -> None:
        """So much of the budget is spent, and so many of the prompts have ended, before this price heard of any. What is
        `learnt` of them, and of prompts before them, is what another price had counted: no prompt to come is among them."""
        if learnt is not None:
            self.courses = learnt
            learnt.ended = 0
        self.courses.spent = spent
        self.leave(ended)
        self.solve()

    def leave(self, prompts: int = 1) -> None:
        """So many prompts will not come to an end after all, as one that is quarantined."""
        if self._prompts is not None:
            self._prompts -= prompts

    def close(self, prompts: int) -> None:
        """No more prompts come: there were so many."""
        self._prompts = prompts
        self.solve()

    def decide(self, state: int, lot: float) -> Decision:
        """What a prompt does in a state at today's price."""
        return self.chooser.decide(state, self.price.of(lot))

    def take_up(self) -> list[int]:
        """The states whose stopped prompts may go on at a price solved anew, the best value first."""
        self.solve()
        first = self.chooser.table.undrawn
        going = self.chooser.at(self.price.low).choice[:, 0] != STOP
        going &= self.courses.stopped > 0
        reserves = reserve_prices(self.chooser.solver)
        order = sorted(np.flatnonzero(going).tolist(), key=lambda state: (-reserves[state], state))
        # One that stopped before its first sample is better value than any other, where each shall have one.
        return [s for s in order if s < first] + [s for s in order if s >= first]
