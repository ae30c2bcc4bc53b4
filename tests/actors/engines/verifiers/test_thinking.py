"""A judge that writes, on the local engine: its score as its authors' script gives it, and what it says that it computed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from actors.engines.base import ScoreRequest, Scores, Thinking
from actors.engines.local.writer import WritingEngine
from actors.engines.verifiers.families.base import Reading
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.engines.verifiers.families.known import recognised
from actors.errors import UserError
from actors.replicas.judging import at_most, of_its_own, taken
from orchestration.flops import ModelCost
from tests.support.public_verifiers import PUBLIC
from tests.support.thinking_verifiers import save_thinkprm, thinkprm_script, write_by_heart

QUESTION = "How many eggs are 2 and 3?"
STEPS = ["Step 1: First add 2.\n", "Then + 3 = 5, the sum.\n", "So: 5"]
TEXTS = [
    (QUESTION, STEPS),
    ("Why?", ["Because."]),
    (QUESTION, [STEPS[0], "Then subtract: - 3 = -1."]),
    (QUESTION, STEPS[:2]),
]


class Judge:
    """A folder's engine with its wording, asked as a run asks it."""

    def __init__(self, folder: Path, thinking: Thinking) -> None:
        chosen = ChosenFamily("thinkprm", folder, folder, thinking=thinking)
        self.wording = chosen.wording()
        self.engine = WritingEngine.load(chosen)

    def reading(self, text: tuple[str, list[str]]) -> Reading:
        return self.wording.read(*text)

    async def told(self, text: tuple[str, list[str]]) -> Scores:
        one = self.reading(text)
        return await self.engine.score(ScoreRequest(one.ids, one.start, one.ends, writing=one.writing))

    async def score(self, text: tuple[str, list[str]]) -> float:
        (value,) = (await self.told(text)).values
        return value


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_thinkprm(tmp_path_factory.mktemp("thinkprm") / "model")


async def test_scores_are_those_of_the_authors_script_alone_in_a_batch_and_again(folder: Path) -> None:
    references = [thinkprm_script(folder, *text, 12) for text in TEXTS]
    judge = Judge(folder, Thinking(12))
    assert await judge.score(TEXTS[0]) == pytest.approx(references[0][0], abs=1e-4)
    batch = await asyncio.gather(*(judge.told(text) for text in TEXTS))
    for scores, (reference, kept) in zip(batch, references, strict=True):
        assert scores.values == (pytest.approx(reference, abs=1e-4),)
        assert [one.kept for one in scores.written] == [len(kept)]
    # Nothing of what is read is computed again, nor of what was written before the verdict.
    cached = await judge.told(TEXTS[0])
    assert cached.values == (pytest.approx(references[0][0], abs=1e-4),)
    assert cached.written[0].prefilled == 0
    # One that gave the same everywhere would agree as well.
    assert max(one for one, _ in references) - min(one for one, _ in references) > 2e-3
    await judge.engine.close()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("fine</think>", "fine"),
        ("aStep 4:", "a"),
        ("ok<|im_end|>", "ok"),
        # It is no step that is not there.
        ("aStep 3:", "aStep 3:aStep 3:aStep 3:aS"),
    ],
)
async def test_a_thought_ends_where_the_authors_end_it(text: str, kept: str, tmp_path: Path) -> None:
    folder = write_by_heart(save_thinkprm(tmp_path / "model"), text, " yes")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    reference, before = thinkprm_script(folder, *TEXTS[0], 26)
    assert tokenizer.decode(before).strip() == kept
    judge = Judge(folder, Thinking(26))
    scores = await judge.told(TEXTS[0])
    assert scores.values == (pytest.approx(reference, abs=1e-4),)
    assert [one.kept for one in scores.written] == [len(before)]
    await judge.engine.close()


