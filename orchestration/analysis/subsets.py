"""What a strategy would reach with N samples, estimated without bias from K >= N independent ones of each
problem.

Any N of K independent samples are as good as the first N, so the mean over N-subsets is an unbiased estimate,
with far less noise than one of them. Taking the first N of a sorted or completion-ordered list is neither.

Subsets are taken in the order of the samples, and rules and ties are those of
`orchestration.strategies.selection`. It knows nothing of runs on disk or figures. Invariant: a row of the
result depends on its own problem and the seed alone, so that rows pair over problems; at N = K it is what the
strategy itself answered.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from actors.seeds import derive

Rule = Literal["pass", "majority", "weighted", "best"]

# Numbers in hand at once, of sets times subsets times samples.
_AT_ONCE = 1 << 18

# Levels of who may vote: a lower one that is present silences the higher ones.
_NOBODY = 4


@dataclass(frozen=True, slots=True)
class SampleSet:
    """One problem's K independent samples, in the order of their places; all sequences have length K.

    `answers` name the class of each answer (None: unreadable), `correct` says which of them agree with the reference,
    `finished` which ended with the end token. `values` weighs them for "weighted" and "best": an aggregated
    verifier score, or a likelihood; at least 0, NaN where there is none. Of the voters for one class that with the highest of
    `ranks` is the answer, the first of equals (None: all are equal).
    """

    problem_id: str
    answers: Sequence[str | None]
    correct: Sequence[bool]
    finished: Sequence[bool]
    values: Sequence[float]
    ranks: Sequence[int] | None = None

    def __post_init__(self) -> None:
        sizes = {len(self.answers), len(self.correct), len(self.finished), len(self.values)}
        if len(sizes) != 1 or (self.ranks is not None and len(self.ranks) not in sizes):
            raise ValueError(f"{self.problem_id}: answers, correct, finished and values differ in length")
        if any(value < 0 for value in self.values):
            raise ValueError(f"{self.problem_id}: a value below 0 cannot weigh a vote")
        if any(good and answer is None for good, answer in zip(self.correct, self.answers, strict=True)):
            raise ValueError(f"{self.problem_id}: a sample without an answer is called correct")


def pass_at(samples: int, correct: int, n: int) -> float:
    """Return the chance that one of `n` is correct, if `correct` of `samples` are (Chen et al. 2021, equation
    1).
    """
    if not 0 <= correct <= samples or not 1 <= n <= samples:
        raise ValueError(f"pass at {n} cannot be told from {correct} correct of {samples}")
    if samples - correct < n:
        return 1.0
    return 1.0 - math.prod(1.0 - n / i for i in range(samples - correct + 1, samples + 1))


def accuracy_at(
    sets: Sequence[SampleSet], rule: Rule, ns: Sequence[int], seed: int, draws: int = 1000
) -> NDArray[np.float64]:
    """Return expected correctness at each N: an array of shape (problems, len(ns)), values in [0, 1].

    NaN where a problem has fewer than N samples. "pass" (any sample correct) and "best" are exact.
    "majority", "weighted", and "best" where some voters have no value, are exact where there are at most
    `draws` subsets, and else the mean over `draws` random ones (standard error at most 0.5 / sqrt(draws) a
    problem); the same subsets serve all rules, and nested ones all N.
    """
    if any(n < 1 for n in ns) or draws < 1:
        raise ValueError("ns and draws must be at least 1")
    result = np.full((len(sets), len(ns)), np.nan)
    by_size: dict[int, list[int]] = {}
    for row, samples in enumerate(sets):
        by_size.setdefault(len(samples.answers), []).append(row)
    for size, rows in by_size.items():
        found = _of_one_size([sets[row] for row in rows], size, rule, ns, seed, draws)
        result[rows] = found
    return result


def _of_one_size(
    sets: Sequence[SampleSet], size: int, rule: Rule, ns: Sequence[int], seed: int, draws: int
) -> NDArray[np.float64]:
    """Expected correctness at each N from sets of one size, which share the subsets where all of them are taken."""
    result = np.full((len(sets), len(ns)), np.nan)
    known = [(column, n) for column, n in enumerate(ns) if n <= size]
    if rule == "pass":
        right = np.array([sum(samples.correct) for samples in sets])
        for column, n in known:
            result[:, column] = np.array([pass_at(size, count, n) for count in range(size + 1)])[right]
        return result
    all_levels = [_levels(samples, rule) for samples in sets]
    voting = list(range(len(sets)))
    if rule == "best":
        voting = [row for row in voting if np.any((all_levels[row] == 1) | (all_levels[row] == 3))]
        for row in set(range(len(sets))) - set(voting):
            for column, n in known:
                result[row, column] = _best_at(sets[row], all_levels[row], n)
    few = [(column, _all_subsets(size, n)) for column, n in known if math.comb(size, n) <= draws]
    many = [(column, n) for column, n in known if math.comb(size, n) > draws]
    at_once = max(1, _AT_ONCE // max((members.size for _, members in few), default=1))
    for start in range(0, len(voting) if few else 0, at_once):
        rows = voting[start : start + at_once]
        electorate = _Electorate.of([sets[row] for row in rows], [all_levels[row] for row in rows], rule)
        for column, members in few:
            result[rows, column] = electorate.right(rule, members)
    for row in voting if many else ():
        electorate = _Electorate.of([sets[row]], [all_levels[row]], rule)
        ranks = _ranks(size, draws, derive(seed, "subsets", sets[row].problem_id))
        for column, n in many:
            result[row, column] = electorate.right(rule, ranks < n)[0]
    return result


def _levels(samples: SampleSet, rule: Rule) -> NDArray[np.int64]:
    """Return (K,): 0 finished, 1 finished without the value that the rule needs, 2 and 3 unfinished, 4
    unreadable.
    """
    levels = np.where(np.asarray(samples.finished, dtype=bool), 0, 2)
    if rule != "majority":
        levels = levels + np.isnan(np.asarray(samples.values, dtype=np.float64))
    readable = np.array([answer is not None for answer in samples.answers], dtype=bool)
    return np.where(readable, levels, _NOBODY)


def _all_subsets(size: int, n: int) -> NDArray[np.bool_]:
    """Return (subsets, size): every subset of `n`, as membership."""
    chosen = np.array(list(itertools.combinations(range(size), n)))
    members = np.zeros((len(chosen), size), dtype=bool)
    np.put_along_axis(members, chosen, True, axis=1)
    return members


def _ranks(size: int, draws: int, seed: int) -> NDArray[np.intp]:
    """Return (draws, size): each row a random order of the samples; the ranks below n are a random
    n-subset.
    """
    keys = np.random.default_rng(seed).random((draws, size))
    return keys.argsort(axis=1)


def _best_at(samples: SampleSet, levels: NDArray[np.int64], n: int) -> float:
    """The j-th best of K is the best of an n-subset with chance C(K-1-j, n-1) / C(K, n)."""
    size = len(samples.answers)
    order = np.lexsort((np.arange(size), -np.nan_to_num(np.asarray(samples.values)), levels))
    total, chance = 0.0, n / size
    for j, index in enumerate(order[: size - n + 1]):
        total += chance * samples.correct[index]
        chance *= (size - n - j) / (size - 1 - j) if j < size - n else 0.0
    # Where all are right the chances sum to 1, up to how they are rounded.
    return min(total, 1.0)


@dataclass(frozen=True, slots=True)
class _Electorate:
    """Sets of one size as arrays (B, K): their levels and weights, the codes of their answers, which are right, and who
    speaks for a code; `ranks` is None where the first voter does."""

    levels: NDArray[np.int64]
    weights: NDArray[np.float64]
    codes: NDArray[np.int64]
    correct: NDArray[np.bool_]
    ranks: NDArray[np.int64] | None

    @classmethod
    def of(
        cls, sets: Sequence[SampleSet], all_levels: Sequence[NDArray[np.int64]], rule: Rule
    ) -> _Electorate:
        levels = np.stack(all_levels)
        values = np.nan_to_num(np.array([samples.values for samples in sets], dtype=np.float64))
        # Who votes for want of a value is counted, not weighed.
        weights = np.ones(levels.shape) if rule == "majority" else np.where(levels % 2 == 1, 1.0, values)
        codes = np.array([_codes(samples.answers) for samples in sets])
        correct = np.array([samples.correct for samples in sets], dtype=bool)
        ranks = np.array([samples.ranks or [0] * levels.shape[1] for samples in sets])
        return cls(levels, weights, codes, correct, ranks if ranks.any() else None)

    def right(self, rule: Rule, members: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return (B,): the share of subsets (rows of `members`, shape (subsets, K)) whose chosen answer is correct."""
        levels, weights = self.levels[:, None, :], self.weights[:, None, :]
        level = np.where(members, levels, _NOBODY).min(axis=2, keepdims=True)
        voting = members & (levels == level) & (levels < _NOBODY)
        answers = self.codes[:, :, None] == np.arange(self.codes.max() + 1)
        sums = (voting * weights) @ answers.astype(np.float64)
        of_samples = np.take_along_axis(sums, np.broadcast_to(self.codes[:, None, :], voting.shape), axis=2)
        alone = (level % 2 == 0) & (rule == "best")
        strength = np.where(alone, weights, of_samples)
        # The first of equals: ties go to the smallest index, as in `selection`.
        winner = np.where(voting, strength, -1.0).argmax(axis=2)
        if self.ranks is not None:
            chosen = np.take_along_axis(self.codes, winner, axis=1)[:, :, None]
            behind = voting & (self.codes[:, None, :] == chosen)
            speaker = np.where(behind, self.ranks[:, None, :], -1).argmax(axis=2)
            winner = np.where(alone[:, :, 0], winner, speaker)
        right = np.take_along_axis(self.correct, winner, axis=1) & voting.any(axis=2)
        share: NDArray[np.float64] = right.mean(axis=1)
        return share


def _codes(answers: Sequence[str | None]) -> list[int]:
    """A number for each answer, the same for the same."""
    known: dict[str | None, int] = {}
    return [known.setdefault(answer, len(known)) for answer in answers]
