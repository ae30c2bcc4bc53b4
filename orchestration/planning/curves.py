"""How accuracy and FLOPs grow with what a problem gets, problem by problem: what static allocators are made of.

It knows pools, nothing of budgets. Invariant: a curve is a mean over random orders of the samples, so it is that of any
`n` of them; where a half is asked for, no sample of the other half has a part in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from actors.seeds import derive
from orchestration.planning.bench import WEIGHTED, Bench
from orchestration.planning.pools import Pool
from orchestration.strategies.tally import Counting

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curves:
    """Of problems (P) and `options` (X; numbers of samples, then searches): `right` and `flops`, both (P, X)."""

    options: tuple[str, ...]
    right: Array
    flops: Array

    def best_within(self, flops: float) -> int | None:
        """The option with the best mean accuracy of those whose mean FLOPs fit; None where none does."""
        fits = np.flatnonzero(self.flops.mean(axis=0) <= flops)
        return int(fits[self.right.mean(axis=0)[fits].argmax()]) if len(fits) else None

    def of(self, rows: NDArray[np.bool_]) -> Curves:
        """Those of some of the problems."""
        return Curves(self.options, self.right[rows], self.flops[rows])


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
    """Curves over whole pools, or over the first or second half of each one's samples."""
    right = np.zeros((len(pools), len(samples) + len(searches)))
    flops = np.zeros_like(right)
    for order in range(orders):
        for row, pool in enumerate(pools):
            bench = Bench(
                [halved(pool, half)], float("inf"), seed=derive(seed, "curve", order), counting=counting
            )
            for column, count in enumerate(samples):
                bench.draw(0, count - bench.drawn(0))
                right[row, column] += bench.judge().right[0]
                flops[row, column] += bench.spent
    right, flops = right / orders, flops / orders
    for column, search in enumerate(searches, start=len(samples)):
        right[:, column] = [pool.searches[search].correct for pool in pools]
        flops[:, column] = [pool.searches[search].flops for pool in pools]
    return Curves((*(str(count) for count in samples), *searches), right, flops)


def halved(pool: Pool, half: Literal[0, 1] | None) -> Pool:
    """The pool with one half of its samples, or as it is."""
    if half is None:
        return pool
    middle = len(pool.samples) // 2
    return replace(pool, samples=pool.samples[:middle] if half == 0 else pool.samples[middle:])
