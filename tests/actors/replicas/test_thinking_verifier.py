"""A judge that writes before its score, over real engines: one judgement a solution, paid before it is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from actors.engines.base import Thinking
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.replicas.remote_scorer import ScoreError
from actors.store.library import SampleLibrary
from actors.strategy import Strategy
from actors.work import Unit
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.search.particle_filtering import ParticleFiltering
from tests.support.inprocess import Cell
from tests.support.table import PLENTY, PROMPT, Table, refused_at_a_stand
from tests.support.thinking_verifiers import check_books, save_thinkprm, thinkprm_script
from tests.support.tiny import make_task

QUESTION = "What is 1 + 2 + 3?"
ASKED = replace(PROMPT, question=QUESTION)
THINKING = Thinking(6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_thinkprm(tmp_path_factory.mktemp("thinkprm") / "model")


def table(
    policy: Path,
    folder: Path,
    granted: int = PLENTY,
    unit: Unit = "paper",
    thinking: Thinking = THINKING,
) -> Table:
    family = ChosenFamily("thinkprm", folder, policy, thinking=thinking)
    return Table(policy, folder, granted, unit, ASKED, family=family)


def texts(one: Table, ids: tuple[int, ...], ends: tuple[int, ...]) -> list[str]:
    """The steps as they are shown: from a solution's beginning to each end."""
    reader, starts = one.bench.reader, (0, *ends)
    return [reader.step_text(ids, start, end) for start, end in zip(starts, ends, strict=False)]


async def test_best_of_n_asks_one_judgement_a_solution(policy: Path, folder: Path) -> None:
    one = table(policy, folder)
    try:
        (solution,) = await one.solve(BestOfN(n=4))
        scored = [candidate for candidate in solution.candidates if candidate.scores]
        assert len({candidate.token_ids for candidate in scored}) == len(one.scorer.requests)
        assert any(len(candidate.step_ends) > 1 for candidate in scored)
        for candidate in scored:
            assert len(set(candidate.scores)) == 1
            assert len(candidate.scores) == len(candidate.step_ends)
            steps = texts(one, candidate.token_ids, candidate.step_ends)
            reference, _ = thinkprm_script(folder, QUESTION, steps, THINKING.tokens)
            assert candidate.scores[-1] == pytest.approx(reference, abs=1e-4)
    finally:
        await one.close()


@pytest.mark.parametrize("strategy", [Beam(n=4, width=2), ParticleFiltering(n=4)])
async def test_a_search_asks_one_for_each_new_step(strategy: Strategy, policy: Path, folder: Path) -> None:
    one = table(policy, folder)
    try:
        (solution,) = await one.solve(strategy)
        kept = next(candidate for candidate in solution.candidates if candidate.scores)
        steps = texts(one, kept.token_ids, kept.step_ends)
        reference, _ = thinkprm_script(folder, QUESTION, steps, THINKING.tokens)
        assert kept.scores[-1] == pytest.approx(reference, abs=1e-4)
        asked = {request.token_ids for request in one.scorer.requests}
        assert len(asked) == len(one.scorer.requests) > len(solution.candidates)
        # Each is known by what was judged, and by nothing that was not.
        assert len(one.bench.score_rows) == len(asked)
        assert all(len(row["written"]) == 1 for row in one.bench.score_rows)
    finally:
        await one.close()


@pytest.mark.parametrize("unit", ["paper", "exact"])
@pytest.mark.parametrize("thinking", [THINKING, Thinking(5, 0.9, 3)])
async def test_what_it_wrote_is_on_the_books_and_never_more_than_was_reserved(
    thinking: Thinking, unit: Unit, policy: Path, folder: Path
) -> None:
    one = table(policy, folder, unit=unit, thinking=thinking)
    try:
        await one.solve(BestOfN(n=4), Beam(n=4, width=2))
        check_books(one, unit)
    finally:
        await one.close()


