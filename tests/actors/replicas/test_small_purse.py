"""A purse that cannot pay all that is wanted: a first candidate comes before any second, with the scores that make it one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from actors.replicas.clients import TaskModels
from actors.replicas.meter import Meter
from actors.replicas.solving import run
from actors.store.library import Prior
from actors.strategy import PurseEmpty, Sample
from orchestration.strategies.sampling.best_of_n import BestOfN
from tests.support.table import refused_at_a_stand
from tests.support.tiny import MAX_TOKENS, make_task


def prices(one: Any) -> tuple[int, int]:
    """What a whole draw takes at worst, and its scores."""
    return one.costs["policy"].paper(MAX_TOKENS), one.costs["verifier"].paper(MAX_TOKENS)


@pytest.mark.parametrize("seed", [2, 3, 9])
async def test_the_score_of_a_first_candidate_is_paid_before_a_second_draw(table: Any, seed: int) -> None:
    one = table()
    one.purse.granted = sum(prices(one))
    one.bench.seed = seed
    task = make_task(123, (BestOfN(6),), seed)
    one.purse.need(0, one.bench.candidate(["policy"], scored=True))
    work = run(task.keys[0], task.strategies[0], task, one.bench)
    ended = await refused_at_a_stand(one.purse, work)
    assert ended.outcome.state == "answered"
    first = ended.solution.candidates[0]
    assert first.scores or not first.step_ends
    assert one.purse.spent <= one.purse.granted
    assert one.purse.free < sum(prices(one)), "what is left is no candidate"


async def test_a_first_candidate_without_a_step_needs_no_score(table: Any) -> None:
    rich = table()
    await rich.models().policy.sample((), (0,))
    [row] = rich.bench.samples
    one = table()
    one.bench.prior = Prior({row["key"]: Sample((1,), (-0.5,), "eos")})
    draw, score = prices(one)
    one.purse.granted = draw
    one.purse.refill(None)
    one.purse.need(0, draw + score)
    models = TaskModels.of(one.bench, Meter(), judged=True)
    blank = await models.policy.sample((), (0,))
    with pytest.raises(PurseEmpty):
        await models.policy.sample((), (1,))
    assert await models.verifier.score(blank.token_ids) == ()
    assert (await models.policy.sample((), (1,))).token_ids


async def test_who_joined_a_further_draw_of_another_asks_again_at_its_own_turn(table: Any) -> None:
    """Refused as another's second candidate, it is a first one still, and can be paid."""
    one = table()
    draw, _ = prices(one)
    one.purse.granted = draw - 1
    first, second = one.models(), one.models()
    for seat in range(2):
        one.purse.need(seat, draw)
    asked = [
        asyncio.create_task(models.policy.sample((), place))
        for models, place in ((first, (0,)), (first, (1,)), (second, (1,)))
    ]
    while one.purse.asked < 2 * draw:  # noqa: ASYNC110
        await asyncio.sleep(0)
    one.purse.refill(2 * draw)
    one.purse.refill(None)
    mine, further, joined = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(further, PurseEmpty)
    assert mine.token_ids
    assert joined.token_ids
    assert [meter.refused for meter in one.meters] == [True, False]
