"""The value table: for each state of a prompt the chance that its answer is right, and what each option makes of it.

A **stage** is what has been done: so many whole samples, or a search. What has been seen there gives a logistic score,
and the score, cut at quantiles, a **cell**. Stage and cell are the prompt's **state**. A **move** is an option, named
by the stage that it ends in: its FLOPs, and the chances of the cells that it leads to. It knows no text, label or file,
and nothing of prices. Invariant: stages stand in an order in which every move leads to a later one, so that no prompt
goes in a circle.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from orchestration.allocation.evidence import Evidence
from orchestration.allocation.logistic import Logistic

START = "0"
"""The stage at which nothing has been drawn."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What there is to choose from: numbers of whole samples to stop and look at, rising, and searches by their text, the
    cheapest first. A search may follow samples or nothing; a later one may follow an earlier one."""

    samples: tuple[int, ...]
    searches: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not all(type(n) is int for n in self.samples) or not all(type(s) is str for s in self.searches):
            raise ValueError(f"options are whole numbers of samples, and texts of searches: {self}")
        if not self.samples or list(self.samples) != sorted(set(self.samples)) or self.samples[0] < 1:
            raise ValueError(f"numbers of samples must rise from at least 1: {self.samples}")
        if len(set(self.searches)) != len(self.searches):
            raise ValueError(f"a search is offered twice: {self.searches}")

    @property
    def stages(self) -> tuple[str, ...]:
        """Their names, in order: numbers of samples, and the texts of searches."""
        return (START, *(str(n) for n in self.samples), *self.searches)

    @property
    def moves(self) -> tuple[tuple[str, str], ...]:
        """Source and target of each: on to the next number of samples, from any of them to a search, and from a search to
        one that stands behind it."""
        counts = (START, *(str(n) for n in self.samples))
        onwards = list(itertools.pairwise(counts))
        searches = [(count, search) for count in counts for search in self.searches]
        further = [(a, b) for i, a in enumerate(self.searches) for b in self.searches[i + 1 :]]
        return tuple(onwards + searches + further)


@dataclass(frozen=True, slots=True)
class Stage:
    """`cuts` part the score into cells, the lowest first; `right` is each cell's chance that the answer is right, told
    from so many `problems` (a problem seen in several orders counts in parts)."""

    name: str
    score: Logistic
    cuts: tuple[float, ...]
    right: tuple[float, ...]
    problems: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.cuts) + 1 == len(self.right) == len(self.problems):
            raise ValueError(f"stage {self.name}: cells and cuts differ in number")
        if min(self.problems) < 0:
            raise ValueError(f"stage {self.name}: no cell is told from fewer than 0 problems")
        if list(self.cuts) != sorted(self.cuts) or not all(0 <= chance <= 1 for chance in self.right):
            raise ValueError(f"stage {self.name}: cuts must rise, and chances lie in [0, 1]")

    @property
    def cells(self) -> int:
        return len(self.right)

    def cell(self, evidence: Evidence) -> int:
        """Where a prompt stands of which this has been seen."""
        return bisect_right(self.cuts, self.score.score(evidence.vector(self.score.features)))


@dataclass(frozen=True, slots=True)
class Move:
    """By cell of its source: the mean FLOPs it takes, and the chances (rows sum to one) of its target's cells."""

    source: str
    target: str
    flops: tuple[float, ...]
    leads: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if len(self.flops) != len(self.leads) or not all(cost > 0 for cost in self.flops):
            raise ValueError(
                f"{self.source} to {self.target}: every cell needs FLOPs above 0 and where it leads"
            )
        if not all(abs(sum(row) - 1) <= 1e-3 and min(row) >= 0 for row in self.leads):
            raise ValueError(f"{self.source} to {self.target}: chances must sum to one")


@dataclass(frozen=True)
class ValueTable:
    """`stages` in the order in which they can follow each other, `START` first."""

    stages: tuple[Stage, ...]
    moves: tuple[Move, ...]

    def __post_init__(self) -> None:
        if not self.stages or self.stages[0].name != START:
            raise ValueError(f"the first stage must be {START}")
        for move in self.moves:
            source, target = self.place(move.source), self.place(move.target)
            if source >= target:
                raise ValueError(f"a move leads from {move.source} back to {move.target}")
            shape = len(move.leads), len(move.leads[0])
            if shape != (self.stages[source].cells, self.stages[target].cells):
                raise ValueError(f"{move.source} to {move.target} does not fit the cells of its stages")

    @cached_property
    def _places(self) -> dict[str, int]:
        return {stage.name: place for place, stage in enumerate(self.stages)}

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The number of each stage's first state."""
        starts, total = [], 0
        for stage in self.stages:
            starts.append(total)
            total += stage.cells
        return tuple(starts)

    @property
    def states(self) -> int:
        return sum(stage.cells for stage in self.stages)

    def place(self, name: str) -> int:
        """Which stage has this name; KeyError where none has."""
        return self._places[name]

    def stage(self, name: str) -> Stage:
        return self.stages[self._places[name]]

    def state(self, name: str, evidence: Evidence) -> int:
        """The number of the state in which a prompt is."""
        place = self._places[name]
        return self.starts[place] + self.stages[place].cell(evidence)

    def of(self, state: int) -> tuple[Stage, int]:
        """The stage and the cell of a state."""
        place = bisect_right(self.starts, state) - 1
        return self.stages[place], state - self.starts[place]

    def chance(self, state: int) -> float:
        """The chance that the answer is right there."""
        stage, cell = self.of(state)
        return stage.right[cell]

    def targets(self, name: str) -> Sequence[str]:
        """The stages that a move leads to from there."""
        return [move.target for move in self.moves if move.source == name]
