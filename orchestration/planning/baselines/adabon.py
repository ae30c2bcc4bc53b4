"""AdaBoN (Raman, Asi and Kale 2025, arXiv 2505.12050): explore a little everywhere, then spend the rest by expected gain.

A kernel estimate (Gaussian, Scott's rule) of each prompt's rewards after exploration tells the expected best reward of
b further draws; the rest of the budget goes greedily to the largest gains, fixed once. Draws from the estimate are
seeded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from actors.seeds import derive
from orchestration.planning.baselines.greedy import spend_greedily
from orchestration.planning.bench import Bench

_DRAWS = 200


@dataclass(frozen=True, slots=True)
class AdaBon:
    """`explore` is the share of a prompt's even part of the budget that exploration takes."""

    explore: float = 0.75
    name: str = "AdaBoN"

    def allocate(self, bench: Bench) -> None:
        for prompt in range(len(bench)):
            bench.draw(prompt)
        each = bench.spent / max(sum(bench.drawn(p) for p in range(len(bench))), 1)
        first = max(1, round(self.explore * bench.budget / len(bench) / each))
        for prompt in range(len(bench)):
            bench.draw(prompt, first - bench.drawn(prompt))
        gains = [self._gains(bench, prompt) for prompt in range(len(bench))]
        spend_greedily(bench, lambda one: gains[one][min(bench.drawn(one) - first, len(gains[one]) - 1)])

    def _gains(self, bench: Bench, prompt: int) -> list[float]:
        """What the first, second, ... further draw adds to the expected best reward."""
        seen, more = np.array(bench.values(prompt)), bench.rest(prompt)
        if not len(seen) or not more:
            return [0.0]
        rng = np.random.default_rng(derive(bench.seed, "adabon", bench.name(prompt)))
        width = max(float(seen.std()), 1e-3) * len(seen) ** -0.2
        drawn = rng.choice(seen, (_DRAWS, more)) + width * rng.normal(size=(_DRAWS, more))
        # A verifier's values end at 1: without this, a prompt that has one near it promises more for ever.
        drawn = np.minimum(drawn, 1.0)
        best = np.maximum(np.maximum.accumulate(drawn, axis=1), seen.max()).mean(axis=0)
        return [float(gain) for gain in np.diff(np.append(seen.max(), best))]
