"""A crowd of prompts in a world whose chances are known: each is drawn from the world's own table, batch by batch, and
pays today's price. What stands of a prompt that stopped is a byte in a file, as a run keeps its outcomes on disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actors.seeds import derive
from orchestration.allocation.choices import STOP, MoveArrays, Solver, arrays_of
from orchestration.allocation.courses import Courses
from orchestration.allocation.price import GlobalPrice, clear
from orchestration.allocation.value_table import START, ValueTable

_WORST = 1.5
"""A move takes between half and one and a half times what it takes on average; the most is set aside before it begins."""


@dataclass(frozen=True, slots=True)
class Told:
    """How it went: mean chance to be right in the end, share of the budget used, prompts that got nothing, and the
    price."""

    right: float
    used: float
    unpaid: int
    price: float


def optimum(world: ValueTable, budget: float, prompts: int, *, floor: bool = True) -> float:
    """The best mean chance to be right that any rule can expect which knows the world: the linear program's value."""
    solver = Solver(world, floor=floor)
    waiting = np.zeros(world.states)
    cells = world.stage(START).cells
    waiting[:cells] = np.asarray(world.stage(START).problems) / sum(world.stage(START).problems)
    price = clear(solver, waiting, budget / prompts)
    solved = solver.solve(np.array([price.low, price.high]))
    low, high = waiting @ solved.right
    right = float(price.share * low + (1 - price.share) * high)
    # Where the first sample of each is more than there is, as many get one as it pays.
    return right * min(1.0, budget / prompts / float((waiting @ solved.spent)[1]))


class Crowd:
    def __init__(
        self, world: ValueTable, price: GlobalPrice, budget: int, prompts: int, *, seed: int = 0
    ) -> None:
        self.world, self.price, self.budget, self.prompts, self.seed = world, price, budget, prompts, seed
        self.spent = 0
        self._arrays = arrays_of(world)
        self._file = tempfile.TemporaryFile()
        cells = world.stage(START).cells
        held = np.asarray(world.stage(START).problems)
        self._starts = np.cumsum(held / held.sum())
        self._cells = cells

    def run(self, batch: int = 256) -> Told:
        for number, size in enumerate(_batches(self.prompts, batch)):
            rng = np.random.default_rng(derive(self.seed, "crowd", number))
            begun = np.searchsorted(self._starts, rng.random(size), side="right").clip(0, self._cells - 1)
            self._file.write(self._go(begun, rng, again=False).astype(np.uint8).tobytes())
        self._take_up(batch)
        right, unpaid = 0.0, 0
        chances = np.concatenate([stage.right for stage in self.world.stages])
        for states in self._stored(1 << 14):
            right += float(chances[states].sum())
            unpaid += int((states < self._cells).sum())
        self._file.close()
        return Told(
            right / self.prompts,
            self.spent / self.budget if self.budget else 1.0,
            unpaid,
            self.price.price.high,
        )

    def _go(self, begun: NDArray[np.int64], rng: np.random.Generator, *, again: bool) -> NDArray[np.int64]:
        """Let prompts go on from where they stand until each has stopped; return where."""
        states = begun.copy()
        price = self.price.price
        chooser = self.price.chooser
        low, high = chooser.at(price.low).choice[:, 0], chooser.at(price.high).choice[:, 0]
        cheap = rng.random(len(states)) < price.share
        courses = Courses(self.price.courses.table)
        going = np.arange(len(states))
        while len(going):
            numbers = np.where(cheap[going], low[states[going]], high[states[going]])
            going, numbers = going[numbers != STOP], numbers[numbers != STOP]
            mean = np.array([self._mean(int(n), int(s)) for n, s in zip(numbers, states[going], strict=True)])
            # Set aside before it begins, and settled after: what does not fit stays where it is.
            fits = self.spent + np.cumsum(np.ceil(mean * _WORST)) <= self.budget
            going, numbers, mean = going[fits], numbers[fits], mean[fits]
            if not len(going):
                break
            flops = np.ceil(mean * rng.uniform(2 - _WORST, _WORST, len(mean))).astype(np.int64)
            targets = np.empty(len(going), dtype=np.int64)
            for number in np.unique(numbers):
                mine = numbers == number
                targets[mine] = _lead(self._arrays[number], states[going[mine]], rng)
            courses.add_many(states[going], targets, flops)
            self.spent += int(flops.sum())
            states[going] = targets
        courses.end_many(begun, states, again=again)
        self.price.hear(courses)
        return states

    def _mean(self, number: int, state: int) -> float:
        step = self._arrays[number]
        return float(step.flops[state - step.source])

    def _take_up(self, batch: int) -> None:
        """Spend what is left on those that stopped, the best value first, until it buys nothing more."""
        rounds = 0
        while states := self.price.take_up():
            before = self.spent
            for state in states:
                self._go_on(state, np.random.default_rng(derive(self.seed, "again", rounds, state)), batch)
            rounds += 1
            if self.spent == before:
                break

    def _go_on(self, state: int, rng: np.random.Generator, batch: int) -> None:
        place = 0
        for stored in self._stored(batch):
            mine = np.flatnonzero(stored == state)
            if len(mine):
                stored = stored.copy()
                stored[mine] = self._go(stored[mine], rng, again=True)
                self._file.seek(place)
                self._file.write(stored.astype(np.uint8).tobytes())
            place += len(stored)

    def _stored(self, size: int) -> Iterator[NDArray[np.int64]]:
        place = 0
        while True:
            self._file.seek(place)
            read = self._file.read(size)
            if not read:
                return
            place += len(read)
            yield np.frombuffer(read, np.uint8).astype(np.int64)


def _lead(step: MoveArrays, states: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    ways = np.cumsum(step.leads, axis=1)[states - step.source]
    found = (rng.random(len(states))[:, None] >= ways).sum(axis=1)
    return np.asarray(step.target + found.clip(0, step.leads.shape[1] - 1))


def _batches(total: int, size: int) -> Iterator[int]:
    for begun in range(0, total, size):
        yield min(size, total - begun)
