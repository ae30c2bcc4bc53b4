"""Allocators compared on stored samples: each at the same budgets, on the same problems in the same orders.

It knows the bench and statistics, nothing of any allocator. Invariants: what is compared was charged alike, probes
included, and is paired over problems; a figure is a mean over several orders of samples and prompts, its interval over
problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from orchestration.analysis.statistics import Estimate, mean_interval, paired_difference
from orchestration.planning.bench import WEIGHTED, Bench, Memory
from orchestration.planning.pools import Pool


class Allocation(Protocol):
    """Spends what a bench has. One with a `counting` of its own has its votes counted so."""

    @property
    def name(self) -> str: ...

    def allocate(self, bench: Bench) -> None: ...


@dataclass(frozen=True, slots=True)
class Replayed:
    """One allocator at one budget: by problem (P) how often it was `right` over the orders, mean FLOPs and samples, and
    how often its answer was that of a search; `unpaid` is the share of problems that got nothing, `used` that of the budget
    that was spent."""

    name: str
    budget: float
    right: NDArray[np.float64]
    flops: NDArray[np.float64]
    samples: NDArray[np.float64]
    searched: NDArray[np.float64]
    unpaid: float
    used: float

    @property
    def accuracy(self) -> Estimate:
        return mean_interval(self.right)

    def better_than(self, other: Replayed) -> Estimate:
        """The paired difference in accuracy."""
        return paired_difference(self.right, other.right)


def replay(
    pools: Sequence[Pool],
    allocation: Allocation,
    budget: float,
    *,
    orders: int,
    seed: int = 0,
    memory: Memory | None = None,
) -> Replayed:
    """Run an allocator over stored samples in so many orders."""
    runs = []
    counting = getattr(allocation, "counting", WEIGHTED)
    for order in range(orders):
        bench = Bench(pools, budget, seed=seed + order, counting=counting, memory=memory)
        allocation.allocate(bench)
        runs.append(bench.judge())
    return Replayed(
        name=allocation.name,
        budget=budget,
        right=np.mean([run.right for run in runs], axis=0),
        flops=np.mean([run.flops for run in runs], axis=0),
        samples=np.mean([run.samples for run in runs], axis=0),
        searched=np.mean([run.searched for run in runs], axis=0),
        unpaid=float(np.mean([(~run.answered).mean() for run in runs])),
        used=float(np.mean([run.spent for run in runs]) / budget),
    )


def crossed(
    pools: Sequence[Pool],
    fold: Sequence[int],
    made: Sequence[Allocation],
    each: float,
    *,
    orders: int,
    seed: int = 0,
    memory: Memory | None = None,
) -> Replayed:
    """Replay over all problems at `each` FLOPs a problem, every fold by the allocator of its number, which was made of other
    problems.

    Rows stand in the order of the pools.
    """
    places = np.asarray(fold)
    parts: list[tuple[NDArray[np.int64], Replayed]] = []
    for one in sorted(set(fold)):
        rows = np.flatnonzero(places == one)
        judged = [pools[row] for row in rows.tolist()]
        budget = each * len(judged)
        parts.append((rows, replay(judged, made[one], budget, orders=orders, seed=seed, memory=memory)))
    order = np.argsort(np.concatenate([rows for rows, _ in parts]))
    found = [part for _, part in parts]
    sizes = np.array([len(rows) for rows, _ in parts]) / len(pools)
    return Replayed(
        name=found[0].name,
        budget=each * len(pools),
        right=np.concatenate([part.right for part in found])[order],
        flops=np.concatenate([part.flops for part in found])[order],
        samples=np.concatenate([part.samples for part in found])[order],
        searched=np.concatenate([part.searched for part in found])[order],
        unpaid=float(sizes @ [part.unpaid for part in found]),
        used=float(sizes @ [part.used for part in found]),
    )
