"""The paper's compute-optimal strategy: a bin by difficulty, and in each bin the strategy that was best there.

Predicted difficulty is the mean of the verifier's final values of some samples, oracle difficulty the share of samples that
are right (Snell et al. 2024, section 3.2). As in the paper every prompt has the same budget. What tells difficulty is
charged, and used by the strategy that follows; or it is free: told of samples that nobody draws. Invariants: bins and their
strategies come from other problems than are judged; where difficulty is free, no sample serves both bin and judgement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestration.allocation.fitting import folds
from orchestration.allocation.price import lot_of
from orchestration.planning.baselines.uniform import fair, give
from orchestration.planning.bench import Bench
from orchestration.planning.curves import Curves, Ladder
from orchestration.planning.pools import Pool

Array = NDArray[np.float64]

BINS = 5
PROBES = (1, 2, 4)
"""Numbers of samples that may tell a bin; none tells all problems alike."""


@dataclass(frozen=True, slots=True)
class Binned:
    """Problems in bins by rising value, cut at `edges`, and what is worth its FLOPs in each. `probe` samples are drawn before
    (0: difficulty is free, or not told)."""

    probe: int
    edges: Array
    ladders: tuple[Ladder, ...]

    @classmethod
    def of(cls, known: Curves, values: Array, probe: int = 0) -> Binned:
        edges = np.unique(np.quantile(values, np.arange(1, BINS) / BINS))
        curves = after_probe(known, probe)
        place = np.searchsorted(edges, values, side="right")
        ladders = []
        for one in range(len(edges) + 1):
            mine = place == one
            ladders.append((curves.of(mine) if mine.any() else curves).ladder())
        return cls(probe, edges, tuple(ladders))

    def ladder(self, value: float) -> Ladder:
        return self.ladders[int(np.searchsorted(self.edges, value, side="right"))]

    def expected(self, known: Curves, values: Array, each: float) -> list[float]:
        """The accuracy with `each` FLOPs for everyone, by problem, on others than those that it was made of."""
        curves = after_probe(known, self.probe)
        right = dict(zip(curves.options, curves.right.T, strict=True)) | {"": np.zeros(len(values))}
        found = []
        for row, value in enumerate(values.tolist()):
            lower, upper, share = self.ladder(value).mix(each)
            found.append((1 - share) * right[lower][row] + share * right[upper][row])
        return found


def after_probe(known: Curves, probe: int) -> Curves:
    """The options that are left once so many samples are drawn: samples include them, a search is paid beside them."""
    if not probe:
        return known
    extra = known.flops[:, [known.options.index(str(probe))]]
    whole = np.array([option.isdigit() for option in known.options])
    paid = Curves(known.options, known.right, known.flops + np.where(whole, 0.0, extra))
    return paid.only(lambda option: not option.isdigit() or int(option) >= probe)


@dataclass(frozen=True, slots=True)
class PerBin:
    """Bins that a few samples tell, which are charged. How many is chosen at each budget by what it brings: each half of the
    calibration problems judges what was made of the other. None at all, the best for all alike, unless another brings more by
    above a standard error: a bin has a fifth of the problems to choose by, and the best of many looks better than it is."""

    ways: tuple[Binned, ...]
    halves: tuple[tuple[Curves, Array, Binned], ...]
    name: str = "compute-optimal, predicted bins"

    @classmethod
    def of(cls, pools: Sequence[Pool], known: Curves, *, seed: int) -> PerBin:
        ways, halves = [], []
        part = np.array(folds([pool.problem for pool in pools], 2, seed))
        for probe in (0, *(one for one in PROBES if str(one) in known.options)):
            values = np.array([_probed(pool, probe, seed) for pool in pools])
            ways.append(Binned.of(known, values, probe))
            for one in (0, 1):
                mine = part == one
                if mine.any() and not mine.all():
                    made = Binned.of(known.of(~mine), values[~mine], probe)
                    halves.append((known.of(mine), values[mine], made))
        return cls(tuple(ways), tuple(halves))

    def way(self, each: float) -> Binned:
        """The one that was expected to bring most, with above a standard error more than the first; else the first."""
        brings: dict[int, list[float]] = {way.probe: [] for way in self.ways}
        for known, values, made in self.halves if len(self.ways) > 1 else ():
            brings[made.probe] += made.expected(known, values, each)
        first = self.ways[0]
        gains = {probe: np.subtract(brought, brings[first.probe]) for probe, brought in brings.items()}

        def gain(way: Binned) -> float:
            more = gains[way.probe]
            return float(more.mean() - more.std() / len(more) ** 0.5) if len(more) else 0.0

        best = max(self.ways, key=lambda way: float(np.sum(gains[way.probe])))
        return best if gain(best) > 0 else first

    def allocate(self, bench: Bench) -> None:
        way = self.way(bench.budget / len(bench))
        for prompt in range(len(bench)):
            each = fair(bench, prompt)
            bench.draw(prompt, way.probe)
            values = bench.values(prompt)
            ladder = way.ladder(float(np.mean(values)) if values else 0.0)
            give(bench, prompt, ladder.at(each, lot_of(bench.seed, bench.name(prompt))))


def _probed(pool: Pool, probe: int, seed: int) -> float:
    bench = Bench([pool], float("inf"), seed=seed)
    bench.draw(0, probe)
    return float(np.mean(bench.values(0))) if probe else 0.0


@dataclass(frozen=True, slots=True)
class ToldBins:
    """Bins of a difficulty that is `told` for nothing, by problem."""

    binned: Binned
    told: Mapping[str, float]
    name: str

    def allocate(self, bench: Bench) -> None:
        for prompt in range(len(bench)):
            ladder = self.binned.ladder(self.told[bench.name(prompt)])
            give(bench, prompt, ladder.at(fair(bench, prompt), lot_of(bench.seed, bench.name(prompt))))
