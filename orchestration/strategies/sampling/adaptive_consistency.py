"""Adaptive consistency: samples until the leading answer is likely to stay ahead (Aggarwal et al. 2023, arXiv 2305.11860).

The paper's Beta rule: of a samples for the leading answer and b for the runner-up, with a uniform prior, the chance that
the first is the more frequent of the two is P(X > 1/2), X ~ Beta(a+1, b+1). It stops when that exceeds a threshold, and
at n samples. The paper draws one after another; here those that must come before the rule can hold are drawn at once,
which changes neither the samples nor the answer. Its released code counts an answer that cannot be read as an answer
like others; here, such a sample and one that was cut off count for no answer (they are paid for).

It knows nothing of tokens. Invariant: it draws the samples that `majority` draws, in order, each one generation, at most
n of them and no verifier, and none after the first at which the rule holds.
"""

from __future__ import annotations

from bisect import bisect, bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from actors.errors import UserError
from actors.strategy import Candidate, Forecast, Grouping, Models, Prompt, PurseEmpty, Sampling, Solution
from orchestration.strategies import forecasting
from orchestration.strategies.call import grouping_of
from orchestration.strategies.drawing import solution_of, together, whole_sample
from orchestration.strategies.selection import majority, same_answers
from orchestration.strategies.settings import (
    canonical,
    check_count,
    check_number,
    check_temperature,
    check_top_p,
)


@dataclass(frozen=True, slots=True)
class AdaptiveConsistency:
    """At most `n` whole samples, no further ones once the leading answer stays ahead with more than `threshold`.

    The default is the paper's: 0.95 asks for at least four samples (all of one answer). The answer is the majority of
    what was drawn.
    """

    n: int
    threshold: float = 0.95
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        check_count("adaptive_consistency.n", self.n)
        threshold = check_number("adaptive_consistency.threshold", self.threshold)
        if not 0.5 <= threshold < 1:
            mend = "must be at least 0.5 and below 1: it is the chance that the majority stays what it is"
            raise UserError.of("adaptive_consistency.threshold", self.threshold, mend)
        object.__setattr__(self, "threshold", threshold)
        object.__setattr__(
            self, "temperature", check_temperature("adaptive_consistency.temperature", self.temperature)
        )
        object.__setattr__(self, "top_p", check_top_p("adaptive_consistency.top_p", self.top_p))

    @property
    def text(self) -> str:
        return canonical("adaptive_consistency", self)

    @property
    def uses_verifier(self) -> bool:
        return False

    @property
    def sequences(self) -> int:
        """No more are drawn at once than where two answers are level, as far as `n` allows."""
        return most_at_once(self.n, self.threshold)

    @property
    def grouping(self) -> Grouping:
        return grouping_of(self.text, self.n)

    def forecast(self, typical: int, most: int) -> Forecast:
        """As if it never stopped before n."""
        return forecasting.samples(self.n, Sampling(self.temperature, self.top_p), typical)

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Costs as many generations as samples were drawn. Raises PurseEmpty where not one could be.

        A sample that the purse refused ends it, too.
        """
        sampling = Sampling(self.temperature, self.top_p)
        candidates: list[Candidate] = []
        while (start := len(candidates)) < self.n and (wanted := self._lacking(candidates)):
            size = min(wanted, self.n - start)
            drawn = await together(
                whole_sample(models, index, sampling, with_scores=False)
                for index in range(start, start + size)
            )
            candidates += [candidate for candidate in drawn if candidate is not None]
            if len(candidates) < start + size:
                break
        if not candidates:
            raise PurseEmpty("the purse was empty before the first candidate")
        return solution_of(tuple(candidates), majority(candidates))

    def _lacking(self, candidates: Sequence[Candidate]) -> int:
        """Samples that are needed at least until the rule can hold; 0 where it does."""
        votes = Counter(
            same_answers(c.answer for c in candidates if c.finish == "eos" and c.answer is not None)
        )
        counts = [count for _, count in votes.most_common(2)] + [0, 0]
        return max(0, lead_needed(counts[1], self.threshold) - counts[0])


def stays_ahead(leader: int, runner_up: int) -> float:
    """P(X > 1/2) for X ~ Beta(leader + 1, runner_up + 1), exact but for one rounding.

    The incomplete beta function at 1/2 is a binomial tail: the chance of at most `leader` heads in leader + runner_up + 1
    tosses of a fair coin.
    """
    tosses = leader + runner_up + 1
    ways = tail = 1
    for heads in range(runner_up):
        ways = ways * (tosses - heads) // (heads + 1)
        tail += ways
    return ((1 << tosses) - tail) / (1 << tosses)


@cache
def lead_needed(runner_up: int, threshold: float) -> int:
    """The smallest count of the leading answer at which it stays ahead of `runner_up` with more than `threshold`."""
    above = 1
    while stays_ahead(runner_up + above, runner_up) <= threshold:
        above *= 2
    margins = range(above // 2, above + 1)
    return (
        runner_up + margins[bisect(margins, threshold, key=lambda m: stays_ahead(runner_up + m, runner_up))]
    )


@cache
def most_at_once(n: int, threshold: float) -> int:
    """A bound on the samples that any course of answers has drawn at once: after 2k samples, k for each of two answers.

    What is needed then grows with k, and what `n` leaves shrinks: the most is where they meet.
    """

    def needed(level: int) -> int:
        return lead_needed(level, threshold) - level

    met = bisect_left(range((n + 1) // 2), True, key=lambda k: needed(k) >= n - 2 * k)
    return max(min(needed(k), n - 2 * k) for k in (met - 1, met) if k >= 0 and n > 2 * k)
