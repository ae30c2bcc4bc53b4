"""A policy of one tokenizer and a public verifier of another, over real engines: scores of texts, paid in its own tokens."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.store.library import SampleLibrary
from actors.strategy import Candidate, Strategy
from actors.work import Unit
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.search.particle_filtering import ParticleFiltering
from tests.support.inprocess import Cell
from tests.support.public_verifiers import PUBLIC
from tests.support.table import PLENTY, PROMPT, Table, refused_at_a_stand
from tests.support.tiny import make_task

QUESTION = "What is 1 + 2 + 3?"
ASKED = replace(PROMPT, question=QUESTION)
STRATEGIES: tuple[Strategy, ...] = (
    Greedy(),
    Majority(n=4),
    BestOfN(n=4),
    Beam(n=4, width=2),
    ParticleFiltering(n=4),
)
FAMILIES = (
    "qwen_math_prm",
    "reasonflux_prm_1_5b",
    "math_shepherd",
    "rlhflow_prm",
    "skywork_prm",
    "trl_prm",
    "outcome",
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    at = tmp_path_factory.mktemp("public")
    return {name: PUBLIC[name].save(at / name) for name in FAMILIES}


def table(
    policy: Path, name: str, folders: dict[str, Path], granted: int = PLENTY, unit: Unit = "paper"
) -> Table:
    family = ChosenFamily(name, folders[name], policy)
    return Table(policy, folders[name], granted, unit, ASKED, family=family)


def texts(one: Table, candidate: Candidate) -> list[str]:
    """What the policy wrote, step by step."""
    ends = (0, *candidate.step_ends)
    ids = candidate.token_ids
    return [
        one.bench.reader.text(ids[:end]).removeprefix(one.bench.reader.text(ids[:start]))
        for start, end in itertools.pairwise(ends)
    ]


def scored(solutions: list[object]) -> Iterator[Candidate]:
    for solution in solutions:
        yield from (one for one in solution.candidates if one.scores)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", FAMILIES)
async def test_every_strategy_gets_the_scores_of_the_texts(
    name: str, policy: Path, folders: dict[str, Path]
) -> None:
    one = table(policy, name, folders)
    try:
        solutions = await one.solve(*STRATEGIES)
        seen = {candidate.token_ids: candidate for candidate in scored([*solutions])}
        assert len(seen) >= 6
        alone = one.bench.wording is not None and one.bench.wording.alone
        for candidate in list(seen.values())[:: max(1, len(seen) // (3 if alone else 6))]:
            said = texts(one, candidate)
            assert "".join(said) == one.bench.reader.text(candidate.token_ids[: candidate.step_ends[-1]])
            steps = [step.strip() for step in said]
            if name == "skywork_prm":
                # Its steps are lines, as they are.
                steps = [re.sub("\n+", " ", step.strip("\n")) for step in said]
            if alone:
                # Its card has whole answers; what ends one is no part of it.
                steps = ["".join(said[:count]).strip() for count in range(1, len(said) + 1)]
                reference = [PUBLIC[name].reference(folders[name], QUESTION, [text])[0] for text in steps]
            else:
                reference = PUBLIC[name].reference(folders[name], QUESTION, steps)
            assert len(candidate.scores) == len(candidate.step_ends)
            assert candidate.scores == pytest.approx(reference, abs=1e-4)
    finally:
        await one.close()


@pytest.mark.parametrize("unit", ["paper", "exact"])
@pytest.mark.parametrize("name", ["math_shepherd", "rlhflow_prm", "outcome"])
async def test_what_is_charged_are_its_own_tokens_and_never_more_than_was_reserved(
    name: str, unit: Unit, policy: Path, folders: dict[str, Path]
) -> None:
    one = table(policy, name, folders, unit=unit)
    try:
        await one.solve(BestOfN(n=4), Beam(n=4, width=2))
        cost, spent = one.costs["verifier"], one.spent()
        exact = own = 0
        for request, scores in zip(one.scorer.requests, one.scorer.results, strict=True):
            since = len(request.token_ids) - scores.computed
            exact += cost.exact(since, scores.computed, sum(end > since for end in request.step_ends))
            own += scores.computed
        # The engine's own count of what it computed.
        assert own == one.scorer.engine.counters().tokens_computed
        verifier = sum(entry.flops for entry in one.purse.entries if entry.purpose == "verifier")
        if unit == "exact":
            assert verifier == exact
        else:
            assert verifier == cost.paper(spent.tokens["verifier"])
            # Each token of a solution once, and tags with it: more than the policy drew, whose words are whole tokens here.
            assert spent.tokens["verifier"] > spent.tokens["policy"]
        assert one.purse.reserved == 0
    finally:
        await one.close()


@pytest.mark.parametrize("unit", ["paper", "exact"])
async def test_a_small_purse_is_never_overdrawn_and_ends_with_an_answer(
    unit: Unit, policy: Path, folders: dict[str, Path]
) -> None:
    """Whatever a text becomes in the verifier's tokens: what cannot be paid before is not asked."""
    scored = []
    plenty = table(policy, "rlhflow_prm", folders, unit=unit)
    await plenty.solve(BestOfN(n=4), Beam(n=4, width=2))
    whole = plenty.purse.spent
    await plenty.close()
    for share in (0.3, 0.9):
        one = table(policy, "rlhflow_prm", folders, int(share * whole), unit)
        try:
            # The scorer asserts that each request finds its price reserved.
            solutions = await refused_at_a_stand(one.purse, one.solve(BestOfN(n=4), Beam(n=4, width=2)))
            assert one.purse.spent <= one.purse.granted
            assert one.purse.reserved == 0
            assert any(solution.candidates for solution in solutions)
            scored.append(len(one.scorer.requests))
        finally:
            await one.close()
    assert scored == sorted(scored)
    assert scored[-1] > 0


