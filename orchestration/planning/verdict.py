"""What a comparison of allocators says: fixed strategies as stored, each allocator at each budget, and what is saved.

It knows what was replayed and statistics, nothing of commands or pictures. Invariant: whatever is compared was judged on the
same problems, and every difference is paired over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.analysis.statistics import Estimate, mean_interval
from orchestration.planning.bench import MAJORITY, WEIGHTED
from orchestration.planning.comparison import Array, AtBudget, Contest
from orchestration.planning.curves import curves_of
from orchestration.planning.line_up import BEST_OF_N, FREE, ORACLE, PREDICTED, PRICE, SINGLE
from orchestration.planning.savings import Figure, Points, closed, saved

MEASURED = (
    (PREDICTED, BEST_OF_N),
    (FREE, BEST_OF_N),
    (ORACLE, BEST_OF_N),
    (PRICE, BEST_OF_N),
    (PRICE, PREDICTED),
)
"""Whose FLOPs are held against whose."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """One strategy for every problem, with `n` generations: by problem (P) how `right` it is, and the FLOPs it takes."""

    name: str
    n: int | None
    right: Array
    flops: Array

    @property
    def accuracy(self) -> Estimate:
        return mean_interval(self.right)


@dataclass(frozen=True, slots=True)
class Saving:
    """At a budget of `each` FLOPs a problem: how many times the FLOPs `against` takes to be as accurate as `name`."""

    each: float
    name: str
    against: str
    factor: Figure


@dataclass(frozen=True, slots=True)
class Verdict:
    """All of it. `labels` say of budgets what they are; `gaps` are, budget by budget, the shares of the gap from uniform
    compute-optimal to O1 that the global price closes."""

    fixed: tuple[Fixed, ...]
    budgets: tuple[AtBudget, ...]
    labels: tuple[str, ...]
    savings: tuple[Saving, ...]
    gaps: tuple[Figure, ...]

    def less(self, at: AtBudget, name: str, other: str) -> Estimate:
        """The paired difference in accuracy at a budget."""
        return at.rows[name].better_than(at.rows[other])

    def below_single(self) -> list[str]:
        """Where compute-optimal with predicted bins, charged, is below the best single strategy outside noise."""
        return [
            label
            for label, at in zip(self.labels, self.budgets, strict=True)
            if self.less(at, PREDICTED, SINGLE).high < 0
        ]


def verdict(contest: Contest, found: Sequence[AtBudget], labels: Sequence[str], *, seed: int = 0) -> Verdict:
    """Of a contest that was held at these budgets."""
    fixed = fixed_strategies(contest)
    base = Points.of([(one.right, one.flops) for one in fixed if one.name == BEST_OF_N])
    curves = {BEST_OF_N: base} | {
        other: Points.of([(at.rows[other].right, at.rows[other].flops) for at in found])
        for _, other in MEASURED
        if other != BEST_OF_N
    }
    savings, gaps = [], []
    for at in found:
        for name, other in MEASURED:
            row = at.rows[name]
            savings.append(
                Saving(at.each, name, other, saved((row.right, row.flops), curves[other], seed=seed))
            )
        gaps.append(closed(at.rows[PRICE].right, at.rows[PREDICTED].right, at.static.right, seed=seed))
    return Verdict(fixed, tuple(found), tuple(labels), tuple(savings), tuple(gaps))


def fixed_strategies(contest: Contest) -> tuple[Fixed, ...]:
    """Plain votes and weighted ones over all numbers of the stored samples, and every other strategy as it was run."""
    pools = contest.pools
    size = min(len(pool.samples) for pool in pools)
    counts = sorted({size, *(1 << power for power in range(size.bit_length()))})
    found = []
    for name, counting in (("majority", MAJORITY), (BEST_OF_N, WEIGHTED)):
        curves = curves_of(pools, counts, orders=contest.orders, seed=contest.seed, counting=counting)
        found += [Fixed(name, n, curves.right[:, at], curves.flops[:, at]) for at, n in enumerate(counts)]
    # Those too that nobody could learn about.
    names = tuple(pools[0].searches)
    searches = curves_of(pools, (), names, orders=1, seed=contest.seed)
    found += [
        Fixed(text, None, searches.right[:, at], searches.flops[:, at]) for at, text in enumerate(names)
    ]
    return tuple(found)
