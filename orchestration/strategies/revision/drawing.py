"""What strategies with a reviser draw alike: an attempt after those that it reads.

It knows no strategy. Invariant: an attempt that was cut off, or in which no answer can be read, is fit to be shown to none:
no reviser has learnt from such.
"""

from __future__ import annotations

from actors.strategy import Candidate, Models, PurseEmpty, Role, Sampling
from orchestration.strategies.drawing import step_logprobs

Attempts = tuple[tuple[int, ...], ...]

ASKS: frozenset[Role] = frozenset({"reviser"})


async def attempt(
    models: Models, read: Attempts, place: tuple[int, ...], index: int, sampling: Sampling, parent: int = -1
) -> Candidate | None:
    """Draw an attempt and read its answer; it is not scored yet. None where the purse refused it."""
    try:
        sample = await models.reviser.revise(read, place, sampling=sampling)
    except PurseEmpty:
        return None
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
