"""Self-consistency: n independent samples, and the answer that most of them give (Wang et al. 2022).

Invariant: it costs n generations and no verifier.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from actors.strategy import Forecast, Grouping, Models, Prompt, Sampling, Solution
from orchestration.strategies import forecasting
from orchestration.strategies.call import grouping_of
from orchestration.strategies.choice import Choice
from orchestration.strategies.drawing import solution_of, whole_samples
from orchestration.strategies.selection import majority
from orchestration.strategies.settings import canonical, check_count, check_temperature, check_top_p


@dataclass(frozen=True, slots=True)
class Majority:
    """`n` whole samples at places (0,) to (n-1,), one vote each; who votes and ties: see `selection`."""

    n: int
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        check_count("majority.n", self.n)
        object.__setattr__(self, "temperature", check_temperature("majority.temperature", self.temperature))
        object.__setattr__(self, "top_p", check_top_p("majority.top_p", self.top_p))

    @property
    def text(self) -> str:
        return canonical("majority", self)

    @property
    def uses_verifier(self) -> bool:
        return False

    @property
    def sequences(self) -> int:
        return self.n

    @property
    def grouping(self) -> Grouping:
        return grouping_of(self.text, self.n)

    def forecast(self, typical: int, most: int) -> Forecast:
        return forecasting.samples(self.n, Sampling(self.temperature, self.top_p), typical)

    @property
    def choice(self) -> Choice:
        return Choice("majority", Sampling(self.temperature, self.top_p))

    def at(self, n: int) -> Majority:
        return replace(self, n=n)

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Raises PurseEmpty where not one sample could be drawn."""
        sampling = Sampling(self.temperature, self.top_p)
        candidates = await whole_samples(models, self.n, sampling, with_scores=False)
        return solution_of(candidates, majority(candidates))
