"""Recursive self-aggregation (Venkatraman et al. 2025, 2509.26626): a population of solutions, each of which is written anew,
round after round, by a reviser that reads some of them.

With k = 1 each slot reads its own solution alone: that is self-refinement, chains of revisions with a context of 1, and their
very draws. With more, a slot reads k solutions that are chosen at random. Solutions stand at (slot, round).

Invariants: it costs population x (rounds + 1) generations; only the last population votes, where a slot that the purse left
without a new solution keeps the one that it has. What was cut off, or cannot be read, is shown to none.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from actors.errors import UserError
from actors.seeds import derive
from actors.strategy import (
    Candidate,
    Forecast,
    Grouping,
    Models,
    Prompt,
    PurseEmpty,
    Role,
    Sampling,
    Solution,
)
from orchestration.strategies.call import grouping_of
from orchestration.strategies.drawing import together
from orchestration.strategies.revision.drawing import ASKS, Attempts, attempt, fit, scored
from orchestration.strategies.selection import AGGREGATIONS, Aggregation, majority, weighted
from orchestration.strategies.settings import (
    canonical,
    check_choice,
    check_count,
    check_temperature,
    check_top_p,
)

Vote = Literal["majority", "weighted"]


@dataclass(frozen=True, slots=True)
class Rsa:
    """`population` slots, each written anew from `k` solutions in each of `rounds` rounds. `select` chooses among the last
    ones: "majority", or "weighted" by the verifier, whose step scores `aggregation` makes a value of."""

    population: int
    k: int
    rounds: int
    select: Vote = "majority"
    aggregation: Aggregation = "last"
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        for name in ("population", "k", "rounds"):
            check_count(f"rsa.{name}", getattr(self, name))
        check_count("rsa.population x (rounds + 1)", self.population * (self.rounds + 1))
        if self.k > self.population:
            mend = f"it must be at most population = {self.population}: a slot reads different solutions"
            raise UserError.of("rsa.k", self.k, mend)
        check_choice("rsa.select", self.select, get_args(Vote))
        check_choice("rsa.aggregation", self.aggregation, AGGREGATIONS)
        object.__setattr__(self, "temperature", check_temperature("rsa.temperature", self.temperature))
        object.__setattr__(self, "top_p", check_top_p("rsa.top_p", self.top_p))

    @property
    def text(self) -> str:
        return canonical("rsa", self)

    @property
    def asks(self) -> frozenset[Role]:
        return ASKS

    @property
    def reads(self) -> int:
        """Solutions that it shows the reviser at once."""
        return self.k

    @property
    def uses_verifier(self) -> bool:
        return self.select != "majority"

    @property
    def sequences(self) -> int:
        return self.population

    @property
    def grouping(self) -> Grouping:
        """A curve has all numbers of rounds of one population."""
        found = grouping_of(self.text, self.population * (self.rounds + 1))
        return replace(found, series=found.series.replace(f",rounds={self.rounds}", "", 1))

    def forecast(self, typical: int, most: int) -> Forecast:
        n = self.population * (self.rounds + 1)
        read = self.population * self.rounds * self.k
        return Forecast(n, n, n * typical, n, bound=n, revised=n, attempts=read, reads=self.k)

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Raises PurseEmpty where not one solution could be drawn, UserError for scores outside [0, 1]."""
        sampling, drawn = Sampling(self.temperature, self.top_p), list[Candidate]()
        standing: dict[int, tuple[Candidate, Attempts]] = {}
        for turn in range(self.rounds + 1):
            shown = {
                slot: self._shown(prompt, models.seed, slot, turn, standing)
                for slot in range(self.population)
            }
            # Places of a round stand together: a longer run has those of a shorter one before its own.
            made = await together(
                attempt(models, shown[slot], (slot, turn), turn * self.population + slot, sampling)
                for slot in range(self.population)
            )
            for slot, one in enumerate(made):
                if one is not None:
                    drawn.append(one)
                    standing[slot] = one, shown[slot]
            if not any(made):
                break
        if not standing:
            raise PurseEmpty("the purse was empty before the first candidate")
        last = {
            one.index: one for one in await together(self._judged(models, *one) for one in standing.values())
        }
        candidates = tuple(last.get(one.index) or replace(one, kept=False) for one in drawn)
        voting = list(last.values())
        answer = weighted(voting, self.aggregation) if self.uses_verifier else majority(voting)
        kept = sum(len(one.token_ids) for one in voting)
        return Solution(answer, candidates, generations=len(candidates), kept_tokens=kept)

    def _shown(
        self, prompt: Prompt, seed: int, slot: int, turn: int, standing: dict[int, tuple[Candidate, Attempts]]
    ) -> Attempts:
        """What a slot reads in a round: its own solution, or k that the strategy's own seed chooses, in random order."""
        usable: Sequence[int] = [at for at, (one, _) in sorted(standing.items()) if fit(one)]
        if self.k == 1:
            usable = [at for at in usable if at == slot]
        else:
            chance = random.Random(derive(seed, prompt.id, self.text, turn, slot))
            usable = chance.sample(usable, min(self.k, len(usable)))
        return tuple(standing[at][0].token_ids for at in usable)

    async def _judged(self, models: Models, one: Candidate, read: Attempts) -> Candidate:
        return await scored(models, one, read) if self.uses_verifier else one
