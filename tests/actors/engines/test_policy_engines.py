"""What every policy engine promises, asked of each: the local engine always, also behind an address, and vLLM where it is
installed (-m vllm).

The models are small random ones whose heads are as wide as vLLM's attention needs; transformers says what they make of a
context. One engine serves a whole module, for vLLM takes ten seconds and more to start.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
import torch
from transformers import AutoModelForCausalLM

from actors.engines.base import Aborted, EngineName, GenerateRequest, Generation, PolicyEngine
from actors.engines.loading import load_policy
from actors.engines.plan import ModelPlan, ReplicaShare, Server
from actors.engines.text_ends import TextEnds, Watch
from tests.support.served import ServerProcess, shared_server
from tests.support.tiny import save_tokenizer
from tests.support.wide import FAMILIES, save_wide

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEW = 12
BLOCK = 32
ENGINES = ["local", "http", pytest.param("vllm", marks=pytest.mark.vllm)]
# The engine of the module is a llama; of the others one stands for all in vLLM, whose models are its own affair.
OTHERS = [
    *(pytest.param(("local", family), id=f"local-{family}") for family in FAMILIES if family != "llama"),
    pytest.param(("vllm", "qwen3"), id="vllm-qwen3", marks=pytest.mark.vllm),
]


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: save_wide(family, tmp_path_factory.mktemp(f"wide-{family}")) for family in FAMILIES}


def plan(folder: Path, engine: EngineName) -> ModelPlan:
    return ModelPlan(folder, ReplicaShare(max_sequences=64, device="cpu"), engine=engine)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=ENGINES)
async def engine(request: pytest.FixtureRequest, wide: dict[str, Path]) -> AsyncIterator[PolicyEngine]:
    given = plan(wide["llama"], request.param)
    if request.param == "http":
        # The server says which ids its tokenizer reads in a text.
        save_tokenizer(wide["llama"])
        server: ServerProcess = request.getfixturevalue("server")
        given = replace(given, server=Server(server.serve("wide", wide["llama"])))
    one = load_policy(given)
    yield one
    await one.close()


def contexts(count: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    return [tuple(rng.randrange(3, 97) for _ in range(rng.randrange(1, 90))) for _ in range(count)]


async def together(engine: PolicyEngine, requests: list[GenerateRequest]) -> list[Generation]:
    return await asyncio.gather(*(engine.generate(request) for request in requests))


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


async def check_greedy(one: PolicyEngine, folder: Path) -> None:
    requests = [GenerateRequest(c, NEW, seed=0, temperature=0) for c in contexts(9)]
    batch = await together(one, requests)
    for request, result in zip(requests, batch, strict=True):
        tokens, logprobs = greedy_by_transformers(folder, request.token_ids)
        alone = await one.generate(request)
        for answer in (result, alone):
            assert list(answer.token_ids) == tokens
            assert answer.logprobs == pytest.approx(logprobs, abs=1e-4)
            assert answer.finish == ("eos" if tokens[-1] == 1 else "length")


async def test_greedy_tokens_are_those_of_transformers(engine: PolicyEngine, wide: dict[str, Path]) -> None:
    """And so they are equal between the engines, alone and in a ragged batch."""
    await check_greedy(engine, wide["llama"])


@pytest.mark.parametrize("which", OTHERS)
async def test_greedy_tokens_of_other_families_are_those_of_transformers(
    which: tuple[EngineName, str], wide: dict[str, Path]
) -> None:
    name, family = which
    one = load_policy(plan(wide[family], name))
    try:
        await check_greedy(one, wide[family])
    finally:
        await one.close()


async def test_a_seed_decides_its_sample_whatever_else_runs(engine: PolicyEngine) -> None:
    requests = [
        GenerateRequest(c, NEW, seed=7919 * i, top_p=0.9 if i % 3 else 1.0)
        for i, c in enumerate(contexts(20, seed=1))
    ]
    batch = await together(engine, requests)
    again = [await engine.generate(request) for request in requests[::-1]]
    assert [g.token_ids for g in batch] == [g.token_ids for g in again[::-1]]
    other = await together(engine, [GenerateRequest(r.token_ids, NEW, seed=r.seed + 1) for r in requests])
    assert [g.token_ids for g in batch] != [g.token_ids for g in other]


async def test_neighbouring_seeds_share_no_samples(engine: PolicyEngine) -> None:
    """Trap: n samples of one request take the seeds seed + i, so that two requests draw the same, shifted by one."""
    context = contexts(1, seed=3)[0]
    drawn = await together(engine, [GenerateRequest(context, NEW, seed=i) for i in range(30)])
    long = [g.token_ids for g in drawn if len(g.token_ids) > 3]
    assert len(set(long)) == len(long) > 20


async def test_samples_follow_the_model_distribution(engine: PolicyEngine, wide: dict[str, Path]) -> None:
    if engine.info.engine == "http":
        pytest.skip("its draws are those of its server, id by id (http/test_policy.py)")
    context = contexts(1, seed=3)[0]
    requests = [GenerateRequest(context, 1, seed=i * 7919) for i in range(3000)]
    draws = await together(engine, requests)
    model = AutoModelForCausalLM.from_pretrained(wide["llama"]).eval()
    with torch.inference_mode():
        probs = torch.softmax(model(torch.tensor([list(context)])).logits[0, -1], dim=-1)
    counts = torch.bincount(torch.tensor([g.token_ids[0] for g in draws]), minlength=97) / len(draws)
    assert float((counts - probs).abs().sum() / 2) < 0.09


async def test_a_continued_prefix_is_not_prefilled_again(engine: PolicyEngine) -> None:
    """The local engine keeps every token, vLLM whole blocks."""
    context = tuple(random.Random(5).randrange(3, 97) for _ in range(100))
    stops = tuple(range(3, 60))
    step = await engine.generate(GenerateRequest(context, NEW, seed=1, stop_ids=stops, extend=True))
    assert step.finish == "stop"
    assert step.prefilled == len(context) - 1
    longer = context + step.token_ids
    branches = await together(engine, [GenerateRequest(longer, 4, seed=i) for i in range(5)])
    assert all(b.prefilled < BLOCK for b in branches)
    if engine.info.engine == "local":
        assert [b.prefilled for b in branches] == [0] * 5


async def test_without_likelihoods_the_draws_are_the_same(engine: PolicyEngine) -> None:
    """Also beside requests that ask for them."""
    asked = [
        GenerateRequest(context, NEW, seed=i, likelihoods=i % 2 == 0) for i, context in enumerate(contexts(6))
    ]
    told = await together(engine, [replace(one, likelihoods=True) for one in asked])
    for request, mixed, whole in zip(asked, await together(engine, asked), told, strict=True):
        assert (mixed.token_ids, mixed.finish) == (whole.token_ids, whole.finish)
        assert mixed.logprobs == (pytest.approx(whole.logprobs, abs=1e-4) if request.likelihoods else ())


async def test_ends_are_told_apart(engine: PolicyEngine) -> None:
    """Trap: a token limit taken for an end; an end token or a stop token that is left out of the result."""
    context = contexts(1, seed=5)[0]
    before = engine.counters()
    free = await engine.generate(GenerateRequest(context, NEW, seed=4))
    cut = await engine.generate(GenerateRequest(context, 3, seed=4))
    assert (cut.finish, cut.token_ids) == ("length", free.token_ids[:3])
    stopped = await engine.generate(GenerateRequest(context, NEW, seed=4, stop_ids=(free.token_ids[5],)))
    first = free.token_ids.index(free.token_ids[5])
    assert (stopped.finish, stopped.token_ids) == ("stop", free.token_ids[: first + 1])
    assert len(stopped.logprobs) == len(stopped.token_ids)
    many = await together(engine, [GenerateRequest(context, 100, seed=i) for i in range(40)])
    ended = [g for g in many if g.finish == "eos"]
    assert ended
    assert all(g.token_ids[-1] == 1 and 1 not in g.token_ids[:-1] for g in ended)
    # What is ended with a step goes on.
    after = engine.counters()
    assert after.ended - before.ended == 42
    assert after.cut_off - before.cut_off == 42 - len(ended) - (free.finish == "eos")


async def test_a_text_ends_a_request_across_tokens_and_after_its_context(engine: PolicyEngine) -> None:
    """Beside requests that look for another text, or for none."""
    letters = [bytes([i]) for i in range(97)]
    free = [await engine.generate(GenerateRequest(c, NEW, seed=4)) for c in contexts(6, seed=5)]
    # Of two tokens in a row the last byte of the one, and the first of the other.
    texts = [TextEnds(letters, [chr(one.token_ids[1]) + chr(one.token_ids[2])]) for one in free]
    requests = [
        GenerateRequest(c, NEW, seed=4, watches=(Watch(text, 0, "stop"),) if i % 3 else ())
        for i, (c, text) in enumerate(zip(contexts(6, seed=5), texts, strict=True))
    ]
    watched = await together(engine, requests)
    for i, (one, whole, text) in enumerate(zip(watched, free, texts, strict=True)):
        end = next(text.ends(whole.token_ids)) if i % 3 else len(whole.token_ids)
        assert one.token_ids == whole.token_ids[:end]
        assert len(one.logprobs) == end
        assert one.finish == ("stop" if i % 3 else whole.finish)
        assert one.beyond <= NEW - end
    # One that goes on from the first token of the text ends with the second.
    context, whole = contexts(6, seed=5)[1], free[1].token_ids
    greedy = await engine.generate(GenerateRequest(context + whole[:2], 1, seed=0, temperature=0))
    text = TextEnds(letters, [chr(whole[1]) + chr(greedy.token_ids[0])])
    watch = Watch(text, text.state(whole[:2]), "eos")
    on = GenerateRequest(context + whole[:2], NEW, seed=0, temperature=0, watches=(watch,))
    ended = await engine.generate(on)
    assert (ended.token_ids, ended.finish) == (greedy.token_ids, "eos")


async def test_a_cancelled_request_tells_what_it_drew(engine: PolicyEngine) -> None:
    # A greedy chain of these weights never ends by itself.
    request = GenerateRequest((5, 6, 7), 250, seed=0, temperature=0)
    whole = await engine.generate(request)
    assert len(whole.token_ids) > 60
    served = engine.info.engine == "http"
    if served:
        # After its first eight tokens: a chain of a fast server may come to its end before it is cancelled.
        shared_server().tell("wide", faults=["hang"])
    before = engine.counters().tokens_out
    long = asyncio.create_task(engine.generate(request))
    while engine.counters().tokens_out < before + 8:  # noqa: ASYNC110  (counters wake nobody)
        await asyncio.sleep(0.001)
    long.cancel()
    with pytest.raises(Aborted) as aborted:
        await long
    drawn = engine.counters().tokens_out - before
    assert 8 <= drawn <= aborted.value.drawn <= 250
    # What a server has drawn meanwhile is reckoned by the clock.
    assert served or aborted.value.drawn <= min(drawn + 40, len(whole.token_ids) - 1)
    assert aborted.value.prefilled <= 2
    short = await asyncio.wait_for(engine.generate(GenerateRequest((7,), 2, seed=0)), 10)
    assert len(short.token_ids) <= 2
    assert engine.counters().running == 0


async def test_what_is_cancelled_at_once_never_runs_on(engine: PolicyEngine) -> None:
    before = engine.counters().tokens_out
    for pause in range(4):
        tasks = [asyncio.create_task(engine.generate(GenerateRequest((5, i), 200, seed=i))) for i in range(8)]
        for _ in range(pause):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended)
    await engine.generate(GenerateRequest((7,), 20, seed=0, temperature=0))
    assert engine.counters().tokens_out - before < 32 * 20
    assert engine.counters().running == 0


async def test_of_requests_that_wait_the_lowest_priority_is_next(engine: PolicyEngine) -> None:
    order: list[str] = []

    async def ask(name: str, count: int, seed: int, priority: int) -> None:
        await engine.generate(GenerateRequest((5, 6, 7), count, seed=seed, temperature=0, priority=priority))
        order.append(name)

    full = [ask("first", 40, seed, 0) for seed in range(64)]
    late = [ask("new", 3, seed, 0) for seed in range(40)]
    tails = [ask("tail", 3, seed, -20) for seed in range(40)]
    await asyncio.gather(*full, *late, *tails)
    places = {name: [i for i, one in enumerate(order) if one == name] for name in ("new", "tail")}
    assert sum(places["tail"]) < sum(places["new"])


async def test_a_request_beyond_the_context_is_refused_before_it_runs(engine: PolicyEngine) -> None:
    with pytest.raises(ValueError, match="context of 256"):
        await engine.generate(GenerateRequest(tuple([5] * 200), 57, seed=0))
    with pytest.raises(ValueError, match="at least one context token"):
        await engine.generate(GenerateRequest((), 5, seed=0))
    assert engine.counters().running == 0


async def test_counters_add_up(engine: PolicyEngine) -> None:
    before = engine.counters()
    context = tuple(random.Random(77).randrange(3, 97) for _ in range(50))
    drawn = await together(engine, [GenerateRequest(context, NEW, seed=i) for i in range(6)])
    after = engine.counters()
    tokens = sum(len(g.token_ids) for g in drawn)
    assert after.tokens_out - before.tokens_out == tokens
    prefilled = sum(g.prefilled for g in drawn)
    # The last token of a context is computed with the first draw.
    assert prefilled + tokens <= after.tokens_computed - before.tokens_computed <= prefilled + tokens + 6
    assert after.busy_seconds > before.busy_seconds
