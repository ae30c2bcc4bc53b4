"""The verifier on vLLM against the local scoring engine, on the bundled model; one vLLM serves the whole file.

A salt before its prompt makes a text new to vLLM's cache and to what is remembered.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen3Config, set_seed

from actors.engines.base import EngineError, GenerateRequest, ScoreRequest, Scores
from actors.engines.loading import load_verifier
from actors.engines.local.policy import LocalEngine
from actors.engines.local.verifier import ScoringEngine
from actors.engines.plan import ModelPlan, ReplicaShare
from actors.engines.verifiers.value_head import ValueHead, ValueHeadConfig
from actors.engines.vllm.step_points import Points
from actors.engines.vllm.verifier import VllmVerifier
from actors.errors import UserError
from orchestration.problems.datasets.arithmetic import SHIPPED
from orchestration.problems.datasets.generated import Generated
from orchestration.problems.prompting import PromptFormat
from tests.support.families import SIZES
from tests.support.places import MODELS
from tests.support.processes import wait_for

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="module")]

BLOCK = 32
"""The smallest block of vLLM's cache on a CPU."""


@pytest.fixture(scope="module")
def verifier() -> Iterator[VllmVerifier]:
    """Made without a running event loop, as in the constructor of an actor."""
    one = load_verifier(ModelPlan(MODELS / "prm", ReplicaShare(device="cpu"), engine="vllm"))
    assert isinstance(one, VllmVerifier)
    yield one
    asyncio.run(one.close())


@pytest.fixture(scope="module")
def solutions() -> list[ScoreRequest]:
    """Solutions of the bundled policy to eight problems, two each."""
    return asyncio.run(sampled())


async def sampled() -> list[ScoreRequest]:
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "policy")
    policy = LocalEngine.load(MODELS / "policy")
    newlines = {i for i in range(len(tokenizer)) if tokenizer.decode([i]).endswith("\n")}
    requests = []
    for problem in Generated(SHIPPED, "test", 8, 0):
        prompt = tuple(PromptFormat().prompt_ids(tokenizer, problem.question))
        for seed in range(2):
            drawn = (await policy.generate(GenerateRequest(prompt, 200, seed=seed))).token_ids
            ends = sorted({i + 1 for i, token in enumerate(drawn) if token in newlines} | {len(drawn)})
            requests.append(
                ScoreRequest(prompt + drawn, len(prompt), tuple(len(prompt) + end for end in ends))
            )
    await policy.close()
    assert sum(len(r.step_ends) for r in requests) > 40
    return requests


def local(folder: Path = MODELS / "prm") -> ScoringEngine:
    return ScoringEngine.load(folder)


def salted(request: ScoreRequest, seed: int, length: int = 3) -> ScoreRequest:
    rng = random.Random(seed)
    salt = tuple(rng.randrange(3, 492) for _ in range(length))
    ends = tuple(end + length for end in request.step_ends)
    return ScoreRequest(salt + request.token_ids, request.prompt_length + length, ends)


def text(prompt: int, steps: list[int], seed: int, tail: int | None = None) -> ScoreRequest:
    """Random tokens, steps of these lengths; with `tail`, the last step has other tokens."""
    rng = random.Random(seed)
    ids = [rng.randrange(3, 492) for _ in range(prompt + sum(steps))]
    if tail is not None:
        rng = random.Random(tail)
        ids[-steps[-1] :] = [rng.randrange(3, 492) for _ in range(steps[-1])]
    ends = tuple(prompt + sum(steps[: count + 1]) for count in range(len(steps)))
    return ScoreRequest(tuple(ids), prompt, ends)


def first(request: ScoreRequest, count: int) -> ScoreRequest:
    """A request's first steps."""
    ends = request.step_ends[:count]
    return ScoreRequest(request.token_ids[: ends[-1]], request.prompt_length, ends)


async def insist(verifier: Any, request: ScoreRequest) -> Scores:
    """Ask again, whole, where a cache stood in the way, as a task does; what both computed counts."""
    scores: Scores = await verifier.score(request)
    if scores.values:
        return scores
    whole: Scores = await verifier.score(replace(request, whole=True))
    assert whole.values
    return replace(whole, computed=scores.computed + whole.computed)


async def grown(verifier: Any, request: ScoreRequest) -> tuple[Scores, list[int]]:
    """Scores of a solution that grows step by step, and what was computed at each."""
    computed = []
    for count in range(1, len(request.step_ends) + 1):
        scores = await insist(verifier, first(request, count))
        computed.append(scores.computed)
    return scores, computed