async def test_a_longer_text_than_its_context_fails_the_strategy_and_is_not_cut(
    policy: Path, folders: dict[str, Path]
) -> None:
    one = table(policy, "trl_prm", folders)
    try:
        wording = one.bench.wording
        assert wording is not None
        wording.context = 20  # type: ignore[misc]
        with pytest.raises(ValueError, match=r"of the verifier's tokens, and its context is 20"):
            await one.solve(BestOfN(n=2))
        assert one.scorer.requests == []
        assert one.spent().tokens.get("verifier", 0) == 0
    finally:
        await one.close()


async def test_it_judges_no_prompt_alone(policy: Path, folders: dict[str, Path]) -> None:
    one = table(policy, "trl_prm", folders)
    try:
        with pytest.raises(ValueError, match="judges no prompt"):
            await one.models().verifier.prompt_value()
        assert one.scorer.requests == []
    finally:
        await one.close()


async def test_scores_are_kept_by_question_and_ids(policy: Path, folders: dict[str, Path]) -> None:
    """One prompt in ids may be two questions with two templates: their scores have nothing in common."""
    one, other = table(policy, "trl_prm", folders), table(policy, "trl_prm", folders)
    other.bench.prompt = replace(ASKED, question="Another?")
    try:
        for each in (one, other, one):
            await each.solve(BestOfN(n=2))
        keys = [{row["key"] for row in each.bench.score_rows} for each in (one, other)]
        assert keys[0]
        assert not keys[0] & keys[1]
        assert len(one.bench.score_rows) == len(keys[0])
    finally:
        await one.close()
        await other.close()


@pytest.mark.parametrize("name", ["qwen_math_prm", "outcome"])
async def test_a_run_goes_through_replicas_to_the_stored_scores(
    name: str, policy: Path, folders: dict[str, Path], tmp_path: Path
) -> None:
    family = ChosenFamily(name, folders[name], policy)
    tasks = [make_task(number, STRATEGIES) for number in range(3)]
    tasks = [replace(task, prompt=replace(task.prompt, question=QUESTION)) for task in tasks]
    async with Cell(tmp_path / "run", policy, folders[name], replicas=1, family=family) as run:
        progress = await run.run(tasks)
    assert progress.answered == len(tasks) * len(STRATEGIES)
    library = SampleLibrary([tmp_path / "run"])
    kept = [value for task in tasks for value in library.prior(task.prompt.id).scores.values()]
    assert len(kept) > 20
    assert all(0 < value < 1 for value in kept)
