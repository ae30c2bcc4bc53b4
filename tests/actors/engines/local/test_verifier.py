"""The scoring engine against the training code's own forward pass, and that it computes only what is new."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from actors.engines.base import ScoreRequest
from actors.engines.local.verifier import ScoringEngine
from actors.engines.verifiers.value_head import ValueHead, ValueHeadConfig
from actors.errors import UserError
from orchestration.training.batches import Labelled, StepBatches
from orchestration.training.measures import step_logits
from tests.support.families import FAMILIES

HEADS = {
    "hidden": {"hidden": True, "likelihood": False, "width": 0, "prompt": True},
    "likelihood": {"hidden": False, "likelihood": True, "width": 8},
    "both": {"hidden": True, "likelihood": True, "width": 8, "prompt": True},
}


@pytest.fixture(params=[(f, h) for f in FAMILIES for h in HEADS if f == "llama-gqa" or h == "both"])
def verifier(request: pytest.FixtureRequest, checkpoints: dict[str, Path]) -> Path:
    family, kind = request.param
    torch.manual_seed(3)
    head = ValueHead(ValueHeadConfig(32, **HEADS[kind]))  # type: ignore[arg-type]
    head.mean.normal_()
    head.scale.uniform_(0.5, 2)
    head.save(checkpoints[family])
    return checkpoints[family]


def solutions(count: int) -> list[ScoreRequest]:
    rng = random.Random(1)
    prompts = [tuple(rng.randrange(3, 97) for _ in range(rng.randrange(2, 12))) for _ in range(3)]
    requests = []
    for number in range(count):
        prompt = prompts[number % 3]
        ids, ends = list(prompt), []
        for _ in range(rng.randrange(1, 6)):
            ids += [rng.randrange(3, 97) for _ in range(rng.randrange(1, 9))]
            ends.append(len(ids))
        requests.append(ScoreRequest(tuple(ids), len(prompt), tuple(ends)))
    return requests


@torch.inference_mode()
def by_training_code(folder: Path, requests: list[ScoreRequest]) -> list[list[float]]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    model.value_head = ValueHead.load(folder)
    rows = [
        Labelled(r.token_ids, r.prompt_length, r.step_ends, (0.5,) * len(r.step_ends), True, str(i))
        for i, r in enumerate(requests)
    ]
    values: dict[str, list[float]] = {}
    batches = StepBatches(rows, 200, 2, seed=0)
    for index in range(len(batches)):
        logits, _ = step_logits(model, batches[index])
        for row, one in enumerate(batches.members(index)):
            values[one.problem_id] = torch.sigmoid(logits[row, : 1 + len(one.ends)]).tolist()
    return [values[str(i)] for i in range(len(requests))]


async def test_values_equal_those_of_training_in_one_batch_alone_and_step_by_step(verifier: Path) -> None:
    requests = solutions(10)
    judged = ValueHead.load(verifier).config.prompt
    prompts, expected = zip(
        *((first, rest) for first, *rest in by_training_code(verifier, requests)), strict=True
    )
    engine = ScoringEngine.load(verifier)
    together = await asyncio.gather(*(engine.score(r) for r in requests))
    stepwise = ScoringEngine.load(verifier)
    for request, scores, prompt, values in zip(requests, together, prompts, expected, strict=True):
        assert scores.values == pytest.approx(values, abs=1e-5)
        assert scores.prompt == (pytest.approx(prompt, abs=1e-5) if judged else None)
        [alone] = [await ScoringEngine.load(verifier).score(request)]
        assert alone.values == pytest.approx(values, abs=1e-5)
        for count in range(1, len(request.step_ends) + 1):
            ends = request.step_ends[:count]
            grown = await stepwise.score(
                ScoreRequest(request.token_ids[: ends[-1]], request.prompt_length, ends)
            )
        assert grown.values == pytest.approx(values, abs=1e-5)
        assert grown.prompt == scores.prompt or grown.prompt == pytest.approx(prompt, abs=1e-5)


async def test_a_prompt_alone_is_judged_before_any_step_and_computed_once(
    checkpoints: dict[str, Path],
) -> None:
    ValueHead(ValueHeadConfig(32, prompt=True)).save(checkpoints["llama"])
    engine = ScoringEngine.load(checkpoints["llama"])
    request = solutions(1)[0]
    prompt = request.token_ids[: request.prompt_length]
    alone, again = [await engine.score(ScoreRequest(prompt, len(prompt), ())) for _ in range(2)]
    assert (alone.values, alone.computed) == ((), len(prompt))
    assert (again.prompt, again.computed) == (alone.prompt, 0)
    scored = await engine.score(request)
    assert scored.prompt == alone.prompt
    assert scored.computed == request.step_ends[-1] - len(prompt)
    # A head that was not trained for it says nothing.
    ValueHead(ValueHeadConfig(32)).save(checkpoints["llama"])
    untrained = await ScoringEngine.load(checkpoints["llama"]).score(ScoreRequest(prompt, len(prompt), ()))
    assert (untrained.values, untrained.prompt) == ((), None)


async def test_only_the_newest_step_is_computed(checkpoints: dict[str, Path]) -> None:
    ValueHead(ValueHeadConfig(32)).save(checkpoints["llama"])
    engine = ScoringEngine.load(checkpoints["llama"])
    request = max(solutions(12), key=lambda r: len(r.step_ends))
    assert len(request.step_ends) > 2
    computed = []
    for count in range(1, len(request.step_ends) + 1):
        ends = request.step_ends[:count]
        scores = await engine.score(ScoreRequest(request.token_ids[: ends[-1]], request.prompt_length, ends))
        computed.append(scores.computed)
    starts = (0, *request.step_ends)
    assert computed == [end - start for start, end in zip(starts, request.step_ends, strict=False)]
    again = await engine.score(request)
    assert (again.computed, again.values) == (0, scores.values)


async def test_a_prompt_and_a_solution_asked_for_many_times_at_once_are_computed_once(
    checkpoints: dict[str, Path],
) -> None:
    ValueHead(ValueHeadConfig(32)).save(checkpoints["llama"])
    engine = ScoringEngine.load(checkpoints["llama"])
    [first, *_] = solutions(1)
    other = ScoreRequest(
        (*first.token_ids, 5, 6), first.prompt_length, (*first.step_ends, len(first.token_ids) + 2)
    )
    scores = await asyncio.gather(*(engine.score(r) for r in [first, first, other, first]))
    prompt = first.prompt_length
    whole = sum(s.computed for s in scores)
    # Prompt once, the first solution once; the longer one is computed beside it, from the prompt on.
    assert whole == len(first.token_ids) + len(other.token_ids) - prompt
    assert scores[0].values == scores[1].values == scores[3].values


async def test_the_same_text_in_other_steps_is_another_request(checkpoints: dict[str, Path]) -> None:
    ValueHead(ValueHeadConfig(32)).save(checkpoints["llama"])
    ids = tuple(range(5, 45))
    requests = [
        ScoreRequest(ids, 4, ends) for ends in ((10, 20, 40), (20, 40), (12, 20, 40), (10, 20, 30, 40))
    ] + [ScoreRequest(ids, 6, (10, 20, 40))]
    engine = ScoringEngine.load(checkpoints["llama"])
    for scores in (
        await asyncio.gather(*(engine.score(r) for r in requests)),
        [await engine.score(r) for r in requests],
    ):
        for request, one in zip(requests, scores, strict=True):
            alone = await ScoringEngine.load(checkpoints["llama"]).score(request)
            assert one.values == pytest.approx(alone.values, abs=1e-5)


async def test_a_small_memory_costs_time_and_never_a_score(checkpoints: dict[str, Path]) -> None:
    ValueHead(ValueHeadConfig(32)).save(checkpoints["llama"])
    requests = solutions(9)
    roomy, tight = (
        ScoringEngine.load(checkpoints["llama"]),
        ScoringEngine.load(checkpoints["llama"], prefix_bytes=1),
    )
    for request in requests:
        assert (await tight.score(request)).values == pytest.approx(
            (await roomy.score(request)).values, abs=1e-5
        )


async def test_a_batch_keeps_the_marks_it_needs_whatever_the_memory(checkpoints: dict[str, Path]) -> None:
    """What a batch computes may push out of the cache what another of its requests starts from."""
    ValueHead(ValueHeadConfig(32)).save(checkpoints["llama"])
    requests = solutions(12)
    tight = ScoringEngine.load(checkpoints["llama"], prefix_bytes=60_000)
    firsts = [ScoreRequest(r.token_ids[: r.step_ends[0]], r.prompt_length, r.step_ends[:1]) for r in requests]
    for first in firsts[:3]:
        await tight.score(first)
    together = await asyncio.gather(*(tight.score(r) for r in requests))
    for request, scores in zip(requests, together, strict=True):
        alone = await ScoringEngine.load(checkpoints["llama"]).score(request)
        assert scores.values == pytest.approx(alone.values, abs=1e-5)


@pytest.mark.parametrize(
    ("ends", "message"),
    [((9, 7), "ascending"), ((3,), "after the prompt"), ((99,), "within")],
)
async def test_impossible_requests_are_refused(
    checkpoints: dict[str, Path], ends: tuple[int, ...], message: str
) -> None:
    ValueHead(ValueHeadConfig(32)).save(checkpoints["llama"])
    engine = ScoringEngine.load(checkpoints["llama"])
    with pytest.raises(ValueError, match=message):
        await engine.score(ScoreRequest(tuple(range(3, 13)), 4, ends))


async def test_a_solution_beyond_the_context_is_refused_not_cut(checkpoints: dict[str, Path]) -> None:
    """Trap: silent truncation drops steps, and a minimum or product over fewer factors favours long chains."""
    ValueHead(ValueHeadConfig(32)).save(checkpoints["llama"])
    engine = ScoringEngine.load(checkpoints["llama"])
    with pytest.raises(ValueError, match="context of 128"):
        await engine.score(ScoreRequest(tuple([5] * 130), 4, (20, 130)))
    with pytest.raises(ValueError, match="context of 128"):
        await engine.score(ScoreRequest(tuple([5] * 130), 130, ()))


def test_a_folder_without_a_value_head_is_no_verifier(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="not a process reward model"):
        ScoringEngine.load(checkpoints["qwen2"].parent)