async def check(verifier: VllmVerifier, requests: list[ScoreRequest], scores: list[Scores]) -> float:
    """Compare with the local engine; the largest difference."""
    ours = local()
    expected = await asyncio.gather(*(ours.score(request) for request in requests))
    for one, other in zip(scores, expected, strict=True):
        assert one.values == pytest.approx(other.values, abs=1e-4)
    return max(
        abs(a - b)
        for x, y in zip(scores, expected, strict=True)
        for a, b in zip(x.values, y.values, strict=True)
    )


async def test_real_solutions_score_as_on_the_local_engine(
    verifier: VllmVerifier, solutions: list[ScoreRequest]
) -> None:
    """Whole and all at once; then step by step, solutions side by side."""
    whole = [salted(request, 1) for request in solutions]
    together = await asyncio.gather(*(verifier.score(request) for request in whole))
    worst = await check(verifier, whole, together)
    steps = [salted(request, 2) for request in solutions]
    apart = [scores for scores, _ in await asyncio.gather(*(grown(verifier, r) for r in steps))]
    worst = max(worst, await check(verifier, steps, apart))
    print(f"largest difference {worst:.1e}")


async def test_what_was_scored_is_not_computed_again(
    verifier: VllmVerifier, solutions: list[ScoreRequest]
) -> None:
    request = salted(solutions[0], 3)
    scores = await verifier.score(request)
    assert scores.computed == len(request.token_ids)
    assert await verifier.score(request) == Scores(scores.values, 0)
    for count in range(1, len(request.step_ends)):
        assert await verifier.score(first(request, count)) == Scores(scores.values[:count], 0)


async def test_short_steps_cost_less_than_a_block_more_than_they_are(
    verifier: VllmVerifier, solutions: list[ScoreRequest]
) -> None:
    needed = computed = 0
    for request in [salted(request, 4) for request in solutions[::2]]:
        _, costs = await grown(verifier, request)
        starts = (0, *request.step_ends)
        lengths = [end - start for start, end in zip(starts, request.step_ends, strict=False)]
        assert all(length <= cost < length + BLOCK for length, cost in zip(lengths, costs, strict=True))
        needed, computed = needed + sum(lengths), computed + sum(costs)
    print(f"short steps: {computed / needed:.2f} computed a token needed")


async def test_steps_of_a_hundred_tokens_cost_little_more_than_they_are(verifier: VllmVerifier) -> None:
    needed = computed = 0
    for seed in range(4):
        request = text(40 + 7 * seed, [100] * 9, seed)
        _, costs = await grown(verifier, request)
        needed, computed = needed + len(request.token_ids), computed + sum(costs)
    print(f"steps of 100: {computed / needed:.2f} computed a token needed")
    assert computed <= 1.2 * needed


@pytest.mark.parametrize(
    ("prompt", "steps"),
    [
        (BLOCK, [BLOCK] * 3),
        (2 * BLOCK, [5, BLOCK - 5, BLOCK, 1, BLOCK - 1]),
        (20, [BLOCK - 20, BLOCK, 1, 1, BLOCK - 2]),
        (1, [BLOCK - 1, 3 * BLOCK]),
    ],
)
async def test_steps_that_end_with_a_block(verifier: VllmVerifier, prompt: int, steps: list[int]) -> None:
    """There the next token's likelihood comes from a hidden state that is not computed again."""
    again = verifier.asked_again
    request = text(prompt, steps, seed=50 + prompt)
    scores, costs = await grown(verifier, request)
    await check(verifier, [request], [scores])
    starts = (0, *request.step_ends)
    for start, end, cost in zip(starts, request.step_ends, costs, strict=False):
        assert cost == end - start // BLOCK * BLOCK
    sibling = text(prompt, steps, seed=50 + prompt, tail=1)
    await check(verifier, [sibling], [await verifier.score(sibling)])
    other = text(prompt, [*steps[:1], 40], seed=50 + prompt, tail=2)
    await check(verifier, [other], [await verifier.score(other)])
    assert verifier.asked_again == again


async def test_siblings_whose_new_steps_begin_alike(verifier: VllmVerifier) -> None:
    """vLLM's cache then reaches into a step that was never scored as a whole."""
    again = verifier.asked_again
    one, twin = text(10, [12, 90], seed=60), text(10, [12, 90], seed=60)
    twin = ScoreRequest((*twin.token_ids[:80], *one.token_ids[10:42]), 10, twin.step_ends)
    scores = [await verifier.score(first(one, 1)), await verifier.score(one), await verifier.score(twin)]
    await check(verifier, [first(one, 1), one, twin], scores)
    assert scores[2].computed == 10 + 12 + 90 - 64
    assert verifier.asked_again == again


