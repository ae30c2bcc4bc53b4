"""The local engine against transformers on the same weights, and its promises about seeds, stops and cancelling."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, MistralConfig

from actors.engines.base import GenerateRequest, Generation
from actors.engines.local.policy import LocalEngine
from actors.errors import UserError
from tests.support.families import FAMILIES, SIZES

NEW = 12


def contexts(count: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    return [tuple(rng.randrange(3, 97) for _ in range(rng.randrange(1, 40))) for _ in range(count)]


async def run(folder: Path, requests: list[GenerateRequest], **options: int) -> list[Generation]:
    engine = LocalEngine.load(folder, **options)  # type: ignore[arg-type]
    try:
        return await asyncio.gather(*(engine.generate(request) for request in requests))
    finally:
        await engine.close()


@torch.inference_mode()
def greedy_by_transformers(folder: Path, context: tuple[int, ...]) -> tuple[list[int], list[float]]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids, tokens, logprobs = list(context), [], []
    for _ in range(NEW):
        row = torch.log_softmax(model(torch.tensor([ids])).logits[0, -1].float(), dim=-1)
        token = int(row.argmax())
        tokens.append(token)
        logprobs.append(float(row[token]))
        ids.append(token)
        if token == 1:
            break
    return tokens, logprobs


@dataclass
class Tokens:
    """Pays as many tokens as it holds."""

    held: int
    drawn: int = 0
    spent: asyncio.Event = field(default_factory=asyncio.Event)
    wake: Callable[[], None] = field(default=lambda: None)

    @property
    def paid(self) -> bool:
        return self.drawn < self.held

    def call(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def drew(self) -> None:
        self.drawn += 1
        if not self.paid:
            self.spent.set()

    def give(self, count: int) -> None:
        self.held += count
        self.wake()


async def test_no_token_is_drawn_before_it_is_paid(checkpoints: dict[str, Path]) -> None:
    request = GenerateRequest((5, 6, 7), NEW, seed=3, temperature=0)
    [free] = await run(checkpoints["llama"], [request])
    engine = LocalEngine.load(checkpoints["llama"])
    try:
        one, other = Tokens(2), Tokens(0)
        running = asyncio.create_task(engine.generate(replace(request, pace=one)))
        await asyncio.wait_for(one.spent.wait(), 10)
        assert engine.counters().tokens_out == 2
        beside = asyncio.create_task(engine.generate(replace(request, pace=other)))
        await asyncio.sleep(0)
        one.give(NEW)
        await asyncio.sleep(0)
        assert not engine._paid(), "the other's first is not"
        assert engine.counters().tokens_out == 2
        beside.cancel()
        assert (await asyncio.wait_for(running, 10)).token_ids == free.token_ids
        # The last is told with the answer.
        assert one.drawn == len(free.token_ids) - 1
    finally:
        await engine.close()


@pytest.mark.parametrize("family", FAMILIES)
async def test_greedy_equals_transformers_alone_and_in_a_ragged_batch(
    checkpoints: dict[str, Path], family: str
) -> None:
    requests = [GenerateRequest(c, NEW, seed=0, temperature=0) for c in contexts(9)]
    batch = await run(checkpoints[family], requests)
    few_slots = await run(checkpoints[family], requests, max_sequences=2)
    for request, together, squeezed in zip(requests, batch, few_slots, strict=True):
        [alone] = await run(checkpoints[family], [request])
        tokens, logprobs = greedy_by_transformers(checkpoints[family], request.token_ids)
        for result in (alone, together, squeezed):
            assert list(result.token_ids) == tokens
            assert result.logprobs == pytest.approx(logprobs, abs=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt-neox"])
async def test_a_seed_decides_its_sample_whatever_else_runs(
    checkpoints: dict[str, Path], family: str
) -> None:
    requests = [
        GenerateRequest(c, NEW, seed=i, top_p=0.9 if i % 3 else 1.0) for i, c in enumerate(contexts(8))
    ]
    together = await run(checkpoints[family], requests)
    reverse = await run(checkpoints[family], requests[::-1], max_sequences=3)
    assert [g.token_ids for g in together] == [g.token_ids for g in reverse[::-1]]
    other = await run(
        checkpoints[family], [GenerateRequest(r.token_ids, NEW, seed=r.seed + 1) for r in requests]
    )
    assert [g.token_ids for g in together] != [g.token_ids for g in other]


async def test_samples_follow_the_model_distribution(checkpoints: dict[str, Path]) -> None:
    context = contexts(1, seed=3)[0]
    draws = await run(checkpoints["llama"], [GenerateRequest(context, 1, seed=i * 7919) for i in range(4000)])
    model = AutoModelForCausalLM.from_pretrained(checkpoints["llama"]).eval()
    with torch.inference_mode():
        probs = torch.softmax(model(torch.tensor([list(context)])).logits[0, -1], dim=-1)
    counts = torch.bincount(torch.tensor([g.token_ids[0] for g in draws]), minlength=97) / len(draws)
    assert float((counts - probs).abs().sum() / 2) < 0.08


async def test_a_continued_prefix_is_not_prefilled_again(checkpoints: dict[str, Path]) -> None:
    engine = LocalEngine.load(checkpoints["llama"])
    context = contexts(1, seed=5)[0]
    stops = tuple(range(3, 60))
    step = await engine.generate(GenerateRequest(context, NEW, seed=1, stop_ids=stops, extend=True))
    assert step.finish == "stop"
    assert step.prefilled == len(context) - 1
    longer = context + step.token_ids
    branches = await asyncio.gather(*(engine.generate(GenerateRequest(longer, 4, seed=i)) for i in range(5)))
    assert [b.prefilled for b in branches] == [0] * 5
    siblings = await asyncio.gather(*(engine.generate(GenerateRequest(context, 4, seed=i)) for i in range(3)))
    assert [s.prefilled for s in siblings] == [0] * 3
    cold = await run(checkpoints["llama"], [GenerateRequest(longer, 4, seed=0)])
    assert cold[0].token_ids == branches[0].token_ids
    await engine.close()


async def test_samples_of_one_prompt_sent_together_share_its_prefill(checkpoints: dict[str, Path]) -> None:
    context = contexts(1, seed=8)[0]
    samples = await run(checkpoints["llama"], [GenerateRequest(context, NEW, seed=i) for i in range(6)])
    assert sorted(s.prefilled for s in samples) == [0] * 5 + [len(context) - 1]


async def test_ends_are_told_apart(checkpoints: dict[str, Path]) -> None:
    """Trap: a token limit taken for an end."""
    engine = LocalEngine.load(checkpoints["llama"])
    context = contexts(1, seed=5)[0]
    free = await engine.generate(GenerateRequest(context, NEW, seed=4))
    cut = await engine.generate(GenerateRequest(context, 3, seed=4))
    assert (cut.finish, cut.token_ids) == ("length", free.token_ids[:3])
    stopped = await engine.generate(GenerateRequest(context, NEW, seed=4, stop_ids=(free.token_ids[5],)))
    first = free.token_ids.index(free.token_ids[5])
    assert (stopped.finish, stopped.token_ids) == ("stop", free.token_ids[: first + 1])
    await engine.close()


async def test_a_cancelled_request_frees_its_row(checkpoints: dict[str, Path]) -> None:
    engine = LocalEngine.load(checkpoints["llama"], max_sequences=1)
    long = asyncio.create_task(engine.generate(GenerateRequest((5,), 120, seed=0, temperature=0)))
    await asyncio.sleep(0.01)
    long.cancel()
    short = await asyncio.wait_for(engine.generate(GenerateRequest((7,), 2, seed=0)), 10)
    assert len(short.token_ids) <= 2
    assert engine.counters().running == 0
    await engine.close()


async def test_a_request_beyond_the_context_is_refused_before_it_runs(checkpoints: dict[str, Path]) -> None:
    engine = LocalEngine.load(checkpoints["llama"])
    with pytest.raises(ValueError, match="context of 128"):
        await engine.generate(GenerateRequest(tuple([5] * 100), 29, seed=0))
    await engine.close()


@pytest.mark.parametrize(
    ("change", "field"),
    [({"sliding_window": 16}, "sliding_window"), ({"final_logit_softcapping": 30.0}, "softcapping")],
)
def test_what_the_engine_does_not_apply_is_refused(
    tmp_path: Path, change: dict[str, float], field: str
) -> None:
    """Trap: a window or a soft cap that is silently left out gives another distribution than the model's."""
    config = MistralConfig(**SIZES, num_key_value_heads=2, **({"sliding_window": None} | change))
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=field):
        LocalEngine.load(tmp_path)
