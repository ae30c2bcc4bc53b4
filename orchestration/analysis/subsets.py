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

# Levels of who may vote: a lower one that is present silences the higher ones.
_NOBODY = 4


@dataclass(frozen=True, slots=True)
class SampleSet:
    """One problem's K independent samples, in the order of their places; all sequences have length K.

    `answers` are canonical (None: unreadable), `correct` says which of them agree with the reference,
    `finished` which ended with the end token. `values` weighs them for "weighted" and "best": an aggregated
    verifier score, or a likelihood; at least 0, NaN where there is none.
    """

    problem_id: str
    answers: Sequence[str | None]
    correct: Sequence[bool]
    finished: Sequence[bool]
    values: Sequence[float]

    def __post_init__(self) -> None:
        sizes = {len(self.answers), len(self.correct), len(self.finished), len(self.values)}
        if len(sizes) != 1:
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
    for row, samples in zip(result, sets, strict=True):
        size = len(samples.answers)
        levels = _levels(samples, rule)
        ranks: NDArray[np.intp] | None = None
        for column, n in enumerate(ns):
            if n > size:
                continue
            if rule == "pass":
                row[column] = pass_at(size, sum(samples.correct), n)
            elif rule == "best" and not np.any((levels == 1) | (levels == 3)):
                row[column] = _best_at(samples, levels, n)
            elif math.comb(size, n) <= draws:
                row[column] = _voted(samples, rule, levels, _all_subsets(size, n))
            else:
                if ranks is None:
                    ranks = _ranks(size, draws, derive(seed, "subsets", samples.problem_id))
                row[column] = _voted(samples, rule, levels, ranks < n)
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
    return total


def _voted(samples: SampleSet, rule: Rule, levels: NDArray[np.int64], members: NDArray[np.bool_]) -> float:
    """Return the share of subsets (rows of `members`, shape (subsets, K)) whose chosen answer is correct."""
    level = np.where(members, levels, _NOBODY).min(axis=1, keepdims=True)
    voting = members & (levels == level) & (levels < _NOBODY)
    values = np.nan_to_num(np.asarray(samples.values, dtype=np.float64))
    # Who votes for want of a value is counted, not weighed.
    weights = np.ones(len(levels)) if rule == "majority" else np.where(levels % 2 == 1, 1.0, values)
    codes = {answer: code for code, answer in enumerate(dict.fromkeys(samples.answers))}
    code = np.array([codes[answer] for answer in samples.answers])
    sums = (voting * weights) @ (code[:, None] == np.arange(len(codes)))
    strength = np.where((level % 2 == 0) & (rule == "best"), weights, sums[:, code])
    # The first of equals: ties go to the smallest index, as in `selection`.
    winner = np.where(voting, strength, -1.0).argmax(axis=1)
    right = np.asarray(samples.correct, dtype=bool)[winner] & voting.any(axis=1)
    return float(right.mean())
