"""Adaptive consistency (Aggarwal et al. 2023) under a budget: one threshold for all, tuned on other problems.

A prompt stops when its leading answer stays ahead with more than the threshold, the paper's Beta rule. Votes alone:
nothing is scored, and nothing of it charged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.planning.baselines.tuned import Paths, serve
from orchestration.planning.bench import MAJORITY, Bench
from orchestration.planning.pools import Pool
from orchestration.strategies.sampling.adaptive_consistency import stays_ahead
from orchestration.strategies.tally import Counting


@dataclass(frozen=True, slots=True)
class TunedConsistency:
    """`paths` are those of the calibration problems."""

    paths: Paths
    counting: Counting = MAJORITY
    name: str = "adaptive consistency, tuned"

    @classmethod
    def of(cls, pools: Sequence[Pool], *, seed: int) -> TunedConsistency:
        return cls(Paths.of(pools, _doubt, seed=seed, counting=MAJORITY))

    def allocate(self, bench: Bench) -> None:
        serve(bench, _doubt, self.paths.price(bench.budget / len(bench)))


def _doubt(bench: Bench, prompt: int) -> float:
    """The chance that the leading answer does not stay ahead."""
    counts = [*bench.piles(prompt), 0, 0]
    return 1 - stays_ahead(counts[0], counts[1])
