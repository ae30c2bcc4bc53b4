"""How accuracy and FLOPs grow with what a problem gets, problem by problem: what static allocators are made of.

It knows pools, nothing of budgets. Invariant: a curve is a mean over random subsets of the samples, so it is that of any
`n` of them; where a half is asked for, no sample of the other half has a part in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from actors.seeds import derive
from actors.strategy import ballot_of
from orchestration.analysis.subsets import SampleSet, accuracy_at
from orchestration.planning.bench import WEIGHTED, Bench
from orchestration.planning.pools import Pool
from orchestration.problems.graders.ballots import says_most
from orchestration.strategies.selection import same_answers
from orchestration.strategies.tally import Counting

Array = NDArray[np.float64]

_SUBSETS = 200
"""Subsets of a problem's samples that a point is a mean over, where there are more."""


@dataclass(frozen=True, slots=True)
class Curves:
    """Of problems (P) and `options` (X; numbers of samples, then searches): `right` and `flops`, both (P, X)."""

    options: tuple[str, ...]
    right: Array
    flops: Array

    def of(self, rows: NDArray[np.bool_]) -> Curves:
        """Those of some of the problems."""
        return Curves(self.options, self.right[rows], self.flops[rows])

    def only(self, kept: Callable[[str], bool]) -> Curves:
        """Those of some of the options."""
        places = [at for at, option in enumerate(self.options) if kept(option)]
        return Curves(tuple(self.options[at] for at in places), self.right[:, places], self.flops[:, places])

    def ladder(self) -> Ladder:
        """What is worth its FLOPs for all of these problems alike."""
        return Ladder.of(self.options, self.right.mean(axis=0), self.flops.mean(axis=0))


@dataclass(frozen=True, slots=True)
class Ladder:
    """The options that are worth their FLOPs, from nothing ("") on: the upper hull of accuracy over FLOPs. Between
    two rungs a budget is met by giving a share of the prompts the upper one, so that it is used to its end."""

    options: tuple[str, ...]
    right: Array
    flops: Array

    @classmethod
    def of(cls, options: Sequence[str], right: Array, flops: Array) -> Ladder:
        rungs = [("", 0.0, 0.0)]
        for at in np.lexsort((-right, flops)).tolist():
            new = (options[at], float(right[at]), float(flops[at]))
            if new[1] <= rungs[-1][1]:
                continue
            while len(rungs) > 1 and _slope(rungs[-2], rungs[-1]) <= _slope(rungs[-1], new):
                rungs.pop()
            rungs.append(new)
        names, rights, costs = zip(*rungs, strict=True)
        return cls(names, np.array(rights), np.array(costs))

    def mix(self, each: float) -> tuple[str, str, float]:
        """The lower and the upper rung where everyone has `each` FLOPs, and the share of the prompts that gets the upper."""
        above = int(np.searchsorted(self.flops, each, side="right"))
        if above == len(self.options):
            return self.options[-1], self.options[-1], 1.0
        share = (each - self.flops[above - 1]) / (self.flops[above] - self.flops[above - 1])
        return self.options[above - 1], self.options[above], float(share)

    def at(self, each: float, lot: float) -> str:
        """What the prompt of this lot, in [0, 1), gets."""
        lower, upper, share = self.mix(each)
        return upper if lot < share else lower


def _slope(a: tuple[str, float, float], b: tuple[str, float, float]) -> float:
    return (b[1] - a[1]) / max(b[2] - a[2], 1e-300)


def curves_of(
    pools: Sequence[Pool],
    samples: Sequence[int],
    searches: Sequence[str] = (),
    *,
    orders: int,
    seed: int,
    counting: Counting = WEIGHTED,
    half: Literal[0, 1] | None = None,
) -> Curves:
    """Curves over whole pools, or over the first or second half of each one's samples: `right` over all subsets, or many of
    them, `flops` over so many orders."""
    parts = [halved(pool, half) for pool in pools]
    right = np.zeros((len(pools), len(samples) + len(searches)))
    flops = np.zeros_like(right)
    sets = [_set_of(pool, counting) for pool in parts]
    right[:, : len(samples)] = accuracy_at(sets, counting.rule, samples, derive(seed, "curve"), _SUBSETS)
    for order in range(orders):
        for row, pool in enumerate(parts):
            bench = Bench([pool], float("inf"), seed=derive(seed, "curve", order), counting=counting)
            for column, count in enumerate(samples):
                bench.draw(0, count - bench.drawn(0))
                flops[row, column] += bench.spent
    flops /= orders
    for column, search in enumerate(searches, start=len(samples)):
        right[:, column] = [pool.searches[search].correct for pool in pools]
        flops[:, column] = [pool.searches[search].flops for pool in pools]
    return Curves((*(str(count) for count in samples), *searches), right, flops)


def _set_of(pool: Pool, counting: Counting) -> SampleSet:
    """The samples as votes are counted over subsets of them."""
    drawn = [one.candidate for one in pool.samples]
    said = [one.answer for one in drawn]
    classes = iter(same_answers(answer for answer in said if answer is not None))
    values = [counting.value(one) for one in drawn]
    return SampleSet(
        pool.problem,
        [None if answer is None else next(classes) for answer in said],
        [one.correct and one.candidate.answer is not None for one in pool.samples],
        [one.finish == "eos" for one in drawn],
        [math.nan if value is None else value for value in values],
        says_most([ballot_of(answer or "") for answer in said]),
    )


def halved(pool: Pool, half: Literal[0, 1] | None) -> Pool:
    """The pool with one half of its samples, or as it is."""
    if half is None:
        return pool
    middle = len(pool.samples) // 2
    return replace(pool, samples=pool.samples[:middle] if half == 0 else pool.samples[middle:])
