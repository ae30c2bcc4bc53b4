"""A judge that writes about each step, over real engines: what it wrote about one is read for the next, and on the books."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from actors.engines.base import ScoreRequest, Scores, Thinking
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.store.library import SampleLibrary
from actors.strategy import Candidate, Solution
from actors.work import Unit
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.search.particle_filtering import ParticleFiltering
from tests.support.inprocess import Cell
from tests.support.step_judges import genprm_script, save_genprm
from tests.support.table import PLENTY, PROMPT, Table, refused_at_a_stand
from tests.support.thinking_verifiers import check_books
from tests.support.tiny import make_task

QUESTION = "What is 1 + 2 + 3?"
ASKED = replace(PROMPT, question=QUESTION)
THINKING = Thinking(5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_genprm(tmp_path_factory.mktemp("genprm") / "model")


def table(
    policy: Path,
    folder: Path,
    granted: int = PLENTY,
    unit: Unit = "paper",
    thinking: Thinking = THINKING,
) -> Table:
    family = ChosenFamily("genprm", folder, policy, thinking=thinking)
    return Table(policy, folder, granted, unit, ASKED, family=family)


def scored(solutions: list[Solution]) -> Iterator[Candidate]:
    for solution in solutions:
        yield from (one for one in solution.candidates if one.scores)


async def test_every_strategy_gets_a_score_of_each_step_which_is_judged_once(
    policy: Path, folder: Path
) -> None:
    one = table(policy, folder)
    try:
        strategies = Greedy(), Majority(n=4), BestOfN(n=4), Beam(n=4, width=2), ParticleFiltering(n=4)
        found = {candidate.token_ids: candidate for candidate in scored(await one.solve(*strategies))}
        several = [candidate for candidate in found.values() if len(candidate.step_ends) > 1]
        for candidate in several[:: max(1, len(several) // 3)]:
            starts = (0, *candidate.step_ends)
            texts = [
                one.bench.reader.step_text(candidate.token_ids, start, end)
                for start, end in itertools.pairwise(starts)
            ]
            judged = genprm_script(folder, QUESTION, texts, THINKING.tokens)
            assert candidate.scores == pytest.approx([step.score for step in judged], abs=1e-4)
        assert any(len(set(candidate.scores)) > 1 for candidate in several)
        # However many ask for a step at once, it is written about once.
        asked = [request.token_ids for request in one.scorer.requests]
        assert len(set(asked)) == len(asked) == len(one.bench.score_rows)
        steps = {candidate.token_ids[:end] for candidate in found.values() for end in candidate.step_ends}
        assert len(steps) <= len(asked)
    finally:
        await one.close()


@pytest.mark.parametrize(("unit", "thinking"), [("paper", THINKING), ("exact", Thinking(4, 0.9, 2))])
async def test_what_it_wrote_is_on_the_books_and_never_more_than_was_reserved(
    unit: Unit, thinking: Thinking, policy: Path, folder: Path
) -> None:
    one = table(policy, folder, unit=unit, thinking=thinking)
    try:
        # The scorer asserts that each request finds its price reserved.
        await one.solve(BestOfN(n=3), Beam(n=4, width=2))
        check_books(one, unit)
    finally:
        await one.close()


async def test_a_small_purse_is_never_overdrawn(policy: Path, folder: Path) -> None:
    plenty = table(policy, folder)
    await plenty.solve(BestOfN(n=3), BestOfN(n=4))
    whole, asked = plenty.purse.spent, len(plenty.scorer.requests)
    await plenty.close()
    one = table(policy, folder, int(0.6 * whole))
    try:
        solutions = await refused_at_a_stand(one.purse, one.solve(BestOfN(n=3), BestOfN(n=4)))
        assert one.purse.spent <= one.purse.granted
        assert one.purse.reserved == 0
        assert all(solution.candidates for solution in solutions)
        assert 0 < len(one.scorer.requests) < asked
    finally:
        await one.close()


async def test_alone_each_strategy_is_attributed_what_it_would_have_paid(policy: Path, folder: Path) -> None:
    one, other = table(policy, folder, unit="exact"), table(policy, folder, unit="exact")
    try:
        await one.solve(BestOfN(n=3), BestOfN(n=3))
        await other.solve(BestOfN(n=3))
        assert one.meters[0].attributed == one.meters[1].attributed == other.meters[0].attributed
        assert one.purse.spent == other.purse.spent
        # Every step is read, written about and judged for the first time: what it took is what it takes alone.
        assert other.meters[0].attributed.tokens == other.spent().tokens
    finally:
        await one.close()
        await other.close()


async def _sharing(one: Table) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two solutions of two steps or more that have their first one in common."""
    drawing = one.models()
    ends: tuple[int, ...] = ()
    for at in range(60):
        first = (await drawing.policy.sample((), (at,))).token_ids
        ends = tuple(drawing.reader.step_ends(first))
        if len(ends) > 1:
            break
    begun = first[: ends[0]]
    for at in range(60):
        second = begun + (await drawing.policy.sample(begun, (99, at))).token_ids
        if second[: ends[1]] != first[: ends[1]] and len(drawing.reader.step_ends(second)) > 1:
            break
    return first[: ends[1]], second


