"""The value table: for each state of a prompt the chance that its answer is right, and what each option makes of it.

A **stage** is what has been done: so many whole samples, or a search. What has been seen there gives a logistic score, and
the score, cut at quantiles, a **cell**. Stage and cell are the prompt's **state**. A **move** is an option, named by the
stage that it ends in: its FLOPs, and the chances of the cells that it leads to. One move is to have the verifier judge the
prompt before anything is drawn: what follows are stages of their own, in which each of a few **groups** of prompts has cells
of its own. It knows no text, label or file, and nothing of prices. Invariant: stages stand in an order in which every move
leads to a later one, so that no prompt goes in a circle.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf

from orchestration.allocation.evidence import Evidence, logit
from orchestration.allocation.logistic import Logistic

START = "0"
"""The stage at which nothing has been done."""

PROMPT = "prompt"
"""The stage at which nothing has been drawn yet, and the verifier has judged the prompt."""

UNDRAWN = (START, PROMPT)
"""Stages of prompts that have no answer yet."""

JUDGED = "judged "
"""How the names of the stages begin that follow it."""


def work_of(option: str) -> str:
    """What an option does, whatever is known of the prompt: so many samples, or a search; or that the prompt is judged."""
    return option.removeprefix(JUDGED)


@dataclass(frozen=True, slots=True)
class Offer:
    """What there is to choose from: numbers of whole samples to stop and look at, rising, and searches by their text, the
    cheapest first. A search may follow samples or nothing, and ends it: how a second one would come out tells most
    by what the first was for, which its cells do not hold. With `prompt`, the verifier may judge a prompt before anything is
    drawn of it."""

    samples: tuple[int, ...]
    searches: tuple[str, ...] = ()
    prompt: bool = False

    def __post_init__(self) -> None:
        if not all(type(n) is int for n in self.samples) or not all(type(s) is str for s in self.searches):
            raise ValueError(f"options are whole numbers of samples, and texts of searches: {self}")
        if not self.samples or list(self.samples) != sorted(set(self.samples)) or self.samples[0] < 1:
            raise ValueError(f"numbers of samples must rise from at least 1: {self.samples}")
        if len(set(self.searches)) != len(self.searches):
            raise ValueError(f"a search is offered twice: {self.searches}")

    @property
    def stages(self) -> tuple[str, ...]:
        """Their names, in order: those without an answer, numbers of samples, the texts of searches; and, where prompts are
        judged, the same again of those that were."""
        work = (*(str(n) for n in self.samples), *self.searches)
        if not self.prompt:
            return (START, *work)
        return (START, PROMPT, *work, *(f"{JUDGED}{name}" for name in work))

    @property
    def moves(self) -> tuple[tuple[str, str], ...]:
        """Source and target of each: on to the next number of samples, from any of them to a search; and to the prompt's
        value, with the same from there. The first one is to a first sample."""
        plain = self._moves(START, "")
        return (*plain, (START, PROMPT), *self._moves(PROMPT, JUDGED)) if self.prompt else plain

    def _moves(self, first: str, begin: str) -> tuple[tuple[str, str], ...]:
        counts = (first, *(f"{begin}{n}" for n in self.samples))
        searches = [f"{begin}{search}" for search in self.searches]
        onwards = itertools.pairwise(counts)
        found = [(count, search) for count in counts for search in searches]
        return (*onwards, *found)


@dataclass(frozen=True, slots=True)
class Stage:
    """`cuts` part the score into cells, the lowest first, in each group of prompts by their own; in one way where prompts are
    in no groups. `right` is each cell's chance that the answer is right, those of the first group first, told from so many
    `problems` (a problem seen in several orders counts in parts)."""

    name: str
    score: Logistic
    cuts: tuple[tuple[float, ...], ...]
    right: tuple[float, ...]
    problems: tuple[float, ...]

    def __post_init__(self) -> None:
        if not sum(len(some) + 1 for some in self.cuts) == len(self.right) == len(self.problems):
            raise ValueError(f"stage {self.name}: cells and cuts differ in number")
        if min(self.problems) < 0:
            raise ValueError(f"stage {self.name}: no cell is told from fewer than 0 problems")
        rising = all(list(some) == sorted(some) for some in self.cuts)
        if not rising or not all(0 <= chance <= 1 for chance in self.right):
            raise ValueError(f"stage {self.name}: cuts must rise, and chances lie in [0, 1]")

    @property
    def cells(self) -> int:
        return len(self.right)

    @property
    def groups(self) -> tuple[range, ...]:
        """The cells of each group of prompts."""
        starts = itertools.accumulate((len(some) + 1 for some in self.cuts), initial=0)
        return tuple(range(a, b) for a, b in itertools.pairwise(starts))

    def cell(self, evidence: Evidence, group: int = 0) -> int:
        """Where a prompt of this group stands of which this has been seen, by the likelier of the answers that it has."""
        mine = group if len(self.cuts) > 1 else 0
        score = max(self._found(evidence), _stood(evidence))
        return self.groups[mine].start + bisect_right(self.cuts[mine], score)

    def keeps(self, evidence: Evidence) -> bool:
        """Whether the answer that stood before a search is likelier than the one that it found, and so still stands."""
        return _stood(evidence) > self._found(evidence)

    def _found(self, evidence: Evidence) -> float:
        return self.score.score(evidence.vector(self.score.features))


def _stood(evidence: Evidence) -> float:
    """Log odds of the answer that stood before a search; none before anything else."""
    if evidence.same is None or evidence.before is None:
        return -inf
    return logit(evidence.before)


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
    """`stages` in the order in which they can follow each other, `START` first. `thresholds`, which rise, part the values of
    prompts into groups."""

    stages: tuple[Stage, ...]
    moves: tuple[Move, ...]
    thresholds: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.stages or self.stages[0].name != START:
            raise ValueError(f"the first stage must be {START}")
        if list(self.thresholds) != sorted(set(self.thresholds)):
            raise ValueError(f"thresholds of prompts must rise: {self.thresholds}")
        for stage in self.stages:
            if len(stage.cuts) not in (1, len(self.thresholds) + 1):
                raise ValueError(f"stage {stage.name} has not the groups of the table")
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

    @cached_property
    def undrawn(self) -> int:
        """How many states, the first ones, are of prompts that have no answer yet."""
        return sum(stage.cells for stage in self.stages if stage.name in UNDRAWN)

    def place(self, name: str) -> int:
        """Which stage has this name; KeyError where none has."""
        return self._places[name]

    def stage(self, name: str) -> Stage:
        return self.stages[self._places[name]]

    def cell(self, name: str, evidence: Evidence) -> int:
        """The cell of a stage in which a prompt is."""
        group = 0 if evidence.prompt is None else bisect_right(self.thresholds, evidence.prompt)
        return self.stage(name).cell(evidence, group)

    def state(self, name: str, evidence: Evidence) -> int:
        """The number of the state in which a prompt is."""
        return self.starts[self._places[name]] + self.cell(name, evidence)

    def keeps(self, name: str, evidence: Evidence) -> bool:
        """Whether the answer before a search still stands."""
        return self.stage(name).keeps(evidence)

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
