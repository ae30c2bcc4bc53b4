"""What all strategies do with their models: draw, read and score, at once, and answer with what the purse
allowed.

It knows nothing of any search method. Places: the whole sample i of a problem is drawn at (i,), so every
strategy and every N that draws whole samples with the same sampling parameters shares them. Invariant: an
empty purse costs the one request that it refused; whatever was drawn before or beside it is kept.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from actors.errors import counted
from actors.strategy import (
    Candidate,
    Models,
    PolicyClient,
    PurseEmpty,
    Sample,
    Sampling,
    Solution,
    VerifierClient,
)
from orchestration.strategies.selection import check_scores

T = TypeVar("T")


async def together(work: Iterable[Coroutine[object, object, T]]) -> list[T]:
    """Run coroutines at once; return their results in order. The first to fail cancels the others and is
    raised.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as failures:
        failure: BaseException = failures
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        raise failure from None
    return [task.result() for task in tasks]


async def draw(
    policy: PolicyClient,
    prefix: tuple[int, ...],
    place: tuple[int, ...],
    sampling: Sampling,
    *,
    one_step: bool = False,
) -> Sample | None:
    """Return a draw, or None where the purse refused it."""
    try:
        return await policy.sample(prefix, place, one_step=one_step, sampling=sampling)
    except PurseEmpty:
        return None


async def score(
    verifier: VerifierClient, solution: tuple[int, ...], after: tuple[tuple[int, ...], ...] = ()
) -> tuple[float, ...] | None:
    """Return the checked step scores (none where there is no step), or None where the purse refused them.

    Raises UserError for scores outside [0, 1].
    """
    try:
        scores = await (verifier.score(solution, after) if after else verifier.score(solution))
    except PurseEmpty:
        return None
    check_scores(scores)
    return scores


def step_logprobs(logprobs: tuple[float, ...], step_ends: tuple[int, ...], tokens: int) -> tuple[float, ...]:
    """Sum the log-probabilities of a solution's `tokens` by step; `step_ends` are exclusive offsets. Tokens behind
    the last step are left out: a lone end token has none. Without those of every token there are none.
    """
    if len(logprobs) != tokens:
        return ()
    starts = (0, *step_ends)
    return tuple(math.fsum(logprobs[start:end]) for start, end in zip(starts, step_ends, strict=False))


def check_count_of_scores(scores: tuple[float, ...], step_ends: tuple[int, ...]) -> None:
    """Raise ValueError unless there is one score per step, or none at all (nothing was scored)."""
    if scores and len(scores) != len(step_ends):
        raise ValueError(
            f"the verifier gave {counted(len(scores), 'score')} for a solution of {counted(len(step_ends), 'step')}"
        )


async def whole_sample(
    models: Models, index: int, sampling: Sampling, *, with_scores: bool
) -> Candidate | None:
    """Draw the whole sample `index`, read its answer and score its steps; None where the purse refused the
    draw.
    """
    sample = await draw(models.policy, (), (index,), sampling)
    if sample is None:
        return None
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(models.reader.answer(sample.token_ids))
        scoring = group.create_task(score(models.verifier, sample.token_ids)) if with_scores else None
    scores = (scoring.result() if scoring is not None else None) or ()
    step_ends = models.reader.step_ends(sample.token_ids)
    check_count_of_scores(scores, step_ends)
    return Candidate(
        index=index,
        token_ids=sample.token_ids,
        step_ends=step_ends,
        logprobs=step_logprobs(sample.logprobs, step_ends, len(sample.token_ids)),
        scores=scores,
        finish=sample.finish,
        answer=reading.result(),
    )


async def whole_samples(
    models: Models, n: int, sampling: Sampling, *, with_scores: bool
) -> tuple[Candidate, ...]:
    """Draw the whole samples 0 to n-1 at once. A candidate's index is its place, so a refused one leaves a
    gap.

    Raises PurseEmpty where not a single one could be drawn.
    """
    drawn = await together(whole_sample(models, i, sampling, with_scores=with_scores) for i in range(n))
    candidates = tuple(candidate for candidate in drawn if candidate is not None)
    if not candidates:
        raise PurseEmpty("the purse was empty before the first candidate")
    return candidates


def solution_of(candidates: tuple[Candidate, ...], answer: str | None) -> Solution:
    """The solution made of independent whole samples: each is one generation, and none was pruned."""
    kept_tokens = sum(len(candidate.token_ids) for candidate in candidates)
    return Solution(answer, candidates, generations=len(candidates), kept_tokens=kept_tokens)


def joined(first: Sequence[Candidate], then: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Candidates of two origins as those of one solution: the later ones have the higher numbers."""
    above = 1 + max((one.index for one in first), default=-1)
    moved = [
        replace(one, index=above + one.index, parent=one.parent + above if one.parent >= 0 else -1)
        for one in then
    ]
    return (*first, *moved)
