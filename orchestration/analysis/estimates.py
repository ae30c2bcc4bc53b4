"""What a run's sets of independent samples tell, worked out block by block as they pass.

It knows rules and numbers, nothing of tables or of how they are shown. Invariant: of a sample that has passed nothing is left
but its part in these numbers, and (of a hundred thousand or so) its score, its likelihood and whether it was right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from orchestration.analysis.collect import Array, Collected, Measured
from orchestration.analysis.samples import Block, blocks
from orchestration.analysis.statistics import auroc, auroc_within
from orchestration.analysis.subsets import Rule, accuracy_at, pass_at
from orchestration.strategies.selection import Aggregation

JUDGED = 1 << 17
"""Samples that the verifier is judged on, at most: more would change the third digit by one or two, and cost memory."""


@dataclass(frozen=True, slots=True)
class Vote:
    """A rule, and what its samples weigh: a verifier's scores, aggregated, their likelihood, or nothing."""

    rule: Rule
    weighs: Aggregation | Literal["likelihood", "nothing"] = "nothing"

    def of(self, block: Block) -> Array | None:
        """The samples' weights (B, K), None where each has the same."""
        if self.weighs == "nothing":
            return None
        return block.likelihoods if self.weighs == "likelihood" else block.scores(self.weighs)


@dataclass(frozen=True, slots=True)
class VerifierQuality:
    """How well final step scores, and the policy's own likelihood, tell right samples from wrong ones; `drawn` were scored,
    `samples` of them are judged."""

    samples: int
    drawn: int
    questions: int
    within: float
    overall: float
    likelihood_within: float | None
    likelihood_overall: float | None


@dataclass(frozen=True, slots=True)
class Estimates:
    """What the samples of `source` tell of a run with P problems and S seeds; NaN where there is no whole set.

    `tables` has for each vote and N the accuracy (P, S) that a budget of N would have. `halves` has the same, told from the
    first half of each set alone, and `rate` (P, S) the share of right ones among the rest: no sample is behind both. `first`
    (P, S) is the share of right ones among the first half.
    `distinct` has the tokens of distinct step prefixes that N samples have on average: what a verifier has to read. `bare`
    samples were drawn without likelihoods, of `samples` in all.
    """

    source: Measured
    samples: int
    bare: int
    tables: dict[Vote, dict[int, Array]]
    halves: dict[Vote, dict[int, Array]]
    rate: Array
    first: Array
    distinct: dict[int, float]
    verifier: VerifierQuality | None

    @property
    def size(self) -> int:
        """Samples of each set."""
        return self.source.name.n


def estimate(
    run: Collected,
    source: Measured,
    votes: Mapping[Vote, Sequence[int]],
    halves: Mapping[Vote, Sequence[int]],
) -> Estimates:
    """Read the samples of `source` and tell every vote at each of its N, from whole sets and from `halves` of them."""
    size, half = source.name.n, source.name.n // 2
    tables = {vote: {n: np.full(run.shape, np.nan) for n in ns} for vote, ns in votes.items()}
    half_tables = {vote: {n: np.full(run.shape, np.nan) for n in ns} for vote, ns in halves.items()}
    rate, first_rate = np.full(run.shape, np.nan), np.full(run.shape, np.nan)
    scored = source.name.choice is not None and source.name.choice.scored
    reading = _Reading(size, sorted({n for ns in votes.values() for n in ns})) if scored else None
    judging = _Judging(size, source.whole) if scored else None
    samples = bare = 0
    for block in blocks(run, source, steps=scored):
        at = block.rows, block.columns
        samples += block.correct.size
        bare += block.bare
        for found, asked, first in ((tables, votes, None), (half_tables, halves, half)):
            for vote, ns in asked.items():
                accuracy = _accuracy(block, vote, ns, first)
                for column, n in enumerate(ns):
                    found[vote][n][at] = accuracy[:, column]
        if half:
            rate[at] = block.correct[:, half:].mean(axis=1)
            first_rate[at] = block.correct[:, :half].mean(axis=1)
        if reading is not None:
            reading.add(block)
        if judging is not None:
            judging.add(block)
    return Estimates(
        source=source,
        samples=samples,
        bare=bare,
        tables=tables,
        halves=half_tables,
        rate=rate,
        first=first_rate,
        distinct=reading.means() if reading is not None else {},
        verifier=judging.quality() if judging is not None else None,
    )


def _accuracy(block: Block, vote: Vote, ns: Sequence[int], first: int | None) -> Array:
    values = vote.of(block)
    accuracy = accuracy_at(block.sets(values, first), vote.rule, ns, seed=0)
    if vote.weighs == "likelihood" and values is not None:
        # Where one sample has none, each would weigh the same, and the plain vote pass for the weighed one.
        accuracy[np.isnan(values).any(axis=1)] = np.nan
    return accuracy


class _Reading:
    """Sums up what a verifier has to read."""

    def __init__(self, size: int, ns: Sequence[int]) -> None:
        # At n samples a prefix that m of K share is there with the chance that one of n is among the m.
        self._chances = {n: np.array([pass_at(size, m, n) for m in range(size + 1)]) for n in ns}
        self._totals = dict.fromkeys(ns, 0.0)
        self._sets = 0
        self._told = True

    def add(self, block: Block) -> None:
        if block.prefixes is None:
            self._told = False
            return
        self._sets += len(block.prefixes)
        shared = np.concatenate([counts for counts, _ in block.prefixes])
        tokens = np.concatenate([lengths for _, lengths in block.prefixes])
        for n, chances in self._chances.items():
            self._totals[n] += float(tokens @ chances[shared])

    def means(self) -> dict[int, float]:
        if not self._told or not self._sets:
            return dict.fromkeys(self._totals, float("nan"))
        return {n: total / self._sets for n, total in self._totals.items()}


class _Judging:
    """Gathers scores, to say how well they tell right from wrong: of every problem, or of evenly spaced ones where there are
    too many samples."""

    def __init__(self, size: int, sets: int) -> None:
        self._every = max(1, -(-sets * size // JUDGED))
        self._drawn = 0
        self._found: list[tuple[NDArray[Any], ...]] = []

    def add(self, block: Block) -> None:
        scores = block.scores()
        known = ~np.isnan(scores)
        self._drawn += int(known.sum())
        known &= (block.rows % self._every == 0)[:, None]
        # A question is a problem, whatever the seed: its samples are draws of one distribution.
        questions = np.broadcast_to(block.rows[:, None], scores.shape)
        self._found.append(
            (
                scores[known].astype(np.float32),
                block.likelihoods[known].astype(np.float32),
                block.correct[known],
                questions[known].astype(np.int32),
            )
        )

    def quality(self) -> VerifierQuality | None:
        if not any(len(one[0]) for one in self._found):
            return None
        scores, likelihoods, right, questions = (
            np.concatenate([one[part] for one in self._found]) for part in range(4)
        )
        within, count = auroc_within(scores, right, questions)
        told = ~np.isnan(likelihoods)
        least = told.any()
        return VerifierQuality(
            samples=len(scores),
            drawn=self._drawn,
            questions=count,
            within=within,
            overall=auroc(scores, right),
            likelihood_within=auroc_within(likelihoods[told], right[told], questions[told])[0]
            if least
            else None,
            likelihood_overall=auroc(likelihoods[told], right[told]) if least else None,
        )
