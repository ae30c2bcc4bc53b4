"""Lookahead search against the verifier (paper section 5.2): beam search that values a step by what follows it.

Each new step is continued by up to k further steps at temperature 0, ending early at the end of the solution; the
verifier's value at the end of that rollout is the step's. All else is beam search, which is k = 0. `rounds` has the
search itself, and what it does where the paper is silent.

It costs N (k + 1) generations by the paper's accounting, whatever the rollouts really took. In tokens each of N steps a
round has up to k rollout steps beside it, drawn and scored; equal prefixes share their rollouts, so steps that are
drawn twice are looked ahead of once, and a rollout that begins like a longer one is part of it.

A rollout is a valuation: it is never extended, never votes and is no candidate. Its tokens are on the books as pruned,
but where the search draws the same tokens and keeps them. In search-and-learn (Hugging Face) the rollout of a beam is
drawn but not scored, so that its k has no effect; here, as in the paper, it decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from actors.strategy import Forecast, Grouping, Models, Prompt, Sampling, Solution
from orchestration.strategies import forecasting
from orchestration.strategies.call import grouping_of
from orchestration.strategies.search.rounds import FINISHED, Finished, Rules, search
from orchestration.strategies.selection import AGGREGATIONS, Aggregation
from orchestration.strategies.settings import (
    canonical,
    check_choice,
    check_count,
    check_temperature,
    check_top_p,
    check_whole,
    check_width,
    width_of,
)


@dataclass(frozen=True, slots=True)
class Lookahead:
    """`n` beams, `width` continuations of each survivor, valued `k` steps ahead.

    `n`, `width`, `rounds`, `temperature`, `top_p` and `finished` are those of `beam`; `temperature` is that of the steps,
    never of the rollouts. `aggregation` makes a step's value of all step scores up to the end of its rollout; the vote
    counts a candidate's own scores. `n` = 1 is one whole sample, for there is nothing to choose.
    """

    by_steps: ClassVar[bool] = True
    n: int
    width: int | str = 4
    k: int = 3
    rounds: int = 40
    aggregation: Aggregation = "last"
    temperature: float = 1.0
    top_p: float = 1.0
    finished: Finished = "compete"

    def __post_init__(self) -> None:
        check_count("lookahead.n", self.n)
        check_width("lookahead.width", self.n, self.width)
        check_whole("lookahead.k", self.k)
        check_count("lookahead.rounds", self.rounds)
        check_choice("lookahead.aggregation", self.aggregation, AGGREGATIONS)
        object.__setattr__(self, "temperature", check_temperature("lookahead.temperature", self.temperature))
        object.__setattr__(self, "top_p", check_top_p("lookahead.top_p", self.top_p))
        check_choice("lookahead.finished", self.finished, FINISHED)

    @property
    def text(self) -> str:
        return canonical("lookahead", self, always=("n", "width", "k"))

    @property
    def uses_verifier(self) -> bool:
        return True

    @property
    def sequences(self) -> int:
        return self.n

    @property
    def generations(self) -> int:
        """The paper's cost of the whole search."""
        return self.n * (self.k + 1) if self.n > 1 else 1

    @property
    def grouping(self) -> Grouping:
        return grouping_of(self.text, self.generations)

    def forecast(self, typical: int, most: int) -> Forecast:
        """A rollout ends with the solution; at worst all k steps follow each one that is drawn."""
        plain = forecasting.search(self.n, self.rounds, Sampling(self.temperature, self.top_p), typical, most)
        if self.n == 1:
            return plain
        steps = forecasting.steps_of(typical)
        ahead = sum(min(self.k, steps - step) for step in range(1, steps + 1))
        return replace(
            plain,
            generations=self.generations,
            sequences=self.generations,
            tokens=self.n * (typical + typical * ahead // steps),
            bound=self.n * min(self.rounds, most) * (1 + self.k),
        )

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Costs `generations`; where the purse ran empty early, k + 1 for each first step drawn.

        All leaves of the tree are candidates: the last pool by place, then (kept false) the dropped ones by place.
        Raises PurseEmpty where nothing was completed nor cut off, and no answer can be read of what there is.
        """
        width = width_of(self.n, self.width)
        rules = Rules(
            places=self.n // width,
            width=width,
            rounds=self.rounds,
            aggregation=self.aggregation,
            sampling=Sampling(self.temperature, self.top_p),
            ahead=self.k,
            finished=self.finished,
        )
        return await search(models, rules, [range(self.n)])