async def test_who_ends_takes_no_judgement_of_a_step_from_another(policy: Path, folder: Path) -> None:
    one = table(policy, folder)
    first, second = await _sharing(one)
    a, b = one.models(), one.models()
    gate, asked_for, real = asyncio.Event(), asyncio.Event(), one.scorer.engine.score

    async def held(request: ScoreRequest) -> Scores:
        asked_for.set()
        await gate.wait()
        return await real(request)

    one.scorer.engine.score = held  # type: ignore[method-assign]
    ending = asyncio.ensure_future(a.verifier.score(first))
    waiting = asyncio.ensure_future(b.verifier.score(second))
    await asyncio.wait_for(asked_for.wait(), 60)
    # The other comes to wait for it within a few turns.
    for _ in range(50):
        await asyncio.sleep(0)
    one.meters[1].end()
    gate.set()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert len(await waiting) > 1
    asked = [request.token_ids for request in one.scorer.requests]
    assert len(asked) == len(set(asked)), "the first step was judged once"
    assert {entry.kind for entry in one.purse.entries if entry.purpose == "verifier"} == {"kept"}
    await one.close()


async def test_a_step_that_another_used_is_no_failure_of_who_paid(policy: Path, folder: Path) -> None:
    one = table(policy, folder)
    first, second = await _sharing(one)
    a, b = one.models(), one.models()
    real, asked = one.scorer.engine.score, itertools.count(1)

    async def failing(request: ScoreRequest) -> Scores:
        if next(asked) == 2:
            raise RuntimeError("no second step")
        return await real(request)

    one.scorer.engine.score = failing  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="no second step"):
        await a.verifier.score(first)
    assert len(await b.verifier.score(second)) > 1
    before = one.purse.entries
    one.bench.book_failed(one.meters[0].used | one.meters[2].used)
    assert one.purse.entries == before
    await one.close()


async def test_a_step_that_is_known_is_gone_on_from_as_it_was_judged(policy: Path, folder: Path) -> None:
    first, second = table(policy, folder), table(policy, folder)
    try:
        (one,) = await first.solve(BestOfN(n=3))
        rows = first.bench.score_rows
        last = {row["key"] for row in rows[-1:]}
        kept = [row for row in rows if row["key"] not in last]
        assert len(kept) > 1
        left = {row["key"]: tuple(memoryview(row["left"]).cast("i")) for row in kept}
        assert all(left.values())
        second.bench.prior = replace(
            second.bench.prior,
            scores={row["key"]: row["value"] for row in kept},
            written={row["key"]: tuple(row["written"]) for row in kept},
            left=left,
        )
        (other,) = await second.solve(BestOfN(n=3))
        assert [request.token_ids for request in second.scorer.requests] == [
            first.scorer.requests[-1].token_ids
        ]
        assert [c.scores for c in other.candidates] == [
            pytest.approx(c.scores, abs=1e-6) for c in one.candidates
        ]
        assert second.meters[0].attributed == first.meters[0].attributed
        # Without what was written no score counts as known.
        third = table(policy, folder)
        third.bench.prior = replace(second.bench.prior, left={})
        (again,) = await third.solve(BestOfN(n=3))
        assert [c.scores for c in again.candidates] == [
            pytest.approx(c.scores, abs=1e-6) for c in one.candidates
        ]
        assert len(third.scorer.requests) == len(first.scorer.requests)
        await third.close()
    finally:
        await first.close()
        await second.close()


async def test_a_run_keeps_what_the_next_step_reads(policy: Path, folder: Path, tmp_path: Path) -> None:
    family = ChosenFamily("genprm", folder, policy, thinking=THINKING)
    task = make_task(0, (BestOfN(n=3), Beam(n=4, width=2)))
    task = replace(task, prompt=replace(task.prompt, question=QUESTION))
    async with Cell(tmp_path / "run", policy, folder, replicas=1, family=family) as run:
        progress = await run.run([task])
    assert progress.answered == 2
    prior = SampleLibrary([tmp_path / "run"]).prior(task.prompt.id)
    assert len(prior.scores) > 3
    assert prior.left.keys() == prior.written.keys() == prior.scores.keys()
    wording = family.wording()
    assert wording.writing is not None
    assert wording.pair is not None
    for ids in prior.left.values():
        assert ids[-1] in wording.pair
        assert ids[-1 - len(wording.writing.then) : -1] == wording.writing.then
