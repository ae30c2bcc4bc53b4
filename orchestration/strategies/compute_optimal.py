"""Compute-optimal: each prompt gets what a plan says is best for it, by its difficulty or by the price of a FLOP.

With a budget of n generations for each prompt (the paper's; Snell et al. 2024, section 3.2): the verifier's final values of
a few whole samples tell its bin, or its value of the prompt alone, and the bin the fixed strategy that was best there with
that budget. Without n it asks the plan's value table, after each piece of work, for the option with the largest expected
accuracy less the price of its FLOPs, and answers where none is above stopping. In a run without a price FLOPs are free.

It knows plans and strategies, nothing of budgets, replicas or labels. Invariants: samples that told a bin are those that the
strategy after them draws, never drawn again; the answer is that of all samples, or of a search that came to its end and whose
answer is likelier; a decision that stands on record is repeated.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from actors.errors import UserError
from actors.strategy import (
    Candidate,
    Decision,
    Described,
    Forecast,
    Grouping,
    Models,
    Prompt,
    PurseEmpty,
    Role,
    Sampling,
    Solution,
    Terms,
    asked_by,
)
from orchestration.strategies.call import grouping_of
from orchestration.strategies.drawing import joined, solution_of, together, whole_sample
from orchestration.strategies.selection import weighted
from orchestration.strategies.settings import canonical, check_count
from orchestration.strategies.standing import Standing, standing
from orchestration.strategies.tally import Counting, counting_as
from orchestration.strategies.watched import Watched

if TYPE_CHECKING:
    from orchestration.strategies.bound import Bound

SAMPLING: Final = Sampling()
COUNTING: Final = Counting("weighted")
FREE: Final = Terms(0.0)

_ROOM: Final = 1.5
"""What must be there before an option begins, of the FLOPs it is expected to take: few take more; the rest comes back."""

DIFFICULTY: Final = "difficulty"
"""The stage of the one decision of a prompt that goes by its bin: the cell is the bin, the chance the mean value."""


@dataclass(frozen=True, slots=True)
class ComputeOptimal:
    """`plan` is the plan's file (None: the one of the run), or in results its name, which is made of its content. `n`
    generations for each prompt, or (None) as many as the price allows. It solves once it is `bound` to its plan."""

    plan: str | None = None
    n: int | None = None
    bound: Bound | None = field(default=None, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.plan is not None and (not isinstance(self.plan, str) or not self.plan.strip()):
            raise UserError.of("compute_optimal.plan", self.plan, "give the file of a plan, in quotes")
        if self.n is not None:
            check_count("compute_optimal.n", self.n)

    def bind(self, bound: Bound) -> ComputeOptimal:
        """The same with its plan in hand, by whose name its results are known."""
        found = replace(self, plan=bound.name)
        object.__setattr__(found, "bound", bound)
        return found

    @property
    def text(self) -> str:
        return canonical("compute_optimal", self)

    @property
    def asks(self) -> frozenset[Role]:
        """The policy, and whoever an option of its plan asks besides."""
        return frozenset[Role]({"policy"}).union(*map(asked_by, self._options)) - {"verifier"}

    @property
    def reads(self) -> int:
        """Attempts that it shows a reviser at once, at most."""
        return max((getattr(option, "reads", 0) for option in self._options), default=0)

    @property
    def uses_verifier(self) -> bool:
        return True

    @property
    def judges_prompts(self) -> bool:
        """Whether it asks the verifier for the value of each prompt alone."""
        return self.bound is not None and self.bound.judges_prompts

    @property
    def by_steps(self) -> bool:
        """Whether an option of its plan draws step by step."""
        return any(getattr(option, "by_steps", False) for option in self._options)

    @property
    def sequences(self) -> int:
        widest = [option.sequences for option in self._options]
        if self.bound is not None and self.n is None:
            counts = (0, *self.bound.samples)
            widest += [b - a for a, b in itertools.pairwise(counts)]
        return max([self._probes or self.n or 1, *widest])

    @property
    def grouping(self) -> Grouping:
        found = grouping_of(self.text, self.n)
        # One that goes by a price is no point on the curve of those with a budget for each prompt.
        return found if self.n is not None else replace(found, series=f"{found.series} by price")

    def forecast(self, typical: int, most: int) -> Forecast:
        """By its bin the largest of its options, after the samples that tell the bin. By a price all that is on offer: as if
        nothing ever stopped it."""
        if self.bound is None:
            n = self.n or 1
            return Forecast(n, n, n * typical, n)
        each = [option.forecast(typical, most) for option in self._options]
        first = self._probes if self.n is not None else self.bound.samples[-1]
        join = max if self.n is not None else sum
        revised = join([0, *(one.most_revised for one in each)])
        # Of options that different models draw for, each model's largest.
        bounds = [one.bound - one.most_revised for one in each if one.bound is not None]
        return Forecast(
            generations=self.n or first + sum(one.generations for one in each),
            sequences=first + join([0, *(one.sequences for one in each)]),
            tokens=first * typical + join([0, *(one.tokens for one in each)]),
            candidates=first + join([0, *(one.candidates for one in each)]),
            bound=first + join([0, *bounds]) + revised if len(bounds) == len(each) else None,
            revised=join([0, *(one.revised for one in each)]),
            attempts=join([0, *(one.attempts for one in each)]),
            reads=self.reads,
            revised_bound=revised,
        )

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """By its bin it costs n generations, and beside them what told the bin and served nothing else; by a price those of
        all that it did. Raises PurseEmpty where not one candidate could be drawn."""
        if self.bound is None:
            raise ValueError(f"{self.text} has no plan in hand: bind it first")
        if self.n is None:
            return await _Priced(self.bound, prompt, models).solve()
        return await self._by_bin(self.bound, prompt, models)

    @property
    def _options(self) -> tuple[Described, ...]:
        if self.bound is None:
            return ()
        return tuple((self.bound.searches if self.bound.best is None else self.bound.best).values())

    @property
    def _probes(self) -> int:
        """Samples that tell a bin."""
        if self.bound is None or self.bound.difficulty is None:
            return 0
        return self.bound.difficulty.samples

    async def _by_bin(self, bound: Bound, prompt: Prompt, models: Models) -> Solution:
        assert bound.difficulty is not None
        assert bound.best is not None
        before = models.market.spent
        probes = await _drawn(models, range(self._probes))
        if bound.difficulty.of_prompt:
            value = await models.verifier.prompt_value()
        elif probes:
            value = math.fsum(one.scores[-1] if one.scores else 0.0 for one in probes) / len(probes)
        else:
            raise PurseEmpty("the purse was empty before the first candidate")
        one = bound.difficulty.bin_of(value)
        option = bound.best[one]
        took = models.market.spent - before
        decision = Decision(DIFFICULTY, one, value, 0.0, option.text, 0.0, took)
        try:
            solution = await option.solve(prompt, models)
        except PurseEmpty:
            if not probes:
                raise
            # What told its bin is all that it has.
            solution = solution_of(tuple(probes), weighted(probes))
            return replace(solution, decisions=(decision,))
        # Whole samples are one with those that told the bin, as far as it drew them.
        same = option.forecast(1, 1).shared == SAMPLING
        used = {candidate.index for candidate in solution.candidates} if same else set()
        alone = [probe for probe in probes if probe.index not in used]
        candidates = joined(solution.candidates, [replace(probe, kept=False) for probe in alone])
        indices = tuple(candidate.index for candidate in candidates[len(solution.candidates) :])
        return replace(solution, candidates=candidates, decisions=(decision,), probes=indices)


async def _drawn(models: Models, places: range) -> list[Candidate]:
    """Whole samples at these places, as far as the purse allows."""
    found = await together(whole_sample(models, at, SAMPLING, with_scores=True) for at in places)
    return [one for one in found if one is not None]


class _Priced:
    """One prompt's way at the price of the moment."""

    def __init__(self, bound: Bound, prompt: Prompt, models: Models) -> None:
        # Not above: it brings numpy, and whoever only names strategies waits for none.
        from orchestration.allocation.walk import Walk

        self._bound, self._prompt, self._models = bound, prompt, models
        self._walk = Walk(bound.chooser(floor=self._terms.floor))
        self._past = [one for one in models.market.past if one.option is not None]
        if self._past and self._past[-1] is models.market.past[-1]:
            # It was cut short: not repeated but taken to its end, where that can be paid.
            self._past[-1] = replace(self._past[-1], repeated=False)
        # The verifier's value of the prompt alone, once it was asked.
        self._value: float | None = None
        self._samples: list[Candidate] = []
        self._searches: list[Solution] = []
        self._now: Standing = standing((), COUNTING)
        # What the last search that came to its end found; one that was cut short counts where there is nothing else.
        self._found: Solution | None = None

    @property
    def _terms(self) -> Terms:
        return self._models.market.terms or FREE

    async def solve(self) -> Solution:
        while (option := (decided := self._decide()).option) is not None:
            watched, before = Watched(self._models), self._models.market.spent
            now, stood = None, self._found
            if await self._afford(decided):
                now = await self._take(option, watched)
            took = self._models.market.spent - before
            if now is None:
                self._walk.cut_short(took)
                break
            if self._walk.arrive(now.evidence, took):
                self._found = stood
            else:
                self._now = now
        return self._solution()

    def _decide(self) -> Decision:
        """As it stands on record, or at the price of the moment."""
        repeated = self._walk.repeat(self._past.pop(0)) if self._past else None
        if repeated is None:
            self._past.clear()
            return self._walk.decide(self._terms.price)
        return repeated

    async def _afford(self, decided: Decision) -> bool:
        """Whether it may begin what it decided: a search that ends half-way is paid for nothing."""
        if decided.repeated or self._walk.begins(decided):
            return True
        try:
            await self._models.market.afford(int(_ROOM * self._bound.expects(decided)))
        except PurseEmpty:
            return False
        return True

    async def _take(self, option: str, watched: Watched) -> Standing | None:
        """Where it stands after an option; None where that was cut short."""
        if self._walk.judges(option):
            return await self._ask(watched)
        work = self._walk.work(option)
        return await (self._search if work in self._bound.searches else self._sample)(work, watched)

    async def _ask(self, watched: Watched) -> Standing | None:
        try:
            self._value = await watched.verifier.prompt_value()
        except PurseEmpty:
            return None
        return standing((), COUNTING, prompt=self._value)

    async def _sample(self, count: str, watched: Watched) -> Standing | None:
        """Draw on to so many samples."""
        self._samples += await _drawn(watched, range(len(self._samples), int(count)))
        return None if watched.refused else standing(self._samples, COUNTING, prompt=self._value)

    async def _search(self, text: str, watched: Watched) -> Standing | None:
        try:
            found = await self._bound.searches[text].solve(self._prompt, watched)
        except PurseEmpty:
            return None
        self._searches.append(found)
        if watched.refused:
            return None
        self._found = found
        counting = counting_as(COUNTING, self._bound.searches[text])
        return standing(found.candidates, counting, before=self._now, prompt=self._value)

    def _solution(self) -> Solution:
        """All that was drawn, of which those vote that the answer is made of."""
        decisions = tuple(self._walk.decisions)
        chosen = self._found
        if chosen is None and not self._samples and self._searches:
            chosen = self._searches[-1]
        if not self._samples and not self._searches:
            if decisions[-1].option is not None:
                raise PurseEmpty("the purse was empty before the first candidate")
            return Solution(None, (), 0, 0, decisions)
        mine = solution_of(tuple(self._samples), weighted(self._samples))
        chosen = mine if chosen is None else chosen
        candidates: tuple[Candidate, ...] = ()
        for one in (mine, *self._searches):
            kept = one.candidates if one is chosen else [replace(c, kept=False) for c in one.candidates]
            candidates = joined(candidates, kept)
        generations = mine.generations + sum(one.generations for one in self._searches)
        return Solution(chosen.answer, candidates, generations, chosen.kept_tokens, decisions)
