"""Public verifiers on vLLM, one for each family: scores as their authors' own code gives them; tiny random checkpoints."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from actors.engines.base import ScoreRequest, Scores
from actors.engines.loading import load_verifier
from actors.engines.local.verifier import ScoringEngine
from actors.engines.plan import ModelPlan, ReplicaShare
from actors.engines.verifiers.families.base import Reading
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.engines.vllm.verifier import VllmVerifier
from actors.errors import UserError
from tests.support.families import FAMILIES, save_random
from tests.support.public_verifiers import PUBLIC, TEXTS, Family, Public, byte_level

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="module")]


class Loaded(Family):
    """A family on a vLLM of its own."""

    def __init__(self, public: Public, folder: Path) -> None:
        self.public, self.folder = public, folder
        self.chosen = ChosenFamily(public.name, folder, folder)
        plan = ModelPlan(folder, ReplicaShare(device="cpu"), engine="vllm", family=self.chosen)
        engine = load_verifier(plan)
        assert isinstance(engine, VllmVerifier)
        super().__init__(self.chosen.wording(), engine)

    async def told(self, reading: Reading) -> Scores:
        """Asked again, whole, where a cache stood in the way, as a task does."""
        scores = await super().told(reading)
        if scores.values:
            return scores
        request = ScoreRequest(reading.ids, reading.start, reading.ends, whole=True)
        whole = await self.engine.score(request)
        return replace(whole, computed=scores.computed + whole.computed)


USUAL = ("qwen_math_prm", "math_shepherd", "skywork_prm", "outcome")
"""One of each kind of head, of tags and of one score a text, with and without a window; a start takes seconds."""


@pytest.fixture(
    scope="module",
    params=[one if one in USUAL else pytest.param(one, marks=pytest.mark.slow) for one in PUBLIC],
)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """Made without a running event loop, as in the constructor of an actor."""
    public = PUBLIC[request.param]
    one = Loaded(public, public.save(tmp_path_factory.mktemp("public") / public.name))
    yield one
    asyncio.run(one.engine.close())


async def test_scores_are_those_of_the_authors_code_alone_in_a_batch_and_from_a_cached_prefix(
    loaded: Loaded,
) -> None:
    references = [loaded.public.reference(loaded.folder, *text) for text in TEXTS]
    assert await loaded.scores(*TEXTS[0]) == pytest.approx(references[0], abs=1e-4)
    others = await asyncio.gather(*(loaded.scores(*text) for text in TEXTS))
    for scores, reference in zip(others, references, strict=True):
        assert scores == pytest.approx(reference, abs=1e-4)
    # A head that gave one value everywhere would agree as well.
    assert max(references[3]) - min(references[3]) > 1e-3
    # Step by step, each from what is known of the one before.
    question, steps = "Long ago, " * 20 + TEXTS[3][0], TEXTS[3][1]
    reference = loaded.public.reference(loaded.folder, question, steps)
    computed = 0
    for count in range(1, len(steps) + 1):
        reading = loaded.readings(question, steps[:count])[-1]
        told = await loaded.told(reading)
        assert list(told.values) == pytest.approx(reference[:count][-len(told.values) :], abs=1e-4)
        assert count == 1 or told.computed < len(reading.ids), "blocks of the question are cached"
        computed += told.computed
    assert computed < sum(len(loaded.readings(question, steps[:n])[-1].ids) for n in range(1, len(steps) + 1))


async def test_it_is_known_by_what_the_local_engine_is_known_by(loaded: Loaded) -> None:
    other = ScoringEngine.load(loaded.folder, family=loaded.chosen)
    for name in ("model_hash", "tokenizer_hash", "context"):
        assert getattr(loaded.engine.info, name) == getattr(other.info, name)
    await other.close()


def test_a_type_of_model_that_vllm_is_not_known_to_score_is_refused_by_name(tmp_path: Path) -> None:
    folder = save_random(FAMILIES["gpt-neox"](), tmp_path / "neox")
    byte_level("chatml", bos=False).save_pretrained(folder)
    plan = ModelPlan(folder, engine="vllm", family=ChosenFamily("judge", folder, folder))
    with pytest.raises(UserError, match=r"gpt_neox: set verifier\.engine=local"):
        load_verifier(plan)
