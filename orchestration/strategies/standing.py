"""Where a prompt stands: the answer that its candidates choose, and the evidence for it, as the value table reads it.

It knows candidates and how their votes are counted, nothing of labels or prices. Invariant: the answer is the one that the
strategy would give, for both are counted by `tally`; a live run and a replay stand where they stand by this function alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from actors.strategy import Candidate
from orchestration.allocation.evidence import Evidence, Pile
from orchestration.strategies.selection import same_answers
from orchestration.strategies.tally import Counting, tally


@dataclass(frozen=True, slots=True)
class Standing:
    """The `answer` (None: none that can be read), the index of the candidate that says it (-1: none), and the evidence."""

    answer: str | None
    chosen: int
    evidence: Evidence


def standing(
    candidates: Sequence[Candidate],
    counting: Counting,
    *,
    before: Standing | None = None,
    prompt: float | None = None,
) -> Standing:
    """Where whole samples, or what a search found, leave a prompt. Of a search, `before` is where it stood."""
    ballots = tally(candidates, counting)
    piles = tuple(
        Pile(
            len(one.voters),
            float(len(one.voters)) if one.weight is None else one.weight,
            1.0 if one.best is None else one.best,
        )
        for one in ballots
    )
    answer = ballots[0].answer if ballots else None
    chosen = (ballots[0].leader if counting.rule == "best" else ballots[0].voters[0]) if ballots else -1
    drawn = sum(one.kept for one in candidates)
    found = Standing(answer, chosen, Evidence(drawn, piles, prompt=prompt))
    return found if before is None else after(found, before)


def judged(found: Standing, prompt: float | None) -> Standing:
    """The same, of a prompt that the verifier gave this value."""
    return found if prompt is None else replace(found, evidence=replace(found.evidence, prompt=prompt))


def after(found: Standing, before: Standing) -> Standing:
    """What a search found, held against the answer that stood before it."""
    if before.answer is None:
        return found
    same = found.answer is not None and len(set(same_answers([before.answer, found.answer]))) == 1
    return replace(found, evidence=replace(found.evidence, same=same))
