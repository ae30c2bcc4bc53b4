"""Optimal stopping with a common price of a sample (after arXiv 2510.01394 and BEACON, 2510.15945).

A prompt stops when one more sample's expected improvement of the best reward is worth less than it costs. What a
prompt's next reward may be is told by a normal distribution of its own, whose mean and spread start from those of
calibration problems (counting as two samples) and learn from its rewards. The price is tuned on the calibration
problems.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestration.planning.baselines.tuned import Paths, serve
from orchestration.planning.bench import WEIGHTED, Bench
from orchestration.planning.pools import Pool

_PRIOR = 2.0


@dataclass(frozen=True, slots=True)
class Improvement:
    """What one more sample is expected to add to a prompt's best reward, where calibration problems' rewards have this
    `mean` and `variance`."""

    mean: float
    variance: float

    def __call__(self, bench: Bench, prompt: int) -> float:
        seen = np.array(bench.values(prompt))
        weight = _PRIOR + len(seen)
        mean = (_PRIOR * self.mean + seen.sum()) / weight
        variance = (_PRIOR * self.variance + ((seen - mean) ** 2).sum()) / weight
        spread = math.sqrt(variance * (1 + 1 / weight)) + 1e-9
        z = (mean - float(seen.max())) / spread
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return float(spread * (density + z * 0.5 * math.erfc(-z / math.sqrt(2))))


@dataclass(frozen=True, slots=True)
class OptimalStopping:
    worth: Improvement
    paths: Paths
    name: str = "optimal stopping, tuned"

    @classmethod
    def of(cls, pools: Sequence[Pool], *, seed: int) -> OptimalStopping:
        values = []
        for pool in pools:
            bench = Bench([pool], float("inf"), seed=seed)
            bench.draw(0, 8)
            values.append(bench.values(0))
        spreads = [np.var(one, ddof=1) for one in values if len(one) > 1]
        worth = Improvement(float(np.mean([np.mean(one) for one in values])), float(np.mean(spreads)))
        return cls(worth, Paths.of(pools, worth, seed=seed, counting=WEIGHTED))

    def allocate(self, bench: Bench) -> None:
        serve(bench, self.worth, self.paths.price(bench.budget / len(bench)))
