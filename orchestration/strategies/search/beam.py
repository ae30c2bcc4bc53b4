"""Beam search against the verifier (paper section 5.2 and appendix C): N beams, M continuations of each
survivor.

Draw N first steps; score each as soon as it is there; keep the N/M best; draw M next steps from each; and so
on until no survivor can go on, or for 40 rounds. Best-of-N weighted over the finished candidates decides: those
of the last pool, or (`finished` = "vote") all. `rounds` has the search itself, and what it does where the paper is
silent.

It costs N generations by the paper's accounting. In tokens every round draws and scores up to N steps, most of which
are dropped; with `every` = g only the last of each g steps is drawn N times, the others N/M times.

`every` is the granularity g of VG-Search (Chen et al. 2025, section 3): a survivor is first drawn on by g - 1
steps, alone and unscored, then branches. As there, first steps are scored after one. Unlike there, one that ends
on the way is a finished beam like any other, instead of adding to the number of beams. `merge` drops
duplicates, as `filter_duplicates` of search-and-learn (Hugging Face) does: of the beams of a round with equal
tokens the first competes, and if that leaves fewer than N/M, these share the N continuations. Unlike there,
finished beams are merged too, and nothing is ever copied to fill up a pool: a vote belongs to one draw.
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
    check_flag,
    check_temperature,
    check_top_p,
    check_width,
    width_of,
)


@dataclass(frozen=True, slots=True)
class Beam:
    """`n` beams, `width` continuations of each survivor (the paper's M), so n / width survivors a round.

    `width` is a divisor of `n`, anything above `n` (one survivor, `n` continuations), or "sqrt": the divisor
    of `n` nearest to its square root by ratio, the smaller of two. `n` = 1 is one whole sample. `rounds`
    counts rounds of scoring, that of the first steps included. `aggregation` makes a node's value of its step
    scores. From one scoring to the next a beam grows by `every` steps, and branches at the last of them.
    `merge` makes one node of the continuations of a round that have equal tokens. A beam that has `finished` before the
    others goes on to "compete" for a place, or leaves them to "vote".
    """

    by_steps: ClassVar[bool] = True
    n: int
    width: int | str = 4
    rounds: int = 40
    aggregation: Aggregation = "last"
    temperature: float = 1.0
    top_p: float = 1.0
    every: int = 1
    merge: bool = False
    finished: Finished = "compete"

    def __post_init__(self) -> None:
        check_count("beam.n", self.n)
        check_width("beam.width", self.n, self.width)
        check_count("beam.rounds", self.rounds)
        check_choice("beam.aggregation", self.aggregation, AGGREGATIONS)
        object.__setattr__(self, "temperature", check_temperature("beam.temperature", self.temperature))
        object.__setattr__(self, "top_p", check_top_p("beam.top_p", self.top_p))
        check_count("beam.every", self.every)
        check_flag("beam.merge", self.merge)
        check_choice("beam.finished", self.finished, FINISHED)

    @property
    def text(self) -> str:
        return canonical("beam", self, always=("n", "width"))

    @property
    def uses_verifier(self) -> bool:
        return True

    @property
    def sequences(self) -> int:
        return self.n

    @property
    def continuations(self) -> int:
        """Steps drawn from each survivor."""
        return width_of(self.n, self.width)

    @property
    def survivors(self) -> int:
        """Places that a pool competes for."""
        return self.n // self.continuations

    @property
    def grouping(self) -> Grouping:
        return grouping_of(self.text, self.n)

    def forecast(self, typical: int, most: int) -> Forecast:
        """Of each `every` steps after the first all but one are drawn by survivors alone."""
        plain = forecasting.search(self.n, self.rounds, Sampling(self.temperature, self.top_p), typical, most)
        if self.n == 1 or self.every == 1:
            return plain
        steps, alone = forecasting.steps_of(typical), self.survivors * (self.every - 1)
        again = (steps - 1) / self.every
        rounds = min(self.rounds, most)
        return replace(
            plain,
            tokens=int((self.n + again * (self.n + alone)) * typical / steps),
            candidates=int(self.n * (1 + again)),
            bound=self.n * rounds + alone * (rounds - 1),
        )

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Costs n generations, dropped beams included; where the purse ran empty early, the first steps
        drawn.

        All leaves of the tree are candidates: the last pool by place, then (kept false) the dropped ones by
        place. Raises PurseEmpty where nothing was completed nor cut off, and no answer can be read of what
        there is.
        """
        rules = Rules(
            places=self.survivors,
            width=self.continuations,
            rounds=self.rounds,
            aggregation=self.aggregation,
            sampling=Sampling(self.temperature, self.top_p),
            every=self.every,
            merge=self.merge,
            finished=self.finished,
        )
        return await search(models, rules, [range(self.n)])
