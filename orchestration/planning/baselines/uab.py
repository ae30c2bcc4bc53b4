"""UAB (arXiv 2605.26849): one probe each, p = exp(-mean negative log-likelihood / tau), greedy on the largest p (1 - p)^c.

As its released code has it: the gain is that of one more sample's coverage, c being the samples that the prompt has. A
run that kept no likelihoods has p = 1/2 everywhere, and so an even split.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestration.planning.baselines.greedy import spend_greedily
from orchestration.planning.bench import Bench


@dataclass(frozen=True, slots=True)
class Uab:
    tau: float = 0.2
    name: str = "UAB"

    def allocate(self, bench: Bench) -> None:
        chances = []
        for prompt in range(len(bench)):
            bench.draw(prompt)
            surprise = bench.surprise(prompt)
            chances.append(0.5 if math.isnan(surprise) else math.exp(-surprise / self.tau))
        spend_greedily(bench, lambda one: chances[one] * (1 - chances[one]) ** bench.drawn(one))