@pytest.mark.parametrize("unit", ["paper", "exact"])
async def test_a_small_purse_is_never_overdrawn(unit: Unit, policy: Path, folder: Path) -> None:
    plenty = table(policy, folder, unit=unit)
    await plenty.solve(BestOfN(n=4))
    whole, asked = plenty.purse.spent, len(plenty.scorer.requests)
    await plenty.close()
    one = table(policy, folder, int(0.7 * whole), unit)
    try:
        # The scorer asserts that each request finds its price reserved.
        (solution,) = await refused_at_a_stand(one.purse, one.solve(BestOfN(n=4)))
        assert one.purse.spent <= one.purse.granted
        assert one.purse.reserved == 0
        assert solution.candidates
        assert 0 < len(one.scorer.requests) < asked
    finally:
        await one.close()


async def test_alone_each_strategy_is_attributed_what_it_would_have_paid(policy: Path, folder: Path) -> None:
    one, other = table(policy, folder), table(policy, folder)
    try:
        await one.solve(BestOfN(n=4), BestOfN(n=4))
        await other.solve(BestOfN(n=4))
        assert one.meters[0].attributed == one.meters[1].attributed == other.meters[0].attributed
        assert one.purse.spent == other.purse.spent
    finally:
        await one.close()
        await other.close()


async def test_a_judge_that_gives_no_number_is_asked_again_and_then_fails(policy: Path, folder: Path) -> None:
    one = table(policy, folder)
    one.scorer.short = True
    try:
        with pytest.raises(ScoreError, match="gave 0 scores for 1 step"):
            await one.solve(BestOfN(n=1))
        assert len(one.scorer.requests) == 3
        assert one.bench.score_rows == []
        failed = sum(entry.flops for entry in one.purse.entries if entry.kind == "failed")
        assert failed > 0
    finally:
        await one.close()


async def test_a_run_keeps_judgements_and_a_later_one_pays_none(
    policy: Path, folder: Path, tmp_path: Path
) -> None:
    family = ChosenFamily("thinkprm", folder, policy, thinking=THINKING)
    tasks = [make_task(number, (BestOfN(n=3), Beam(n=4, width=2))) for number in range(2)]
    tasks = [replace(task, prompt=replace(task.prompt, question=QUESTION)) for task in tasks]
    async with Cell(tmp_path / "run", policy, folder, replicas=1, family=family) as run:
        progress = await run.run(tasks)
    assert progress.answered == 4
    prior = SampleLibrary([tmp_path / "run"]).prior(tasks[0].prompt.id)
    assert len(prior.scores) > 3
    assert prior.written.keys() == prior.scores.keys()
    assert all(0 < value < 1 for value in prior.scores.values())
    assert {len(counts) for counts in prior.written.values()} == {1}
    assert max(max(counts) for counts in prior.written.values()) == THINKING.tokens


async def test_known_judgements_are_attributed_and_not_paid(policy: Path, folder: Path) -> None:
    first, second = table(policy, folder), table(policy, folder)
    try:
        (one,) = await first.solve(BestOfN(n=3))
        scores = {row["key"]: row["value"] for row in first.bench.score_rows}
        written = {row["key"]: tuple(row["written"]) for row in first.bench.score_rows}
        second.bench.prior = replace(second.bench.prior, scores=scores, written=written)
        (other,) = await second.solve(BestOfN(n=3))
        assert second.scorer.requests == []
        assert [c.scores for c in other.candidates] == [c.scores for c in one.candidates]
        assert second.meters[0].attributed == first.meters[0].attributed
        assert second.spent().tokens.get("verifier", 0) == 0
    finally:
        await first.close()
        await second.close()


async def test_its_tokenizer_tells_the_verdict(folder: Path) -> None:
    wording = ChosenFamily("thinkprm", folder, folder, thinking=THINKING).wording()
    reading = wording.read("Why?", ["Step 1: a\n", " b "])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = tokenizer.decode(reading.ids)
    assert "[Math Problem]\n\nWhy?\n\n[Solution]\n\nStep 1: a\nStep 2: b\n\nReview" in text
    assert text.endswith("<|im_start|>assistant\n\nLet's verify step by step:")
    assert tokenizer.decode(reading.ids[: reading.start]).endswith("[Solution]\n\n")
    assert reading.writing is not None
    assert reading.writing.stops[-1] == "Step 3:"
    assert tokenizer.decode(reading.writing.then) == "\nIs the solution correct?"
