"""The value of a prompt alone: told once, paid as difficulty, kept, and never a number that the verifier did not give."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.engines.base import ScoreRequest, Scores
from actors.replicas.peers import CallLost
from actors.replicas.remote_scorer import SCORE_TRIES, ScoreError
from actors.store.library import Prior, prompt_key, score_key
from actors.strategy import PurseEmpty
from actors.work import Unit, prompt_cost
from tests.support.table import PROMPT

TOKENS = len(PROMPT.token_ids)
SOLUTION = (40, 41, 13, 42, 1)


def books(one: Any) -> dict[tuple[str, str], int]:
    return {(entry.purpose, entry.kind): entry.flops for entry in one.purse.entries if entry.flops}


class Troubled:
    """A scorer whose first answers are others."""

    def __init__(self, scorer: Any, answers: list[float | Exception | None]) -> None:
        self.scorer, self.answers, self.asked = scorer, answers, 0

    async def score(self, request: ScoreRequest) -> Scores:
        self.asked += 1
        scores: Scores = await self.scorer.score(request)
        if not self.answers:
            return scores
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Scores((), scores.computed, answer)


@pytest.mark.parametrize("unit", ["paper", "exact"])
async def test_strategies_that_ask_share_it_and_the_scores_after_it_read_no_prompt_again(
    table: Any, unit: Unit
) -> None:
    one = table(unit=unit)
    first, second = one.models(), one.models()
    values = await asyncio.gather(first.verifier.prompt_value(), second.verifier.prompt_value())
    assert 0 < values[0] == values[1] < 1
    assert [request.step_ends for request in one.scorer.requests] == [()]
    cost = one.costs["verifier"]
    whole = prompt_cost(cost, TOKENS)
    assert sorted(meter.spent.paper for meter in one.meters) == [0, whole.paper]
    assert [meter.attributed for meter in one.meters] == [whole, whole], "as if it had been alone"
    charged = whole.paper if unit == "paper" else whole.exact
    assert books(one) == {("difficulty", "kept"): charged}
    await first.verifier.score(SOLUTION)
    scored = cost.exact(TOKENS, len(SOLUTION), len(SOLUTION))
    assert one.meters[0].attributed.exact == whole.exact + scored
    assert one.purse.spent == (one.spent().paper if unit == "paper" else one.spent().exact)
    # Who scores without asking reads the prompt for the first time.
    third = one.models()
    await third.verifier.score(SOLUTION)
    assert one.meters[2].attributed.exact == cost.exact(0, TOKENS, 0) + scored


async def test_what_is_on_record_costs_nothing_and_is_no_steps_score(table: Any) -> None:
    one = table()
    value = await one.models().verifier.prompt_value()
    [row] = one.bench.score_rows
    salt = one.bench.run.salt("verifier")
    assert (row["key"], row["value"]) == (prompt_key(salt, PROMPT.token_ids), value)
    assert row["key"] != score_key(salt, PROMPT.token_ids)
    later = table(granted=0)
    later.bench.prior = Prior(scores={row["key"]: value})
    assert await later.models().verifier.prompt_value() == value
    assert later.scorer.requests == later.bench.score_rows == []
    assert later.meters[0].attributed == prompt_cost(later.costs["verifier"], TOKENS)
    assert later.meters[0].spent.paper == 0


async def test_a_purse_that_cannot_pay_it_refuses_it(table: Any) -> None:
    one = table(granted=prompt_cost(table().costs["verifier"], TOKENS).paper - 1)
    one.purse.refill(None)
    with pytest.raises(PurseEmpty):
        await one.models().verifier.prompt_value()
    assert one.meters[-1].refused
    assert one.scorer.requests == []


@pytest.mark.parametrize("wrong", [float("nan"), 1.5, -0.1, ScoreError("too long")], ids=str)
async def test_a_value_that_is_none_is_asked_for_again_and_never_a_number(table: Any, wrong: Any) -> None:
    one = table()
    passing = one.bench.scorer = Troubled(one.scorer, [wrong] * (SCORE_TRIES - 1))
    assert 0 < await one.models().verifier.prompt_value() < 1
    worst = prompt_cost(one.costs["verifier"], TOKENS).paper
    assert books(one)["difficulty", "failed"] == (SCORE_TRIES - 1) * worst
    lasting = table()
    scorer = lasting.bench.scorer = Troubled(lasting.scorer, [wrong] * 9)
    with pytest.raises(ScoreError):
        await lasting.models().verifier.prompt_value()
    assert (passing.asked, scorer.asked, lasting.purse.reserved) == (SCORE_TRIES, SCORE_TRIES, 0)
    assert lasting.bench.score_rows == []


async def test_a_call_that_is_lost_is_paid_and_asked_again(table: Any) -> None:
    one = table()
    one.bench.scorer = Troubled(one.scorer, [CallLost("gone")])
    await one.models().verifier.prompt_value()
    worst = prompt_cost(one.costs["verifier"], TOKENS).paper
    assert books(one) == {("difficulty", "lost"): worst, ("difficulty", "kept"): worst}


async def test_a_verifier_that_judges_no_prompt_fails_who_asks(table: Any) -> None:
    one = table()
    one.bench.scorer = Troubled(one.scorer, [None])
    with pytest.raises(ValueError, match="judges no prompt before a step"):
        await one.models().verifier.prompt_value()
    assert one.purse.reserved == 0


async def test_of_a_strategy_that_failed_what_judged_its_prompt_came_to_nothing(table: Any) -> None:
    one = table()
    await one.models().verifier.prompt_value()
    one.bench.book_failed(set())
    assert books(one) == {("difficulty", "failed"): one.purse.spent}


async def test_where_nothing_is_kept_what_judged_the_prompt_is_no_draw_that_was_dropped(table: Any) -> None:
    one = table()
    await one.models().verifier.prompt_value()
    one.bench.book_pruned([])
    assert books(one) == {("difficulty", "kept"): one.purse.spent}
