"""Best-of-N against the verifier, weighted by default (paper section 5.1, appendix G; Li et al. 2022).

Invariant: it costs n generations, each scored once; it draws the very samples that `majority` draws.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from actors.strategy import Forecast, Grouping, Models, Prompt, Sampling, Solution
from orchestration.strategies import forecasting
from orchestration.strategies.call import grouping_of
from orchestration.strategies.choice import Choice
from orchestration.strategies.drawing import solution_of, whole_samples
from orchestration.strategies.selection import AGGREGATIONS, Aggregation, best, weighted
from orchestration.strategies.settings import (
    canonical,
    check_choice,
    check_count,
    check_flag,
    check_temperature,
    check_top_p,
)


@dataclass(frozen=True, slots=True)
class BestOfN:
    """`n` whole samples; the answer with the largest sum of values, or (`weighted` false) of the one best
    sample.

    `aggregation` makes a sample's value of its step scores. A sample whose score the purse refused has no
    vote as long as another was scored.
    """

    n: int
    weighted: bool = True
    aggregation: Aggregation = "last"
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        check_count("best_of_n.n", self.n)
        check_flag("best_of_n.weighted", self.weighted)
        check_choice("best_of_n.aggregation", self.aggregation, AGGREGATIONS)
        object.__setattr__(self, "temperature", check_temperature("best_of_n.temperature", self.temperature))
        object.__setattr__(self, "top_p", check_top_p("best_of_n.top_p", self.top_p))

    @property
    def text(self) -> str:
        return canonical("best_of_n", self)

    @property
    def uses_verifier(self) -> bool:
        return True

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
        return Choice(
            "weighted" if self.weighted else "best", Sampling(self.temperature, self.top_p), self.aggregation
        )

    def at(self, n: int) -> BestOfN:
        return replace(self, n=n)

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Raises PurseEmpty where not one sample could be drawn, UserError for scores outside [0, 1]."""
        sampling = Sampling(self.temperature, self.top_p)
        candidates = await whole_samples(models, self.n, sampling, with_scores=True)
        choose = weighted if self.weighted else best
        return solution_of(candidates, choose(candidates, self.aggregation))
