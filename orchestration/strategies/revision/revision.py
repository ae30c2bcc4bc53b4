"""Revisions: chains of attempts, each drawn by a reviser that reads the last ones before it (Snell et al. 2024, section 6).

`parallel` chains of `sequential` attempts each; the first of a chain reads the prompt alone, or is the policy's own sample.
Sequential revisions search near an answer, parallel ones try other ways: which ratio is best hangs on difficulty and budget
(section 6.2). Attempts stand at (chain, step), so chains of any length and number share what they have in common; samples of
the policy are those of every strategy that draws them.

Invariants: it costs sequential x parallel generations; a chain that is cut short by the purse keeps what it has. An attempt
that was cut off by the token limit, or that cannot be read, is shown to none after it: no reviser has learnt from such.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

from actors.strategy import (
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
from orchestration.strategies.drawing import solution_of, together
from orchestration.strategies.revision.drawing import ASKS, ASKS_BOTH, Chain
from orchestration.strategies.revision.selection import SELECTS, Select, select
from orchestration.strategies.selection import AGGREGATIONS, Aggregation
from orchestration.strategies.settings import (
    canonical,
    check_choice,
    check_count,
    check_temperature,
    check_top_p,
)

First = Literal["reviser", "policy"]


@dataclass(frozen=True, slots=True)
class Revision:
    """`parallel` chains of `sequential` attempts, of which each reads the last `context` before it.

    `select` chooses the answer: "hierarchical" and "weighted" (flat) ask the verifier, whose step scores `aggregation` makes
    a value of; "majority" asks none. An attempt whose score the purse refused has no vote as long as another was scored.
    `first` says whose the first attempt of a chain is.
    """

    sequential: int
    parallel: int
    select: Select = "hierarchical"
    context: int = 4
    aggregation: Aggregation = "last"
    temperature: float = 1.0
    top_p: float = 1.0
    first: First = "reviser"

    def __post_init__(self) -> None:
        for name in ("sequential", "parallel", "context"):
            check_count(f"revision.{name}", getattr(self, name))
        check_count("revision.sequential x parallel", self.sequential * self.parallel)
        check_choice("revision.select", self.select, SELECTS)
        check_choice("revision.aggregation", self.aggregation, AGGREGATIONS)
        check_choice("revision.first", self.first, get_args(First))
        object.__setattr__(self, "temperature", check_temperature("revision.temperature", self.temperature))
        object.__setattr__(self, "top_p", check_top_p("revision.top_p", self.top_p))

    @property
    def text(self) -> str:
        return canonical("revision", self)

    @property
    def asks(self) -> frozenset[Role]:
        return ASKS if self.first == "reviser" else ASKS_BOTH

    @property
    def reads(self) -> int:
        """Attempts that it shows the reviser at once, at most."""
        return min(self.sequential - 1, self.context)

    @property
    def uses_verifier(self) -> bool:
        return self.select != "majority"

    @property
    def chained(self) -> bool:
        """Whether one attempt of each chain votes."""
        return self.select == "hierarchical"

    @property
    def sequences(self) -> int:
        return self.parallel

    @property
    def grouping(self) -> Grouping:
        """A curve has all budgets of samples alone, of one chain alone, or of one ratio of sequential to parallel."""
        sides = f"sequential={self.sequential}", f"parallel={self.parallel}"
        if self.sequential == 1:
            curve = sides[0]
        elif self.parallel == 1:
            curve = sides[1]
        else:
            ratio = Fraction(self.sequential, self.parallel)
            curve = f"ratio={ratio.numerator}:{ratio.denominator}"
        found = grouping_of(self.text, self.sequential * self.parallel)
        series = found.series.replace(",".join(sides), curve, 1)
        return Grouping(found.family, series, found.n)

    def forecast(self, typical: int, most: int) -> Forecast:
        n = self.sequential * self.parallel
        each = sum(min(step, self.context) for step in range(self.sequential))
        sampled = self.parallel if self.first == "policy" else 0
        return Forecast(
            n,
            n,
            n * typical,
            n,
            bound=n,
            begins=(Sampling(self.temperature, self.top_p), sampled) if sampled else None,
            revised=n - sampled,
            attempts=self.parallel * each,
            reads=self.reads,
        )

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Raises PurseEmpty where not one attempt could be drawn, UserError for scores outside [0, 1]."""
        length, sampling = self.sequential, Sampling(self.temperature, self.top_p)
        chains = await together(
            Chain(models, number, self.context, sampling, self.uses_verifier).attempts(
                range(length), number * length, sample=self.first == "policy"
            )
            for number in range(self.parallel)
        )
        candidates = tuple(one for chain in chains for one in chain)
        if not candidates:
            raise PurseEmpty("the purse was empty before the first candidate")
        return solution_of(candidates, select(chains, self.select, self.aggregation))
