"""What strategies are handed, over real engines: seeded by place, shared by token, paid before it is sent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from actors.strategy import Prompt, Sample, Sampling
from actors.work import Cost, Unit
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.search.lookahead import Lookahead
from orchestration.strategies.search.mcts import Mcts
from orchestration.strategies.search.particle_filtering import ParticleFiltering
from orchestration.strategies.search.rebase import Rebase
from tests.support.table import PROMPT, said
from tests.support.tiny import MAX_TOKENS

# Places


async def test_a_place_decides_its_tokens_whenever_and_beside_whatever_it_is_drawn(table: Any) -> None:
    places = [(i,) for i in range(6)]
    first = table().models().policy
    together = await asyncio.gather(*(first.sample((), place) for place in places))
    assert len({sample.token_ids for sample in together}) == 6
    second = table().models().policy
    for place, sample in reversed(list(zip(places, together, strict=True))):
        alone = await second.sample((), place)
        assert (alone.token_ids, alone.finish) == (sample.token_ids, sample.finish)
        assert alone.logprobs == pytest.approx(sample.logprobs, abs=1e-4)


async def test_seed_problem_and_sampling_take_part_in_the_draw(table: Any) -> None:
    one = table()
    drawn = await one.models().policy.sample((), (0,))
    again = table()
    again.bench.seed = 1
    assert await again.models().policy.sample((), (0,)) != drawn
    renamed = table(prompt=Prompt("another", PROMPT.token_ids))
    assert await renamed.models().policy.sample((), (0,)) != drawn
    models = one.models()
    cooler = await models.policy.sample((), (0,), sampling=Sampling(0.9))
    narrower = await models.policy.sample((), (0,), sampling=Sampling(1.0, 0.9))
    seeds = {request.seed for request in one.engine.requests}
    assert len(seeds) == 3
    assert drawn not in (cooler, narrower)
    await models.policy.sample((), (0,), one_step=True)
    assert len({request.seed for request in one.engine.requests}) == 4
    assert again.models().seed == 1


async def test_a_step_is_asked_for_with_the_very_ids_of_prompt_and_steps_before_it(table: Any) -> None:
    one = table()
    models = one.models()
    solution: tuple[int, ...] = ()
    finish, place = "stop", ()
    while finish == "stop" and len(solution) < models.policy.max_tokens:
        place = (*place, 2)
        before = len(one.engine.requests)
        sample = await models.policy.sample(solution, place, one_step=True)
        request, result = one.engine.requests[before], one.engine.results[before]
        assert request.token_ids == PROMPT.token_ids + solution
        assert request.extend
        assert request.stop_ids == one.bench.reader.stop_ids
        assert sample.token_ids == result.token_ids
        solution, finish = solution + sample.token_ids, sample.finish
        assert len(solution) <= MAX_TOKENS
    assert len(one.engine.requests) >= 2
    for earlier, result, later in zip(
        one.engine.requests, one.engine.results, one.engine.requests[1:], strict=False
    ):
        assert later.token_ids == earlier.token_ids + result.token_ids
    assert [result.prefilled for result in one.engine.results[1:]] == [0] * (len(one.engine.results) - 1)
    await models.verifier.score(solution)
    [asked] = one.scorer.requests
    ends = one.bench.reader.step_ends(solution)
    assert asked.token_ids == PROMPT.token_ids + solution[: ends[-1]]
    assert (asked.prompt_length, asked.step_ends) == (5, tuple(5 + end for end in ends))


async def test_a_solution_never_exceeds_its_limit_nor_the_context(table: Any) -> None:
    one = table()
    policy = one.models().policy
    prefix = tuple([40] * (MAX_TOKENS - 1))
    assert policy.max_tokens == MAX_TOKENS
    assert len((await policy.sample(prefix, (0,))).token_ids) == 1
    assert await policy.sample((*prefix, 40), (0,)) == Sample((), (), "length")
    long = table(prompt=Prompt("long", tuple([40] * 120)))
    policy = long.models().policy
    assert policy.max_tokens == 8
    assert len((await policy.sample((), (0,))).token_ids) <= 8
    longer = table(prompt=Prompt("longer", tuple([40] * 128)))
    assert await longer.models().policy.sample((), (0,)) == Sample((), (), "length")
    assert longer.engine.requests == []


# Sharing


async def test_strategies_share_what_they_draw_and_each_is_attributed_it(table: Any) -> None:
    one = table()
    majority, best = await one.solve(Majority(4), BestOfN(4))
    assert [c.token_ids for c in majority.candidates] == [c.token_ids for c in best.candidates]
    assert len(one.engine.requests) == 4
    tokens = sum(len(c.token_ids) for c in majority.candidates)
    assert one.spent().of("policy") == tokens == one.engine.counters().tokens_out
    assert [meter.attributed.of("policy") for meter in one.meters] == [tokens, tokens]
    scored = sum(c.step_ends[-1] for c in best.candidates)
    assert one.spent().of("verifier") <= scored
    assert [meter.attributed.of("verifier") for meter in one.meters] == [0, one.spent().of("verifier")]
    assert one.purse.spent == one.spent().paper
    assert one.purse.reserved == 0
    alone = table()
    await alone.solve(BestOfN(4))
    assert alone.meters[0].attributed == one.meters[1].attributed, "as if it had been alone"
    assert alone.meters[0].attributed.paper == alone.meters[0].spent.paper


async def test_a_smaller_n_draws_nothing_of_its_own(table: Any) -> None:
    one = table()
    small, large = await one.solve(Majority(2), Majority(5))
    assert large.candidates[:2] == small.candidates
    assert len(one.engine.requests) == 5


async def test_other_sampling_is_not_shared(table: Any) -> None:
    one = table()
    await one.solve(Majority(2), Majority(2, temperature=0.8), Greedy())
    assert len(one.engine.requests) == 5


async def test_who_shares_a_draw_gets_it_although_the_first_to_ask_was_cancelled(table: Any) -> None:
    one = table()
    first = asyncio.create_task(one.models().policy.sample((), (0,)))
    second = asyncio.create_task(one.models().policy.sample((), (0,)))
    await asyncio.wait_for(one.engine.asked.wait(), 10)
    first.cancel()
    assert (await second).token_ids == one.engine.results[0].token_ids
    assert first.cancelled()
    assert one.spent().of("policy") == len(one.engine.results[0].token_ids)
    assert one.purse.reserved == 0


async def test_scores_are_computed_once_and_a_longer_solution_pays_for_its_newest_step(table: Any) -> None:
    one = table()
    models, other = one.models(), one.models()
    steps = ((40, 41, 13), (42, 13), (43, 44, 45, 13))
    solution: tuple[int, ...] = ()
    for number, step in enumerate(steps):
        solution += step
        before = one.meters[0].spent
        values = await models.verifier.score(solution)
        assert len(values) == number + 1
        assert one.meters[0].spent.of("verifier") - before.of("verifier") == len(step)
        assert one.meters[0].spent.paper - before.paper == one.costs["verifier"].paper(len(step))
    computed = one.scorer.engine.counters().tokens_computed
    assert computed == len(PROMPT.token_ids) + len(solution)
    assert await other.verifier.score(solution) == values
    assert await models.verifier.score((*solution, 1)) == values, "a lone end token is no step"
    assert one.scorer.engine.counters().tokens_computed == computed
    assert one.meters[1].spent == Cost()
    assert one.meters[1].attributed.of("verifier") == len(solution)
    assert one.meters[0].attributed.of("verifier") == len(solution)
    assert await models.verifier.score((13, 1)) == ()


# Costs


async def test_a_greedy_sample_costs_two_flops_a_parameter_and_token(table: Any, policy: Path) -> None:
    one = table()
    [solution] = await one.solve(Greedy())
    model = AutoModelForCausalLM.from_pretrained(policy)
    embedding = model.get_input_embeddings().weight
    parameters = sum(p.numel() for p in model.parameters() if p is not embedding)
    tokens = len(solution.candidates[0].token_ids)
    assert tokens > 0
    assert one.meters[0].spent.paper == one.meters[0].attributed.paper == 2 * parameters * tokens
    assert one.purse.spent == 2 * parameters * tokens


async def test_a_beam_is_attributed_every_token_of_its_tree_once(table: Any) -> None:
    """The exact price of one token at position p is that of one more after p cached ones; the rest is a sum."""
    one = table()
    [solution] = await one.solve(Beam(6, 2))
    assert max(len(c.step_ends) for c in solution.candidates) > 1
    start = len(PROMPT.token_ids)
    policy = one.costs["policy"].exact(0, start - 1, 0)
    tokens = 0
    for (prefix, _, _, _), drawn in one.bench.draws.items():
        for position in range(len(prefix), len(prefix) + len(drawn.result().token_ids)):
            # The token before it is fed, and one row of logits gives it.
            policy += one.costs["policy"].exact(start + position - 1, 1, 1)
            tokens += 1
    steps = {
        c.token_ids[:b]: b - a
        for c in solution.candidates
        for a, b in zip((0, *c.step_ends), c.step_ends, strict=False)
    }
    verifier = one.costs["verifier"].exact(0, start, 0)
    for prefix, length in steps.items():
        verifier += one.costs["verifier"].exact(start + len(prefix) - length, length, length)
    attributed = one.meters[0].attributed
    assert attributed.of("policy") == tokens
    assert attributed.of("verifier") == sum(steps.values())
    assert attributed.exact == policy + verifier
    assert attributed.paper == one.costs["policy"].paper(tokens) + one.costs["verifier"].paper(
        sum(steps.values())
    )


async def test_a_draw_asked_for_again_is_attributed_once(table: Any) -> None:
    one = table()
    policy = one.models().policy
    first = await policy.sample((), (0,))
    again, _ = await asyncio.gather(policy.sample((), (0,)), one.models().policy.sample((), (0,)))
    assert again == first
    assert one.meters[0].attributed.of("policy") == len(first.token_ids)
    assert one.meters[1].attributed == one.meters[0].attributed


async def test_rollouts_are_shared_attributed_once_and_pruned_unless_the_search_keeps_the_same_tokens(
    table: Any,
) -> None:
    one = table()
    [solution] = await one.solve(Lookahead(6, 2, k=2))
    draws = {(key[0], key[1]): done.result().token_ids for key, done in one.bench.draws.items()}
    ahead = {prefix: tokens for (prefix, place), tokens in draws.items() if not place}
    assert len(ahead) > 6
    meter, price = one.meters[0], one.costs["policy"].paper(1)
    assert meter.attributed.of("policy") == sum(map(len, draws.values())) == meter.spent.of("policy")
    assert len(one.engine.requests) == len(draws)
    kept = [c.token_ids for c in solution.candidates if c.kept]
    stand = [
        len(tokens)
        for (prefix, _), tokens in draws.items()
        if any(whole[: len(prefix + tokens)] == prefix + tokens for whole in kept)
    ]
    one.bench.book_pruned(kept)
    entries = {(entry.purpose, entry.kind): entry.flops for entry in one.purse.entries}
    assert entries["policy", "kept"] == sum(stand) * price
    assert entries["policy", "pruned"] == (meter.spent.of("policy") - sum(stand)) * price
    assert solution.kept_tokens <= sum(stand)


@pytest.mark.parametrize("unit", ["paper", "exact"])
async def test_every_request_is_sent_with_its_worst_case_set_aside(table: Any, unit: Unit) -> None:
    one = table(unit=unit)
    await one.solve(Beam(4, 2), BestOfN(3), Greedy(), Rebase(4), ParticleFiltering(4), Mcts(4, 2))
    for request, reserved in zip(one.engine.requests, one.engine.reserved, strict=True):
        context, most = len(request.token_ids), request.max_tokens
        assert context - len(PROMPT.token_ids) + most == MAX_TOKENS
        paper = one.costs["policy"].paper(most)
        exact = one.costs["policy"].exact(0, context - 1 + most, most)
        assert reserved >= (paper if unit == "paper" else exact)
    assert all(one.scorer.reserved)
    spent = one.spent()
    assert one.purse.spent == (spent.paper if unit == "paper" else spent.exact)
    assert one.purse.reserved == 0


async def test_exact_spending_is_what_the_engines_computed(table: Any) -> None:
    one = table(unit="exact")
    await one.solve(Beam(4, 2), Majority(3))
    policy = sum(
        one.costs["policy"].exact(len(q.token_ids) - 1 - r.prefilled, r.prefilled, 0)
        + one.costs["policy"].exact(len(q.token_ids) - 1, len(r.token_ids), len(r.token_ids))
        for q, r in zip(one.engine.requests, one.engine.results, strict=True)
    )
    assert 0 < policy < one.purse.spent
    counters = one.engine.counters()
    assert counters.tokens_out == sum(len(r.token_ids) for r in one.engine.results)
    assert counters.tokens_computed == counters.tokens_out + sum(r.prefilled for r in one.engine.results)


async def test_a_verifier_of_a_users_own_is_told_question_and_steps_as_text(table: Any) -> None:
    one = table(prompt=replace(PROMPT, question="How many?"))
    one.bench.run = replace(one.bench.run, texts=True)
    solutions = await one.solve(BestOfN(n=3), Beam(n=4, width=2))
    assert one.scorer.requests
    for request in one.scorer.requests:
        assert request.question == "How many?"
        assert len(request.steps) == len(request.step_ends)
        ids = request.token_ids[request.prompt_length : request.step_ends[-1]]
        assert "".join(request.steps) == one.bench.reader.text(ids)
        assert all(step.strip() for step in request.steps)
    told = table()
    assert [said(one) for one in await told.solve(BestOfN(n=3), Beam(n=4, width=2))] == [
        said(one) for one in solutions
    ]
    assert all(not request.question and not request.steps for request in told.scorer.requests)
