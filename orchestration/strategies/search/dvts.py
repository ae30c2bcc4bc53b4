"""Diverse verifier tree search (Beeching et al. 2024, Hugging Face: "Scaling test-time compute with open models").

N/M independent subtrees, each a greedy search against the verifier: draw M first steps, keep the best one, draw M next
steps from it, and so on until the best one ends. No subtree can push out another, so a verifier that errs early costs
one of them. Best-of-N weighted over the finished candidates of all subtrees decides: those of their last rounds, or
(`finished` = "vote") all. A subtree is a beam search with one survivor; `rounds` has the search itself, and what it does
where the source is silent.

It costs N generations by the paper's accounting. In tokens every round draws and scores up to M steps for each subtree
that has not ended, and keeps one.

Where this departs from the authors' code (search-and-learn):
- All M nodes of a subtree's last round are candidates there, unfinished text too; here only those that finished vote.
- A step cut off by the token limit ends a solution there; here it is cut off, and ranks behind all others.
- A subtree ends at the first "boxed{" there; here at the end token alone, as everywhere.
- The 40th round draws to the end of the solution there; here it is a round like the others, as in `beam`.
- The best-scored candidate is the answer there, and votes are counted afterwards; here the weighted vote is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    check_width,
    width_of,
)


@dataclass(frozen=True, slots=True)
class Dvts:
    """`n` / `width` subtrees, `width` continuations of the best step of each (the source's M).

    `width` is a divisor of `n`, anything above `n` (one subtree), or "sqrt" as in `beam`. Subtree i has the first steps
    i * width to (i + 1) * width - 1, which are those of `beam`, so `dvts` with n = width is `beam` with n = width.
    `n` = 1 is one whole sample. `rounds` counts drawings, the first steps included. `aggregation` makes a node's value
    of its step scores. A solution that has `finished` before the others of its subtree goes on to "compete" with them, or
    leaves them to "vote".
    """

    by_steps: ClassVar[bool] = True
    n: int
    width: int | str = 4
    rounds: int = 40
    aggregation: Aggregation = "last"
    temperature: float = 1.0
    top_p: float = 1.0
    finished: Finished = "compete"

    def __post_init__(self) -> None:
        check_count("dvts.n", self.n)
        check_width("dvts.width", self.n, self.width)
        check_count("dvts.rounds", self.rounds)
        check_choice("dvts.aggregation", self.aggregation, AGGREGATIONS)
        object.__setattr__(self, "temperature", check_temperature("dvts.temperature", self.temperature))
        object.__setattr__(self, "top_p", check_top_p("dvts.top_p", self.top_p))
        check_choice("dvts.finished", self.finished, FINISHED)

    @property
    def text(self) -> str:
        return canonical("dvts", self, always=("n", "width"))

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
        return forecasting.search(self.n, self.rounds, Sampling(self.temperature, self.top_p), typical, most)

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Costs n generations, dropped nodes included; where the purse ran empty early, the first steps drawn.

        All leaves of the subtrees are candidates: their last pools by place, then (kept false) the dropped ones by
        place. Raises PurseEmpty where nothing was completed nor cut off, and no answer can be read of what there is.
        """
        width = width_of(self.n, self.width)
        rules = Rules(
            places=1,
            width=width,
            rounds=self.rounds,
            aggregation=self.aggregation,
            sampling=Sampling(self.temperature, self.top_p),
            finished=self.finished,
        )
        return await search(models, rules, [range(start, start + width) for start in range(0, self.n, width)])
