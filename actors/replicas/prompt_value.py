"""The value of a task's prompt alone, before any step: asked of the verifier, paid, and kept for whoever asks again.

It tells how difficult a prompt is when nothing has been drawn of it, and is booked as that. It knows no strategy.
Invariants: as with scores, nothing is sent before its worst case is reserved, and every request sent is settled.
"""

from __future__ import annotations

from dataclasses import replace

from actors.engines.base import ScoreRequest
from actors.ledger import Kind, Rank
from actors.replicas.bench import Bill, TaskBench
from actors.replicas.peers import CallLost
from actors.replicas.remote_scorer import SCORE_TRIES, ScoreError
from actors.replicas.sound import check_ids, check_prompt_value
from actors.store.library import prompt_key, score_row
from actors.work import Cost, prompt_cost


async def judge_prompt(bench: TaskBench, rank: Rank) -> tuple[float, Cost]:
    """The prompt's value, as it is on record or from the verifier, and what that took. Raises PurseEmpty, ValueError for a
    verifier that judges no prompt, and ScoreError where it gives no number."""
    assert bench.scorer is not None
    ids, cost = bench.prompt.token_ids, bench.run.costs["verifier"]
    key = prompt_key(bench.run.salt("verifier"), ids)
    if (known := bench.prior.scores.get(key)) is not None:
        return known, Cost()
    if bench.wording is not None:
        check_prompt_value(None)
    check_ids("the prompt", ids, bench.engine.info.vocabulary)
    most = prompt_cost(cost, len(ids))
    worst = bench.run.price(most)
    tries = 0
    while True:
        await bench.purse.reserve(worst, rank=rank)
        kind: Kind = "failed"
        took = worst
        try:
            scores = await bench.scorer.score(ScoreRequest(ids, len(ids), ()))
            value = check_prompt_value(scores.prompt)
            # What a request beside this one has computed is not computed again.
            spent = replace(most, exact=cost.exact(len(ids) - scores.computed, scores.computed, 0))
            took, kind = bench.run.price(spent), "kept"
            bench.bill(Bill("difficulty", took))
            bench.score_rows.append(score_row(key, bench.prompt.id, value))
            return value, spent
        except ScoreError:
            tries += 1
            if tries == SCORE_TRIES:
                raise
        except CallLost:
            # It may have been computed to the end before it was lost.
            kind = "lost"
        finally:
            bench.purse.settle(worst, took, "difficulty", kind)