async def test_yes_scores_above_no(tmp_path: Path) -> None:
    """An inverted reading would exchange the two."""
    for verdict, lowest, highest in ((" yes", 0.9, 1.0), (" no", 0.0, 0.1)):
        folder = write_by_heart(save_thinkprm(tmp_path / verdict.strip()), "fine</think>", verdict)
        judge = Judge(folder, Thinking(20))
        assert lowest < await judge.score(TEXTS[0]) < highest
        await judge.engine.close()


async def test_several_chains_are_drawn_again_as_they_were_and_their_mean_counts(folder: Path) -> None:
    one, many = Judge(folder, Thinking(8, 1.0)), Judge(folder, Thinking(8, 1.0, 4))
    single, mean = await one.told(TEXTS[0]), await many.told(TEXTS[0])
    again = await Judge(folder, Thinking(8, 1.0, 4)).score(TEXTS[0])
    assert mean.values == (pytest.approx(again, abs=1e-5),)
    assert len(mean.written) == 4
    # The first chain is that of one alone; others differ from it, and so does the mean.
    assert abs(single.values[0] - mean.values[0]) > 1e-4
    # What is read is computed once for all chains.
    assert sum(chain.prefilled for chain in mean.written) == len(many.reading(TEXTS[0]).ids) - 1
    await one.engine.close()
    await many.engine.close()


@pytest.mark.parametrize("thinking", [Thinking(12), Thinking(7, 0.8, 3)])
async def test_what_is_charged_is_what_the_engine_computes_and_never_above_its_bound(
    thinking: Thinking, folder: Path
) -> None:
    judge, cost = Judge(folder, thinking), ModelCost.from_folder(folder)
    for text in TEXTS:
        before = judge.engine.counters().tokens_computed
        reading, scores = judge.reading(text), await judge.told(text)
        new = reading.since(0)
        took, most = taken(cost, reading, new, scores), at_most(cost, reading, new, 1)
        alone = of_its_own(cost, reading, new, 0, tuple(one.drawn for one in scores.written))
        assert took.paper <= most.paper
        assert took.exact <= most.exact
        assert took.tokens == alone.tokens
        computed = sum(one.prefilled + one.drawn + one.again + 1 for one in scores.written)
        assert judge.engine.counters().tokens_computed - before == computed
        # By hand: the layers for each token, the head for each that is drawn and for each verdict.
        rows = sum(one.drawn + 1 for one in scores.written)
        attention = took.exact - 2 * cost.matrix * computed - 2 * cost.head * rows
        assert attention > 0
        assert attention % (4 * cost.width * cost.full_layers) == 0
        if text is TEXTS[0] and not thinking.temperature:
            # Nothing was read before, nothing was forgotten since, and no end was drawn, which is not gone on from.
            assert took.exact == alone.exact
    await judge.engine.close()


async def test_what_exceeds_the_context_with_its_thought_is_refused(folder: Path) -> None:
    judge = Judge(folder, Thinking(500))
    long = ("Why? " * 100, STEPS)
    assert len(judge.reading(long).ids) < 1024
    with pytest.raises(ValueError, match=r"exceed the verifier's context of 1024"):
        await judge.told(long)
    with pytest.raises(UserError, match=r"verifier.max_tokens = 1010: .* leave nothing of the context"):
        Judge(folder, Thinking(1010))
    await judge.engine.close()


def test_a_tokenizer_that_does_not_tell_yes_from_no_is_refused(tmp_path: Path) -> None:
    folder = PUBLIC["judge"].save(tmp_path / "judge")
    with pytest.raises(UserError, match='does not tell " yes" from " no" by one token'):
        ChosenFamily("thinkprm", folder, folder, thinking=Thinking(5)).wording()


def test_its_folder_does_not_tell_its_family(folder: Path) -> None:
    with pytest.raises(UserError, match=r"set verifier\.family to one of .*thinkprm"):
        recognised(folder)


def test_how_it_writes_is_part_of_its_identity(folder: Path) -> None:
    ways = [Thinking(5), Thinking(6), Thinking(5, 0.5), Thinking(5, 0.5, 2)]
    assert len({ChosenFamily("thinkprm", folder, folder, thinking=one).identity() for one in ways}) == 4
