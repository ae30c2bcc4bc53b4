"""Blend-ASC (arXiv 2511.12309): a budget of votes moves to the question whose leading answer is least sure.

Two measures of doubt are blended: the Beta posterior's chance that the runner-up is ahead (as adaptive consistency has
it), which is sharp early, and the prior-posterior ratio at one half (PPR-1v1), which is sound however long one looks.
The weight goes from the first to the second as the budget is used. The paper's description is followed; its own weights
could not be read. Votes alone: nothing is scored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestration.planning.baselines.greedy import spend_greedily
from orchestration.planning.bench import MAJORITY, Bench
from orchestration.strategies.sampling.adaptive_consistency import stays_ahead
from orchestration.strategies.tally import Counting


@dataclass(frozen=True, slots=True)
class BlendAsc:
    counting: Counting = MAJORITY
    name: str = "Blend-ASC"

    def allocate(self, bench: Bench) -> None:
        for prompt in range(len(bench)):
            bench.draw(prompt)

        def doubt(prompt: int) -> float:
            first, second = [*bench.piles(prompt), 0, 0][:2]
            used = min(bench.spent / bench.budget, 1.0)
            return (1 - used) * (1 - stays_ahead(first, second)) + used * _ratio(first, second)

        spend_greedily(bench, doubt)


def _ratio(first: int, second: int) -> float:
    """The posterior's density at one half over the prior's, at most 1: small where one half is ruled out for good."""
    log = math.lgamma(first + second + 2) - math.lgamma(first + 1) - math.lgamma(second + 1)
    return min(1.0, math.exp(log - (first + second) * math.log(2)))