async def test_requests_in_any_order_and_in_flight_together(
    verifier: VllmVerifier, solutions: list[ScoreRequest]
) -> None:
    """Beginnings after wholes, wholes after beginnings, the same twice, with other step ends, and all of it at once."""
    rng = random.Random(7)
    for seed, at_once in ((70, False), (71, True)):
        requests = []
        for request in [salted(request, seed) for request in solutions[:8]]:
            requests += [first(request, rng.randrange(1, len(request.step_ends) + 1)) for _ in range(3)]
            requests += [request, request]
            requests.append(ScoreRequest(request.token_ids, request.prompt_length, request.step_ends[1::2]))
        requests = [request for request in requests if request.step_ends]
        rng.shuffle(requests)
        if at_once:
            scores = await asyncio.gather(*(insist(verifier, request) for request in requests))
        else:
            scores = [await insist(verifier, request) for request in requests]
        await check(verifier, requests, scores)


async def test_a_small_memory_costs_time_and_never_a_score(
    verifier: VllmVerifier, solutions: list[ScoreRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier, "_points", Points(1))
    again = verifier.asked_again
    requests = [salted(request, 8) for request in solutions[:6]]
    scores = [(await grown(verifier, request))[0] for request in requests]
    both = await asyncio.gather(*(insist(verifier, request) for request in requests * 2))
    await check(verifier, requests * 3, [*scores, *both])
    assert verifier.asked_again > again


async def test_what_is_forgotten_is_told_so_and_scored_when_it_is_asked_for_whole(
    verifier: VllmVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM still has the keys and values, and so returns too little. Another pass waits until somebody pays for it."""
    request = text(10, [60, 60], seed=90)
    scores = await verifier.score(request)
    monkeypatch.setattr(verifier, "_points", Points(1 << 20))
    before = verifier.counters().tokens_computed
    assert await verifier.score(request) == Scores((), len(request.token_ids) % BLOCK)
    assert verifier.counters().tokens_computed - before == len(request.token_ids) % BLOCK
    anew = await verifier.score(replace(request, whole=True))
    assert anew.values == pytest.approx(scores.values, abs=1e-4)
    assert anew.computed == len(request.token_ids)
    assert verifier.counters().tokens_computed - before == len(request.token_ids) % BLOCK + anew.computed


async def test_what_is_counted(verifier: VllmVerifier) -> None:
    before = verifier.counters()
    requests = [text(30, [20, 20], seed=100 + seed) for seed in range(6)]
    asked = [asyncio.ensure_future(verifier.score(request)) for request in requests]
    await asyncio.sleep(0)
    assert verifier.counters().running == len(requests)
    scores = await asyncio.gather(*asked)
    after = verifier.counters()
    assert after.tokens_computed - before.tokens_computed == sum(s.computed for s in scores) == 6 * 70
    assert after.tokens_out - before.tokens_out == 12
    assert after.busy_seconds > before.busy_seconds
    assert after.running == 0
    assert verifier.counters().busy_seconds == after.busy_seconds


async def test_a_cancelled_request_is_taken_out_of_vllm(verifier: VllmVerifier) -> None:
    requests = [text(30, [400, 400], seed=200 + seed) for seed in range(20)]
    asked = [asyncio.ensure_future(verifier.score(request)) for request in requests]
    await asyncio.sleep(0.05)
    for future in asked[1:]:
        future.cancel()
    ended = await asyncio.gather(*asked, return_exceptions=True)
    assert any(isinstance(one, asyncio.CancelledError) for one in ended)
    assert verifier.counters().running == 0
    assert verifier._engine.get_num_unfinished_requests() == 0
    # What was cut off may be in the cache without a trace here.
    await check(verifier, requests, await asyncio.gather(*(insist(verifier, r) for r in requests)))


@pytest.mark.parametrize(
    ("length", "prompt", "ends"),
    [
        (20, 4, (9, 7)),
        (20, 4, (3,)),
        (20, 4, (99,)),
        (20, 0, (9,)),
        (1030, 4, (20, 1030)),
    ],
)
async def test_impossible_requests_are_refused_in_the_same_words(
    verifier: VllmVerifier, length: int, prompt: int, ends: tuple[int, ...]
) -> None:
    request = ScoreRequest(tuple([5] * length), prompt, ends)
    said = []
    for engine in (local(), verifier):
        with pytest.raises(ValueError, match=r"step_ends|prompt_length|context of 1024") as refusal:
            await engine.score(request)
        said.append(str(refusal.value))
    assert said[0] == said[1]


async def test_a_prompt_alone_is_not_judged(verifier: VllmVerifier) -> None:
    with pytest.raises(ValueError, match="on vLLM a prompt alone is not judged"):
        await verifier.score(ScoreRequest(tuple([5] * 20), 4, ()))


async def test_a_request_that_vllm_refuses_fails_alone(
    verifier: VllmVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if what is checked here let it pass."""
    monkeypatch.setattr(verifier, "_info", replace(verifier.info, context=4096))
    good, long = text(30, [20], seed=310), text(30, [2000], seed=311)
    refused, scores = await asyncio.gather(verifier.score(long), verifier.score(good), return_exceptions=True)
    assert isinstance(refused, ValueError)
    assert "vLLM refuses to score it" in str(refused)
    assert isinstance(scores, Scores)
    await check(verifier, [good], [scores])


async def test_a_whole_context_is_scored(verifier: VllmVerifier) -> None:
    request = text(24, [500, 500], seed=300)
    assert len(request.token_ids) == verifier.info.context == local().info.context
    await check(verifier, [request], [await verifier.score(request)])


async def test_it_is_the_same_model_as_on_the_local_engine(verifier: VllmVerifier) -> None:
    """And so the value head beside the weights has not disturbed them."""
    ours = local().info
    assert (verifier.info.model_hash, verifier.info.tokenizer_hash) == (ours.model_hash, ours.tokenizer_hash)
    assert (verifier.info.engine, ours.engine) == ("vllm", "local")


async def test_a_folder_that_cannot_be_scored_is_refused_before_vllm_starts(
    tmp_path: Path, checkpoints: dict[str, Path]
) -> None:
    children = multiprocessing.active_children()
    with pytest.raises(UserError, match="not a process reward model"):
        load_verifier(ModelPlan(MODELS / "policy", ReplicaShare(device="cpu"), engine="vllm"))
    folder = shutil.copytree(checkpoints["gpt-neox"], tmp_path / "neox")
    ValueHead(ValueHeadConfig(32)).save(folder)
    with pytest.raises(UserError, match=r"GPTNeoXForCausalLM.*verifier\.engine=local"):
        load_verifier(ModelPlan(folder, ReplicaShare(device="cpu"), engine="vllm"))
    assert multiprocessing.active_children() == children


async def test_a_dead_engine_is_an_engine_error(verifier: VllmVerifier) -> None:
    """Kills the vLLM that the tests above share; the request in flight and those after it fail."""
    [core] = multiprocessing.active_children()
    assert core.pid is not None
    # Or it may have answered before it is killed.
    os.kill(core.pid, signal.SIGSTOP)
    asked = asyncio.ensure_future(verifier.score(text(30, [400, 400], seed=400)))
    await asyncio.sleep(0.01)
    os.kill(core.pid, signal.SIGKILL)
    with pytest.raises(EngineError):
        await asyncio.wait_for(asked, 60)
    with pytest.raises(EngineError):
        await asyncio.wait_for(verifier.score(text(30, [40], seed=401)), 60)


@pytest.mark.parametrize(
    ("family", "likelihood"), [(Qwen2Config, True), (Qwen3Config, True), (Qwen3Config, False)]
)
async def test_other_families(family: Any, likelihood: bool, tmp_path: Path) -> None:
    """With output heads of their own, heads of several kinds, and keys and values shared by heads."""
    sizes = SIZES | {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32}
    set_seed(5)
    model = AutoModelForCausalLM.from_config(family(**sizes, tie_word_embeddings=False), dtype=torch.float32)
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    ValueHead(ValueHeadConfig(64, width=8, likelihood=likelihood)).save(tmp_path)
    one = load_verifier(ModelPlan(tmp_path, ReplicaShare(device="cpu"), engine="vllm"))
    ours = local(tmp_path)
    rng = random.Random(9)
    for steps in ([5, 22, 5, 20], [22, 10, 32], [1, 2, 3]):
        ids = tuple(rng.randrange(3, 97) for _ in range(10 + sum(steps)))
        ends = tuple(10 + sum(steps[: count + 1]) for count in range(len(steps)))
        request = ScoreRequest(ids, 10, ends)
        scores, _ = await grown(one, request)
        assert scores.values == pytest.approx((await ours.score(request)).values, abs=1e-4)
    await one.close()
    # vLLM watches its process from a thread: the one of the two that comes second to its end learns of it from the first.
    wait_for(lambda: not multiprocessing.active_children(), "the end of vLLM's process", 60)
