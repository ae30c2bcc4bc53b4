"""Search under the reviser's distribution: it reads the best candidates that another strategy found, and draws every step of
a search after them (Snell et al. 2024, section 8, name it as future work).

`refine` mends whole attempts one after the other; here the verifier has its say at each step of the next one. So a strategy
that the policy draws for goes first; the `best` of its candidates by the verifier's value are the attempts that the reviser
reads, the best of them last, right before what it draws, as those nearest to a right answer stood when it learnt. Then the
search runs as ever, only that the reviser draws for it. Best-of-N weighted over the candidates of both decides.

Places are the search's own, so that searches after the same attempts share steps. Invariants: it costs what both cost alone
in generations, and reading the attempts by the exact accounting; where none can be shown the reviser reads the prompt alone.
What the purse refuses the search takes nothing from what was found before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar

from actors.strategy import (
    Described,
    Forecast,
    Grouping,
    Models,
    Prompt,
    PurseEmpty,
    Role,
    Solution,
)
from orchestration.strategies.call import grouping_of
from orchestration.strategies.drawing import joined
from orchestration.strategies.revision.after import After
from orchestration.strategies.revision.drawing import ASKS_BOTH
from orchestration.strategies.revision.nested import check_nested, fittest
from orchestration.strategies.selection import AGGREGATIONS, Aggregation, weighted
from orchestration.strategies.settings import canonical, check_choice, check_count


@dataclass(frozen=True, slots=True)
class RevisionSearch:
    """The strategy `search`, with the reviser in the policy's place, after the `best` candidates that `of` found.
    `aggregation` makes a value of step scores, for what is shown and for the vote."""

    of: Described
    search: Described
    best: int
    aggregation: Aggregation = "last"
    nested: ClassVar[tuple[str, ...]] = ("of", "search")

    def __post_init__(self) -> None:
        check_count("revision_search.best", self.best)
        check_choice("revision_search.aggregation", self.aggregation, AGGREGATIONS)
        why = "its candidates must be the policy's, with the verifier's values, which say what the reviser reads"
        check_nested("revision_search.of", self.of, why)
        why = "it must draw of the policy alone, whose place the reviser takes, and by the verifier, for the vote"
        check_nested("revision_search.search", self.search, why)

    @property
    def text(self) -> str:
        return canonical("revision_search", self)

    @property
    def asks(self) -> frozenset[Role]:
        return ASKS_BOTH

    @property
    def reads(self) -> int:
        """Attempts that it shows the reviser at once, at most."""
        return self.best

    @property
    def uses_verifier(self) -> bool:
        return True

    @property
    def by_steps(self) -> bool:
        """Whether one of the two draws step by step."""
        return any(getattr(one, "by_steps", False) for one in (self.of, self.search))

    @property
    def sequences(self) -> int:
        return max(self.of.sequences, self.search.sequences)

    @property
    def grouping(self) -> Grouping:
        """A curve has all budgets that are shared in one ratio between the two."""
        first, then = self.of.grouping, self.search.grouping
        counts = first.n, then.n
        n = None if None in counts else sum(one or 0 for one in counts)
        mine = grouping_of(self.text, n)
        series = mine.series
        for one, found in ((self.of, first), (self.search, then)):
            series = series.replace(repr(one.text), repr(found.series), 1)
        if first.n and then.n:
            ratio = Fraction(first.n, then.n)
            series = f"{series[:-1]},ratio={ratio.numerator}:{ratio.denominator})"
        return Grouping(mine.family, series, n)

    def forecast(self, typical: int, most: int) -> Forecast:
        """All that the search draws is the reviser's, which reads the attempts once for all of it."""
        first, then = self.of.forecast(typical, most), self.search.forecast(typical, most)
        known = first.bound is not None and then.bound is not None
        return Forecast(
            generations=first.generations + then.generations,
            sequences=first.sequences + then.sequences,
            tokens=first.tokens + then.tokens,
            candidates=first.candidates + then.candidates,
            bound=(first.bound or 0) + (then.bound or 0) if known else None,
            begins=None if first.shared is None else (first.shared, first.sequences),
            revised=then.sequences,
            attempts=self.best,
            reads=self.reads,
            revised_bound=then.bound,
        )

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Raises PurseEmpty where `of` has not one candidate, UserError for scores outside [0, 1]."""
        found = await self.of.solve(prompt, models)
        shown = fittest(found.candidates, self.best, self.aggregation)
        read = tuple(one.token_ids for one in reversed(shown))
        try:
            more = await self.search.solve(prompt, After(models, read))
        except PurseEmpty:
            more = Solution(None, (), generations=0, kept_tokens=0)
        candidates = joined(found.candidates, more.candidates)
        return replace(
            found,
            answer=weighted(candidates, self.aggregation),
            candidates=candidates,
            generations=found.generations + more.generations,
            kept_tokens=found.kept_tokens + more.kept_tokens,
        )
