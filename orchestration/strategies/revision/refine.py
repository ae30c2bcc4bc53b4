"""Search, then revise: the best candidates that a search found begin chains of revisions (Snell et al. 2024, section 8, name
it as future work).

A search tries other ways, revisions mend what is nearly right; so a strategy that the policy draws for goes first, and a
reviser goes on from the `best` of its candidates by the verifier's value, each in a chain of its own. The answer is chosen as
of chains of revisions: best-of-N weighted within each chain, then among those that win there, and every other candidate,
which is a chain of one. Attempts stand at (rank, step).

Invariants: it costs what the search does and best x attempts generations; without a candidate that can be shown the answer is
the search's own votes. What the purse refuses shortens chains, and takes nothing from what was found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from actors.strategy import (
    Described,
    Forecast,
    Grouping,
    Models,
    Prompt,
    Role,
    Sampling,
    Solution,
)
from orchestration.strategies.call import grouping_of
from orchestration.strategies.drawing import together
from orchestration.strategies.revision.drawing import ASKS_BOTH, Chain
from orchestration.strategies.revision.nested import check_nested, fittest
from orchestration.strategies.revision.selection import chains_in, select
from orchestration.strategies.selection import AGGREGATIONS, Aggregation
from orchestration.strategies.settings import (
    canonical,
    check_choice,
    check_count,
    check_temperature,
    check_top_p,
)


@dataclass(frozen=True, slots=True)
class Refine:
    """`attempts` after each of the `best` candidates that the strategy `of` found, each of which reads the last `context`
    before it. `aggregation` makes a value of step scores; `temperature` and `top_p` are the reviser's."""

    of: Described
    best: int
    attempts: int
    context: int = 4
    aggregation: Aggregation = "last"
    temperature: float = 1.0
    top_p: float = 1.0
    nested: ClassVar[tuple[str, ...]] = ("of",)

    def __post_init__(self) -> None:
        for name in ("best", "attempts", "context"):
            check_count(f"refine.{name}", getattr(self, name))
        check_count("refine.best x attempts", self.best * self.attempts)
        check_choice("refine.aggregation", self.aggregation, AGGREGATIONS)
        object.__setattr__(self, "temperature", check_temperature("refine.temperature", self.temperature))
        object.__setattr__(self, "top_p", check_top_p("refine.top_p", self.top_p))
        why = "its candidates must be the policy's, with the verifier's values, which say what is revised"
        check_nested("refine.of", self.of, why)

    @property
    def text(self) -> str:
        return canonical("refine", self)

    @property
    def asks(self) -> frozenset[Role]:
        return ASKS_BOTH

    @property
    def reads(self) -> int:
        """Attempts that it shows the reviser at once, at most."""
        return min(self.attempts, self.context)

    @property
    def uses_verifier(self) -> bool:
        return True

    @property
    def chained(self) -> bool:
        """Whether one attempt of each chain votes."""
        return True

    @property
    def by_steps(self) -> bool:
        """Whether the search draws step by step."""
        return bool(getattr(self.of, "by_steps", False))

    @property
    def sequences(self) -> int:
        return max(self.of.sequences, self.best)

    @property
    def grouping(self) -> Grouping:
        """A curve has all budgets of the search."""
        found = self.of.grouping
        n = None if found.n is None else found.n + self.best * self.attempts
        mine = grouping_of(self.text, n)
        return Grouping(mine.family, mine.series.replace(self.of.text, found.series, 1), n)

    def forecast(self, typical: int, most: int) -> Forecast:
        found, more = self.of.forecast(typical, most), self.best * self.attempts
        each = sum(min(1 + step, self.context) for step in range(self.attempts))
        begins = None if found.shared is None else (found.shared, found.sequences)
        return Forecast(
            generations=found.generations + more,
            sequences=found.sequences + more,
            tokens=found.tokens + more * typical,
            candidates=found.candidates + more,
            bound=None if found.bound is None else found.bound + more,
            begins=begins,
            revised=more,
            attempts=self.best * each,
            reads=self.reads,
        )

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Raises PurseEmpty where the search has not one candidate, UserError for scores outside [0, 1]."""
        found = await self.of.solve(prompt, models)
        begun = fittest(found.candidates, self.best, self.aggregation)
        first = 1 + max((one.index for one in found.candidates), default=-1)
        sampling = Sampling(self.temperature, self.top_p)
        revised = await together(
            Chain(models, rank, self.context, sampling, True, [one.token_ids]).attempts(
                range(1, self.attempts + 1), first + rank * self.attempts, parent=one.index
            )
            for rank, one in enumerate(begun)
        )
        drawn = [one for more in revised for one in more]
        candidates = (*found.candidates, *drawn)
        return replace(
            found,
            answer=select(chains_in(candidates), "hierarchical", self.aggregation),
            candidates=candidates,
            generations=found.generations + len(drawn),
            kept_tokens=found.kept_tokens + sum(len(one.token_ids) for one in drawn),
        )
