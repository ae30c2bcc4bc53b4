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

from orchestration.planning.baselines.tuned import price_for, serve
from orchestration.planning.bench import WEIGHTED, Bench
from orchestration.planning.pools import Pool
from orchestration.strategies.tally import Counting

_PRIOR = 2.0


@dataclass(frozen=True, slots=True)
class OptimalStopping:
    pools: Sequence[Pool]
    mean: float
    variance: float
    counting: Counting = WEIGHTED
    name: str = "optimal stopping, tuned"

    @classmethod
    def of(cls, pools: Sequence[Pool], *, seed: int) -> OptimalStopping:
        values = []
        for pool in pools:
            bench = Bench([pool], float("inf"), seed=seed)
            bench.draw(0, 8)
            values.append(bench.values(0))
        spreads = [np.var(one, ddof=1) for one in values if len(one) > 1]
        return cls(pools, float(np.mean([np.mean(one) for one in values])), float(np.mean(spreads)))

    def allocate(self, bench: Bench) -> None:
        each = bench.budget / len(bench)
        price = price_for(self.pools, self._worth, each, seed=bench.seed, counting=self.counting)
        serve(bench, self._worth, price)

    def _worth(self, bench: Bench, prompt: int) -> float:
        """How much one more sample is expected to improve the best reward."""
        seen = np.array(bench.values(prompt))
        weight = _PRIOR + len(seen)
        mean = (_PRIOR * self.mean + seen.sum()) / weight
        variance = (_PRIOR * self.variance + ((seen - mean) ** 2).sum()) / weight
        spread = math.sqrt(variance * (1 + 1 / weight)) + 1e-9
        z = (mean - float(seen.max())) / spread
        density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return float(spread * (density + z * 0.5 * math.erfc(-z / math.sqrt(2))))
