"""What is vLLM's alone: prefills and caches under pressure, an engine that dies, its count of FLOPs, draws without seeds.

What every policy engine promises is in test_policy_engines.py.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.engines import plan as engine_plan
from actors.engines.base import EngineError, GenerateRequest, Generation
from actors.engines.loading import load_policy
from actors.engines.plan import ModelPlan, ReplicaShare
from actors.engines.vllm import policy as vllm_policy
from actors.engines.vllm import start as vllm_start
from actors.errors import UserError
from orchestration.flops import ModelCost
from tests.support.places import ROOT
from tests.support.processes import descendants
from tests.support.wide import save_wide

pytestmark = pytest.mark.vllm


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_wide("llama", tmp_path_factory.mktemp("wide"))


@asynccontextmanager
async def engine_of(folder: Path, **more: Any) -> AsyncIterator[Any]:
    share = ReplicaShare(max_sequences=64, device="cpu")
    plan = replace(ModelPlan(folder, share, engine="vllm"), **more)
    engine = load_policy(plan)
    try:
        yield engine
    finally:
        await engine.close()


def ragged(count: int, longest: int, new: int) -> list[GenerateRequest]:
    """Seeded requests of all lengths to `longest` context tokens, with the chance of an end at each of `new`."""
    rng = random.Random(count)
    return [
        GenerateRequest(tuple(rng.randrange(3, 97) for _ in range(rng.randrange(1, longest))), new, seed=i)
        for i in range(count)
    ]


async def together(engine: Any, requests: list[GenerateRequest]) -> list[Generation]:
    return list(await asyncio.gather(*(engine.generate(request) for request in requests)))


def more_than_a_pass() -> list[GenerateRequest]:
    requests = ragged(64, 240, 8)
    assert sum(len(request.token_ids) for request in requests) > vllm_start.BATCH_TOKENS
    return requests


def test_a_broken_torchvision_is_told_in_one_line_with_its_mend(tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    facts = tmp_path / "torchvision-0.28.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    script = """
from actors.engines.vllm.start import import_vllm
from actors.errors import UserError

try:
    import_vllm()
except UserError as error:
    print(error)
"""
    path = os.pathsep.join(filter(None, (str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    [line] = done.stdout.strip().splitlines()
    assert line.startswith("engine = 'vllm': it cannot be imported here: ")
    assert line.endswith("pip uninstall torchvision torchaudio torchcodec")


async def test_more_prefills_than_a_pass_holds_and_the_flops_of_all_that_ran(llama: Path) -> None:
    """vLLM's count is ours, but for attention within a prefill: it counts the full square, not the causal triangle."""
    cost = ModelCost.from_folder(llama)
    square = 4 * cost.width * cost.full_layers
    async with engine_of(llama) as engine:
        ours = 0
        for requests in (more_than_a_pass(), ragged(5, 100, 30), ragged(64, 240, 8)[:3]):
            drawn = await together(engine, requests)
            for request, one in zip(requests, drawn, strict=True):
                cached = len(request.token_ids) - 1 - one.prefilled
                prefill = one.prefilled + 1
                computed = one.prefilled + len(one.token_ids)
                ours += cost.exact(cached, computed, len(one.token_ids))
                ours += square * prefill * (prefill - 1) // 2
        assert engine.counters().flops == ours
        # Nobody else is told: vLLM's own logger observes each token, and nothing reads it.
        assert len(engine._engine.logger_manager.stat_loggers) == 1
        [again] = await together(engine, requests[:1])
        assert again.token_ids == drawn[0].token_ids


async def test_with_prefills_in_pieces_a_seeded_request_kills_the_engine(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So they stay whole. Where this fails, vLLM has learnt to rewind a seeded generator, and they may go in pieces."""
    right = vllm_start.engine_args

    def in_pieces(*args: Any, **more: Any) -> dict[str, Any]:
        return {**right(*args, **more), "enable_chunked_prefill": True, "max_num_batched_tokens": 256}

    monkeypatch.setitem(vllm_policy.start.__globals__, "engine_args", in_pieces)
    async with engine_of(llama) as engine:
        ended = await asyncio.gather(
            *(engine.generate(request) for request in more_than_a_pass()), return_exceptions=True
        )
        assert any(isinstance(one, EngineError) for one in ended)


def test_what_vllm_says_of_a_cache_for_no_sequence_names_the_settings(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_plan, "CPU_CACHE_BYTES", 300 << 10)
    plan = ModelPlan(llama, ReplicaShare(max_sequences=64, device="cpu"), engine="vllm")
    with pytest.raises(UserError) as error:
        load_policy(plan)
    line = str(error.value)
    assert line.startswith(
        f"policy.engine = 'vllm': vLLM cannot run {llama}: ValueError: To serve at least one request"
    )
    assert re.search(r"; set policy.context to at most \d+ .*, or raise cluster.policy.memory$", line)


async def test_a_cache_that_is_too_small_lets_fewer_in_and_changes_no_sample(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_plan, "CPU_CACHE_BYTES", 3 << 20)
    async with engine_of(llama) as engine:
        slots = [engine.slots]
        assert slots == [8], "what fits for certain"
        requests = ragged(64, 60, 150)
        going = asyncio.create_task(together(engine, requests))
        while not going.done():
            await asyncio.sleep(0.001)
            slots.append(engine.slots)
        drawn = await going
        assert engine.preempted >= 10
        assert min(slots) < 8
        for request, one in list(zip(requests, drawn, strict=True))[::8]:
            assert (await engine.generate(request)).token_ids == one.token_ids


async def test_without_seeds_draws_differ_and_a_core_that_is_killed_ends_every_request(llama: Path) -> None:
    async with engine_of(llama, seeded=False, context=252) as engine:
        assert engine.info.context == 252, "of the model's 256"
        requests = ragged(10, 60, 30)
        draws = [[one.token_ids for one in await together(engine, requests)] for _ in range(2)]
        assert draws[0] != draws[1]
        greedy = [replace(request, temperature=0.0) for request in requests]
        # Their likelihoods may differ in the last bit, by who shares a step.
        once, again = [[one.token_ids for one in await together(engine, greedy)] for _ in range(2)]
        assert once == again

        before = engine.counters().tokens_out
        going = [asyncio.create_task(engine.generate(request)) for request in ragged(32, 60, 190)]
        while engine.counters().tokens_out < before + 50:  # noqa: ASYNC110  (counters wake nobody)
            await asyncio.sleep(0.001)
        [core] = [pid for pid, title in descendants(os.getpid()).items() if "EngineCore" in title]
        os.kill(core, signal.SIGKILL)
        ended = await asyncio.wait_for(asyncio.gather(*going, return_exceptions=True), 60)
        lost = [one for one in ended if not isinstance(one, Generation)]
        assert lost
        assert all(isinstance(one, EngineError) for one in lost)
        with pytest.raises(EngineError):
            await engine.generate(GenerateRequest((5,), 3, seed=0))
        assert engine.counters().running == 0
