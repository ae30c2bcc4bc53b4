"""Greedy decoding: one sample at temperature 0, the baseline of every figure.

Invariant: it costs one generation and no verifier.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.strategy import Forecast, Grouping, Models, Prompt, Sampling, Solution
from orchestration.strategies import forecasting
from orchestration.strategies.call import grouping_of
from orchestration.strategies.drawing import solution_of, whole_samples
from orchestration.strategies.selection import majority
from orchestration.strategies.settings import canonical


@dataclass(frozen=True, slots=True)
class Greedy:
    """The one most likely token after another; the answer is whatever can be read of it."""

    @property
    def text(self) -> str:
        return canonical("greedy", self)

    @property
    def uses_verifier(self) -> bool:
        return False

    @property
    def sequences(self) -> int:
        return 1

    @property
    def grouping(self) -> Grouping:
        return grouping_of(self.text, 1)

    def forecast(self, typical: int, most: int) -> Forecast:
        return forecasting.samples(1, Sampling(temperature=0.0), typical)

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Raises PurseEmpty where the sample could not be drawn."""
        candidates = await whole_samples(models, 1, Sampling(temperature=0.0), with_scores=False)
        return solution_of(candidates, majority(candidates))
