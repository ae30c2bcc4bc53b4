"""What strategies with a reviser draw alike: an attempt after those that it reads, and chains of them.

It knows no strategy. Invariant: an attempt that was cut off, or in which no answer can be read, is shown to none: no reviser
has learnt from such.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from actors.strategy import Candidate, Models, PurseEmpty, Role, Sample, Sampling
from orchestration.strategies.drawing import check_count_of_scores, draw, score, step_logprobs

Attempts = tuple[tuple[int, ...], ...]

ASKS: frozenset[Role] = frozenset({"reviser"})
ASKS_BOTH: frozenset[Role] = frozenset({"policy", "reviser"})


async def attempt(
    models: Models, read: Attempts, place: tuple[int, ...], index: int, sampling: Sampling, parent: int = -1
) -> Candidate | None:
    """Draw an attempt and read its answer; it is not scored yet. None where the purse refused it."""
    try:
        sample = await models.reviser.revise(read, place, sampling=sampling)
    except PurseEmpty:
        return None
    return await _candidate(models, sample, index, parent)


async def _candidate(models: Models, sample: Sample, index: int, parent: int) -> Candidate:
    ends = models.reader.step_ends(sample.token_ids)
    return Candidate(
        index=index,
        token_ids=sample.token_ids,
        step_ends=ends,
        logprobs=step_logprobs(sample.logprobs, ends, len(sample.token_ids)),
        scores=(),
        finish=sample.finish,
        answer=await models.reader.answer(sample.token_ids),
        parent=parent,
    )


def fit(one: Candidate) -> bool:
    """Whether an attempt may be shown to a further one."""
    return one.finish == "eos" and one.answer is not None


async def scored(models: Models, one: Candidate, read: Attempts) -> Candidate:
    """The same attempt with the verifier's scores of its steps; without, where the purse refused them."""
    scores = await score(models.verifier, one.token_ids, read) or ()
    check_count_of_scores(scores, one.step_ends)
    return replace(one, scores=scores)


@dataclass(slots=True)
class Chain:
    """The chain `number` of a problem: each attempt reads the last `context` of those `shown`, oldest first."""

    models: Models
    number: int
    context: int
    sampling: Sampling
    judged: bool
    shown: list[tuple[int, ...]] = field(default_factory=list)

    async def attempts(
        self, steps: range, index: int, *, parent: int = -1, sample: bool = False
    ) -> list[Candidate]:
        """Draw attempts at these steps of the chain one after the other, as far as the purse allows; scores come meanwhile.
        The first has this `index`, and comes after the candidate `parent`; with `sample`, it is the policy's whole sample
        of the chain's number."""
        coming: list[asyncio.Task[Candidate]] = []
        async with asyncio.TaskGroup() as group:
            for at, step in enumerate(steps):
                read = tuple(self.shown[-self.context :])
                before = parent if at == 0 else index + at - 1
                if sample and at == 0:
                    drawn = await self._sampled(index)
                else:
                    drawn = await attempt(
                        self.models, read, (self.number, step), index + at, self.sampling, before
                    )
                if drawn is None:
                    break
                if fit(drawn):
                    self.shown.append(drawn.token_ids)
                coming.append(group.create_task(self._judged(drawn, read)))
        return [one.result() for one in coming]

    async def _sampled(self, index: int) -> Candidate | None:
        sample = await draw(self.models.policy, (), (self.number,), self.sampling)
        return None if sample is None else await _candidate(self.models, sample, index, -1)

    async def _judged(self, one: Candidate, read: Attempts) -> Candidate:
        return await scored(self.models, one, read) if self.judged else one
