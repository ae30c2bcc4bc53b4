"""The reviser's client, and a verifier that reads attempts, over real engines: contexts, seeds, what is attributed."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from actors.seeds import derive
from actors.strategy import PurseEmpty, Sampling
from orchestration.strategies.revision.revision import Revision
from tests.support.table import PROMPT, Table
from tests.support.tiny import EOS_IDS, FRAMING, MAX_TOKENS, NEWLINE

ATTEMPTS = ((20, 21, EOS_IDS[0]), (22, 23, 24, EOS_IDS[1]))


@pytest.fixture
async def table(policy: Path, verifier: Path) -> AsyncIterator[Table]:
    one = Table(policy, verifier, reviser=policy)
    yield one
    await one.close()


async def test_a_revision_reads_its_attempts_without_what_ended_them(table: Table) -> None:
    reviser = table.models().reviser
    await reviser.revise(ATTEMPTS, (0, 1))
    await reviser.revise((), (0, 0))
    first, second = table.drawing["reviser"].requests
    start, rest = PROMPT.token_ids[:1], PROMPT.token_ids[1:]
    assert first.token_ids == (*start, 20, 21, EOS_IDS[0], 22, 23, 24, EOS_IDS[0], *rest)
    assert second.token_ids == PROMPT.token_ids
    assert (first.max_tokens, second.max_tokens) == (MAX_TOKENS, MAX_TOKENS)
    assert first.seed != second.seed


async def test_of_too_many_attempts_for_its_context_the_oldest_are_left_out(table: Table) -> None:
    long = tuple((20 + at,) * 20 for at in range(6))
    await table.models().reviser.revise(long, (0, 6))
    [asked] = table.drawing["reviser"].requests
    # 128 less a solution and the prompt leave room for four of 21 tokens each.
    assert asked.token_ids == FRAMING.context(PROMPT.token_ids, long[2:])
    assert len(asked.token_ids) + MAX_TOKENS <= 128


async def test_the_place_decides_a_draw_and_what_stands_before_it_whether_it_is_the_same_one(
    table: Table,
) -> None:
    one, other = table.models().reviser, table.models().reviser
    first = await one.revise(ATTEMPTS, (0, 1))
    assert await other.revise(ATTEMPTS, (0, 1)) == first
    assert len(table.drawing["reviser"].requests) == 1
    seeds = set()
    for attempts, place, sampling in (
        (ATTEMPTS[:1], (0, 1), Sampling()),
        (ATTEMPTS, (0, 2), Sampling()),
        (ATTEMPTS, (0, 1), Sampling(0.5)),
    ):
        await one.revise(attempts, place, sampling=sampling)
        seeds.add(table.drawing["reviser"].requests[-1].seed)
    # Attempts are no part of a seed: a chain is seeded by place.
    assert len(seeds) == 3
    assert table.drawing["reviser"].requests[0].seed in seeds
    assert len(table.drawing["reviser"].requests) == 4


async def test_an_empty_purse_refuses_a_revision_and_says_so(policy: Path, verifier: Path) -> None:
    one = Table(policy, verifier, reviser=policy, granted=1)
    one.purse.refill(None)
    models = one.models()
    with pytest.raises(PurseEmpty):
        await models.reviser.revise((), (0, 0))
    assert one.meters[0].refused
    assert one.purse.spent == one.purse.reserved == 0
    await one.close()


async def test_without_a_reviser_it_is_refused(policy: Path, verifier: Path) -> None:
    one = Table(policy, verifier)
    with pytest.raises(ValueError, match="this run has no reviser"):
        await one.models().reviser.revise((), (0, 0))
    reading = Table(policy, verifier, reviser=policy)
    with pytest.raises(ValueError, match="the policy's are 0 to"):
        await reading.models().reviser.revise(((10**6,),), (0, 0))
    await one.close()
    await reading.close()


async def test_what_a_chain_is_attributed_leaves_out_what_it_had_read_before(table: Table) -> None:
    """By hand: the first context whole, of the next what is new behind the chain's last one and its attempt."""
    reviser, cost = table.models().reviser, table.costs["reviser"]
    first = await reviser.revise((), (0, 0))
    second = await reviser.revise((first.token_ids,), (0, 1))
    third = await reviser.revise((first.token_ids, second.token_ids), (0, 2))
    prompt = PROMPT.token_ids
    expected = cost.exact(0, len(prompt) - 1, 0)
    made = [(prompt, first), (FRAMING.context(prompt, [first.token_ids]), second)]
    made.append((FRAMING.context(prompt, [first.token_ids, second.token_ids]), third))
    for (before, drawn), (context, _) in itertools.pairwise(made):
        known = before + drawn.token_ids
        alike = max(
            next(
                (at for at, (a, b) in enumerate(zip(context, text, strict=False)) if a != b),
                min(len(context), len(text)),
            )
            for text in (known, prompt)
        )
        expected += cost.exact(alike, len(context) - 1 - alike, 0)
    for context, drawn in made:
        expected += cost.exact(len(context) - 1, len(drawn.token_ids), len(drawn.token_ids))
    assert table.meters[0].attributed.exact == expected


