"""A sample each, and what is left thrown at random: what moving a budget about is worth by itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from actors.seeds import derive
from orchestration.planning.bench import Bench


@dataclass(frozen=True, slots=True)
class RandomSplit:
    name: str = "random split"

    def allocate(self, bench: Bench) -> None:
        for prompt in range(len(bench)):
            bench.draw(prompt)
        rng = np.random.default_rng(derive(bench.seed, "random split"))
        idle = 0
        while idle < len(bench):
            done = bench.draw(int(rng.integers(len(bench))))
            idle = 0 if done else idle + 1
            if bench.left < bench.worst:
                return
