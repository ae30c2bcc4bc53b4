"""How one answer is chosen among candidates: step scores to a value, votes, the best one.

It knows nothing of how candidates were drawn. Who may vote, in every rule here: a kept candidate with a
readable answer; one that did not finish (cut off by the token limit or by the last round) votes only where no
finished one can. Where a rule needs scores and only some voters have them, those vote; where none has, the
majority decides.

Ties are broken the same way everywhere: the tied answer whose first candidate has the smallest index wins.
Invariant:
the order of the sequence, duplicates of text and unreadable candidates never change a choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from actors.errors import UserError
from actors.strategy import Candidate, ballot_of

Aggregation = Literal["last", "min", "product", "mean"]
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)


def check_scores(scores: Sequence[float]) -> None:
    """Raise UserError where a score is NaN or outside [0, 1]: a vote weighted by it would mean nothing."""
    for score in scores:
        if not 0.0 <= score <= 1.0:
            raise UserError.of(
                "verifier score", score, "must lie in [0, 1]; squash an unbounded reward with a sigmoid first"
            )


def aggregate(scores: Sequence[float], how: Aggregation = "last") -> float:
    """Return the value in [0, 1] of a solution from its step scores (paper appendix G; "last" is the paper's
    choice).

    `scores` holds at least one value. Raises UserError for values outside [0, 1], ValueError for none.
    """
    if not scores:
        raise ValueError("a solution without step scores has no value")
    check_scores(scores)
    if how == "last":
        return scores[-1]
    if how == "min":
        return min(scores)
    if how == "product":
        return math.prod(scores)
    return math.fsum(scores) / len(scores)


def voters(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return who may vote, by index: finished candidates with a readable answer, or else any readable kept
    ones.
    """
    readable = sorted((c for c in candidates if c.kept and c.answer is not None), key=lambda c: c.index)
    return [c for c in readable if c.finish == "eos"] or readable


def majority(candidates: Iterable[Candidate]) -> str | None:
    """Return the answer of most voters (self-consistency, Wang et al. 2022), or None where nobody can
    vote.
    """
    return _most((c, 1.0) for c in voters(candidates))


def weighted(candidates: Iterable[Candidate], how: Aggregation = "last") -> str | None:
    """Return the answer with the largest sum of values: "best-of-N weighted" (Li et al. 2023, paper section
    5.1).
    """
    electorate = voters(candidates)
    scored = [c for c in electorate if c.scores]
    if not scored:
        return majority(electorate)
    return _most((c, aggregate(c.scores, how)) for c in scored)


def best(candidates: Iterable[Candidate], how: Aggregation = "last") -> str | None:
    """Return the answer of the voter with the largest value (plain best-of-N)."""
    electorate = voters(candidates)
    scored = [c for c in electorate if c.scores]
    if not scored:
        return majority(electorate)
    return max(scored, key=lambda c: (aggregate(c.scores, how), -c.index)).answer


def likelihood_weight(logprobs: Sequence[float], step_ends: Sequence[int]) -> float:
    """Return a candidate's weight in a vote by the policy's own probability, a baseline that needs no verifier.

    It is exp of the mean log-probability of a token at temperature 1, the normalisation of Wang et al. 2022 (equation 1),
    which they found on a par with the plain majority; the whole probability favours short solutions and did worse there.
    `logprobs` has a sum a step, `step_ends` where each ends: tokens that stand in no step count on neither side.
    """
    return math.exp(math.fsum(logprobs) / step_ends[-1]) if step_ends else 1.0


def _most(votes: Iterable[tuple[Candidate, float]]) -> str | None:
    """Sum the weights by class of answers; candidates come by index, so the first of equals has the smallest."""
    given = [(candidate.answer, weight) for candidate, weight in votes if candidate.answer is not None]
    weights: dict[str, list[float]] = {}
    answers: dict[str, list[str]] = {}
    for (answer, weight), same in zip(given, same_answers(answer for answer, _ in given), strict=True):
        answers.setdefault(same, []).append(answer)
        weights.setdefault(same, []).append(weight)
    chosen = max(weights, key=lambda same: math.fsum(weights[same]), default=None)
    return None if chosen is None else answers[chosen][speaker(answers[chosen])]


def speaker(answers: Sequence[str]) -> int:
    """Of the answers of one class the place of the one that speaks for it, which says most, whichever came first."""
    from orchestration.problems.graders.ballots import says_most

    if len(set(answers)) == 1:
        return 0
    ranks = says_most([ballot_of(answer) for answer in answers])
    return ranks.index(max(ranks))


def same_answers(answers: Iterable[str]) -> list[str]:
    """For each of one problem's answers the name of its class: those of one class are one answer."""
    # Here, so that whoever imports a strategy loads no data sets.
    from orchestration.problems.graders.ballots import classes

    return classes([ballot_of(answer) for answer in answers])