async def test_steps_of_a_revision_read_what_a_whole_one_reads_and_the_steps_before_id_by_id(
    table: Table,
) -> None:
    models, before = table.models(), FRAMING.context(PROMPT.token_ids, ATTEMPTS)
    drawn = table.drawing["reviser"]
    longest = 0
    for first in range(4):
        begun = len(drawn.requests)
        solution: tuple[int, ...] = ()
        place, starts, finish = (first,), [0], "stop"
        while finish == "stop":
            step = await models.reviser.revise(ATTEMPTS, place, prefix=solution, one_step=True)
            solution, finish, place = solution + step.token_ids, step.finish, (*place, 0)
            starts.append(len(solution))
        ends = starts[1:-1]
        asked = drawn.requests[begun:]
        assert [one.token_ids for one in asked] == [before + solution[:end] for end in starts[:-1]]
        assert [one.max_tokens for one in asked] == [MAX_TOKENS - end for end in starts[:-1]]
        # Whatever was there before was found in the cache: the last token is read with the first that is drawn.
        assert [one.prefilled for one in drawn.results[begun + 1 :]] == [0] * len(ends)
        # Its rows say where in the solution they stand.
        assert [row["start"] for row in table.bench.samples[begun:]] == starts[:-1]
        longest = max(longest, len(asked))
    assert longest > 2
    assert table.meters[0].stepwise


async def test_a_step_an_end_and_a_whole_attempt_have_seeds_of_their_own(table: Table) -> None:
    reviser, begun = table.models().reviser, (20, NEWLINE)
    await reviser.revise(ATTEMPTS, (0,))
    await reviser.revise(ATTEMPTS, (0,), one_step=True)
    await reviser.revise(ATTEMPTS, (0,), prefix=begun)
    await reviser.revise(ATTEMPTS, (0,), prefix=begun, one_step=True)
    whole, step, end, further = table.drawing["reviser"].requests
    assert len({whole.seed, step.seed, end.seed}) == 3
    # The prefix stands in what is read; the seed is the place's.
    assert (further.seed, further.token_ids) == (step.seed, end.token_ids)
    # What was drawn before there were steps is found again.
    info = table.drawing["reviser"].info
    assert whole.seed == derive(0, PROMPT.id, info.model_hash, 1.0, 1.0, "revision", (0,))
    full = await reviser.revise(ATTEMPTS, (1,), prefix=(20,) * MAX_TOKENS)
    assert (full.token_ids, full.finish) == ((), "length")
    assert len(table.drawing["reviser"].requests) == 4
    with pytest.raises(ValueError, match="prefix has the token 1000000"):
        await reviser.revise(ATTEMPTS, (0,), prefix=(10**6,))


async def test_what_a_tree_is_attributed_reads_its_attempts_once(table: Table) -> None:
    """By hand: the context whole, then what is drawn; of a beginning that another model drew all of it."""
    reviser, cost = table.models().reviser, table.costs["reviser"]
    before = FRAMING.context(PROMPT.token_ids, ATTEMPTS)
    firsts = [await reviser.revise(ATTEMPTS, (at,), one_step=True) for at in range(3)]
    steps = [((), one) for one in firsts]
    for at, one in enumerate(firsts):
        if one.finish == "stop":
            for child in range(2):
                place = (at, child)
                drawn = await reviser.revise(ATTEMPTS, place, prefix=one.token_ids, one_step=True)
                steps.append((one.token_ids, drawn))
    assert len(steps) > 4
    expected = cost.exact(0, len(before) - 1, 0)
    for prefix, one in steps:
        expected += cost.exact(len(before + prefix) - 1, len(one.token_ids), len(one.token_ids))
    assert table.meters[0].attributed.exact == expected
    foreign = (50, 51, NEWLINE)
    drawn = await reviser.revise(ATTEMPTS, (0,), prefix=foreign)
    new = len(foreign) - 1
    assert table.meters[0].attributed.exact - expected == cost.exact(len(before), new, 0) + cost.exact(
        len(before) + new, len(drawn.token_ids), len(drawn.token_ids)
    )
    assert table.meters[0].attributed.exact <= table.meters[0].spent.exact


async def test_a_verifier_that_reads_attempts_is_shown_those_of_the_chain(
    policy: Path, verifier: Path
) -> None:
    one = Table(policy, verifier, reviser=policy)
    one.bench.run = replace(one.bench.run, judging=FRAMING, judged=128)
    strategy = Revision(sequential=4, parallel=2)
    [solution] = await one.solve(strategy)
    asked = {request.token_ids: request for request in one.scorer.requests}
    for chain in range(2):
        mine = [c for c in solution.candidates if c.index // 4 == chain]
        shown: list[tuple[int, ...]] = []
        for attempt in mine:
            context = FRAMING.context(PROMPT.token_ids, shown, 128 - MAX_TOKENS)
            if attempt.step_ends:
                end = attempt.step_ends[-1]
                request = asked[context + attempt.token_ids[:end]]
                assert request.prompt_length == len(context)
                assert request.step_ends == tuple(len(context) + at for at in attempt.step_ends)
                assert len(attempt.scores) == len(attempt.step_ends)
            if attempt.finish == "eos" and attempt.answer is not None:
                shown.append(attempt.token_ids)
    assert any(request.prompt_length > len(PROMPT.token_ids) for request in asked.values())
    # Each step's score has a key of its own, by all that was read before it.
    keys = [row["key"] for row in one.bench.score_rows]
    assert len(set(keys)) == len(keys)
    meter = one.meters[0]
    assert (
        meter.attributed.of("verifier")
        == meter.spent.of("verifier")
        == sum(c.step_ends[-1] for c in solution.candidates if c.step_ends)
    )
    assert meter.attributed.exact <= meter.spent.exact
    await one.close()
