"""The real server, vLLM's own, on a small model, asked by the engine behind an address."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from actors.engines.base import Aborted, GenerateRequest
from actors.engines.http.policy import HttpPolicy
from actors.engines.plan import ModelPlan, ReplicaShare, Server
from actors.engines.text_ends import TextEnds, Watch
from tests.actors.engines.test_policy_engines import NEW, contexts, greedy_by_transformers
from tests.support.processes import wait_for
from tests.support.tiny import save_tokenizer
from tests.support.wide import save_wide

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

OPTIONS = (
    "--dtype float32 --enforce-eager --max-num-seqs 64 --enable-prompt-tokens-details --block-size 32 "
    "--no-enable-chunked-prefill --max-num-batched-tokens 4096 --served-model-name wide --host 127.0.0.1"
)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_wide("llama", tmp_path_factory.mktemp("wide"))
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def url(wide: Path) -> Iterator[str]:
    quiet = {"VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
    room = {"VLLM_CPU_KVCACHE_SPACE": "1", "TORCH_COMPILE_DISABLE": "1"}
    # The command `vllm serve` asks for a package of that name, which vllm-cpu is not; it is this module.
    module = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(wide)]
    for _ in range(3):
        with socket.create_server(("127.0.0.1", 0)) as one:
            port = one.getsockname()[1]
        command = [*module, *OPTIONS.split(), "--port", str(port)]
        with subprocess.Popen(command, env=os.environ | quiet | room, start_new_session=True) as server:
            try:
                # It listens a long time after it was told where: another may have taken the port.
                wait_for(lambda: up(port) or server.poll() is not None, "vLLM's server", 600)  # noqa: B023
                if server.poll() is None:
                    yield f"http://127.0.0.1:{port}/v1"
                    return
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(server.pid, 9)
    pytest.fail("vLLM's server ended as it started")


def up(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health", timeout=10).status_code == 200
    except httpx2.HTTPError:
        return False


async def test_the_real_server_does_what_an_engine_promises(url: str, wide: Path) -> None:
    """One test, for the server takes a minute to start."""
    plan = ModelPlan(wide, ReplicaShare(max_sequences=32), engine="http", server=Server(url))
    engine = HttpPolicy.load(plan)
    assert (engine.info.context, engine.info.eos_ids) == (256, (1,))

    # Greedy tokens are those of transformers, and so of every engine.
    greedy = [GenerateRequest(c, NEW, seed=0, temperature=0) for c in contexts(9)]
    for request, one in zip(greedy, await asyncio.gather(*map(engine.generate, greedy)), strict=True):
        tokens, logprobs = greedy_by_transformers(wide, request.token_ids)
        assert list(one.token_ids) == tokens
        assert one.logprobs == pytest.approx(logprobs, abs=1e-4)
        assert one.finish == ("eos" if tokens[-1] == 1 else "length")

    # A seed decides its sample, whatever else runs.
    asked = [GenerateRequest(c, NEW, seed=7919 * i, top_p=0.9) for i, c in enumerate(contexts(12, seed=1))]
    batch = await asyncio.gather(*map(engine.generate, asked))
    assert [(await engine.generate(one)).token_ids for one in asked[::-1]] == [g.token_ids for g in batch][
        ::-1
    ]

    # A stop token is part of the result; what is continued comes from the cache, in whole blocks.
    context = tuple(3 + i % 90 for i in range(100))
    step = await engine.generate(
        GenerateRequest(context, NEW, seed=1, stop_ids=tuple(range(3, 60)), extend=True)
    )
    assert (step.finish, step.token_ids[-1] in range(3, 60)) == ("stop", True)
    assert step.prefilled >= len(context) - 1 - 64
    branch = await engine.generate(GenerateRequest(context + step.token_ids, 4, seed=2))
    assert branch.prefilled < 32

    # A text that lies across tokens ends a request.
    whole = await engine.generate(GenerateRequest(context, NEW, seed=4))
    text = TextEnds([bytes([i]) for i in range(97)], [chr(whole.token_ids[1]) + chr(whole.token_ids[2])])
    watched = await engine.generate(GenerateRequest(context, NEW, seed=4, watches=(Watch(text, 0, "stop"),)))
    assert watched.token_ids == whole.token_ids[: next(text.ends(whole.token_ids))]
    assert watched.finish == "stop"

    # One that is cancelled tells what it drew, and the server goes on.
    before = engine.counters().tokens_out
    long = asyncio.create_task(engine.generate(GenerateRequest((5, 6, 7), 250, seed=0, temperature=0)))
    while engine.counters().tokens_out < before + 10:  # noqa: ASYNC110  (counters wake nobody)
        await asyncio.sleep(0.001)
    long.cancel()
    with pytest.raises(Aborted) as aborted:
        await long
    assert 10 <= aborted.value.drawn <= 250
    without = await engine.generate(GenerateRequest((5, 6, 7), 5, seed=3, likelihoods=False))
    assert (len(without.logprobs), len(without.token_ids)) == (0, 5)
    await engine.close()
