"""What is a server's alone: its draws id by id, what becomes of answers that are lost, servers that misbehave or are gone.

What every policy engine promises is in test_policy_engines.py. Each server here is a real one that generates, in a process of
its own.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.engines.base import AnswerLost, EngineError, GenerateRequest, Generation
from actors.engines.http import policy as http_policy
from actors.engines.http.policy import HttpPolicy
from actors.engines.local.policy import LocalEngine
from actors.engines.plan import ModelPlan, ReplicaShare, Server
from actors.errors import UserError
from tests.support.cells import outcomes_by_key, rows_of, tasks
from tests.support.inprocess import Cell
from tests.support.places import MODELS
from tests.support.served import ServerProcess

NEW = 20


def plan_of(folder: Path, url: str, **more: Any) -> ModelPlan:
    return ModelPlan(folder, ReplicaShare(max_sequences=16), engine="http", server=Server(url, **more))


@asynccontextmanager
async def engine_of(folder: Path, url: str, **more: Any) -> AsyncIterator[HttpPolicy]:
    engine = HttpPolicy.load(plan_of(folder, url, **more))
    try:
        yield engine
    finally:
        await engine.close()


def requests(count: int = 8) -> list[GenerateRequest]:
    return [
        GenerateRequest((0, 3 + i, 13), NEW, seed=7919 * i, top_p=0.9 if i % 2 else 1.0) for i in range(count)
    ]


async def together(engine: Any, asked: list[GenerateRequest]) -> list[Generation]:
    return list(await asyncio.gather(*(engine.generate(one) for one in asked)))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long here for a server that comes back."""
    monkeypatch.setattr(http_policy, "PAUSE_S", 0.01)
    monkeypatch.setattr(http_policy, "REFUSED_S", 1.0)


async def test_a_draw_is_the_local_engines_id_by_id(policy: Path, server: ServerProcess) -> None:
    local = LocalEngine.load(policy)
    whole = await together(local, requests())
    await local.close()
    async with engine_of(policy, server.serve("same", policy)) as engine:
        drawn = await together(engine, requests())
        assert [one.token_ids for one in drawn] == [one.token_ids for one in whole]
        assert [one.finish for one in drawn] == [one.finish for one in whole]
        for one, other in zip(drawn, whole, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)
        assert engine.info.eos_ids == local.info.eos_ids
        assert engine.info.context == local.info.context
    sent = server.asked("same")[-1]
    # Nothing is left to what a server has for defaults.
    named = {
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "ignore_eos": True,
        "n": 1,
        "seed": sent["seed"],
    }
    assert sent.items() >= named.items()
    assert set(sent["stop_token_ids"]) == set(local.info.eos_ids)


async def test_candidates_of_searches_are_those_of_the_local_engine_and_lost_answers_are_paid(
    policy: Path, verifier: Path, server: ServerProcess, tmp_path: Path
) -> None:
    """Two failures and a connection that is cut within an answer change no candidate; each is charged in full, as lost."""
    async with Cell(tmp_path / "local", policy, verifier, replicas=1) as cell:
        await cell.run(tasks(3))
    url = server.serve("searched", policy)
    async with Cell(
        tmp_path / "served", policy, verifier, replicas=1, engine="http", server=Server(url)
    ) as cell:
        cell.replicas["policy-0"].inner = cell.replicas["policy-0"].make()
        # The third is refused before anything is computed, and costs nothing.
        server.tell("searched", faults=["500", "cut", "503", "500"])
        await cell.run(tasks(3))
    assert outcomes_by_key(tmp_path / "served") == outcomes_by_key(tmp_path / "local")
    entries = [row for row in rows_of(tmp_path / "served", "ledger") if row["purpose"] == "policy"]
    lost = sum(row["flops"] for row in entries if row["kind"] == "lost")
    token = cell.bench.costs["policy"].paper(1)
    assert lost == 3 * cell.bench.max_tokens * token
    kept = [
        sum(
            row["flops"]
            for row in rows_of(tmp_path / name, "ledger")
            if row["purpose"] == "policy" and row["kind"] == "kept"
        )
        for name in ("served", "local")
    ]
    assert kept[0] == kept[1] > 0


async def test_an_answer_that_does_not_come_is_lost_and_the_next_one_comes(
    policy: Path, server: ServerProcess
) -> None:
    url = server.serve("slow", policy)
    async with engine_of(policy, url) as engine, engine_of(policy, url, timeout=1.0) as hasty:
        [right] = await together(engine, requests(1))
        for fault, why, who in (
            ("hang", "ReadTimeout", hasty),
            ("500", "told to fail with 500", engine),
            ("cut", "RemoteProtocolError", engine),
        ):
            server.tell("slow", faults=[fault])
            with pytest.raises(AnswerLost, match=why):
                await who.generate(requests(1)[0])
            assert (await engine.generate(requests(1)[0])).token_ids == right.token_ids
        server.tell("slow", faults=["503", "429"])
        assert (await engine.generate(requests(1)[0])).token_ids == right.token_ids
        server.tell("slow", faults=["400"])
        with pytest.raises(ValueError, match="told to fail with 400"):
            await engine.generate(requests(1)[0])
        assert engine.counters().running == 0


@pytest.mark.parametrize(
    ("faults", "why"),
    [
        (["garbage"], "does not answer what it is asked: no JSON"),
        (["no_ids"], "no token ids"),
        (["other_ids"], "read other token ids than it was sent"),
        (["404"], "told to fail with 404"),
        (["500"] * 17, "has lost answers 17 times in a row"),
        (["503"] * 40, "has taken no request for"),
    ],
)
async def test_a_server_that_does_not_do_what_it_is_asked_is_a_dead_engine(
    policy: Path, server: ServerProcess, faults: list[str], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_policy, "REFUSED_S", 0.2)
    monkeypatch.setattr(http_policy, "LONGEST_PAUSE_S", 0.02)
    async with engine_of(policy, server.serve("odd", policy)) as engine:
        server.tell("odd", faults=faults)
        ended = [await ending(engine) for _ in range(faults.count("500") or 1)]
        assert all(isinstance(one, AnswerLost) for one in ended[:-1])
        assert isinstance(ended[-1], EngineError)
        assert why in str(ended[-1])


async def test_what_is_lost_together_counts_once(policy: Path, server: ServerProcess) -> None:
    """Trap: one hiccup with more in flight than may be lost in a row is no dead server."""
    async with engine_of(policy, server.serve("hiccup", policy)) as engine:
        right = await together(engine, requests(40))
        server.tell("hiccup", faults=["500"] * 40)
        ended = await asyncio.gather(*map(engine.generate, requests(40)), return_exceptions=True)
        assert all(isinstance(one, AnswerLost) for one in ended)
        again = await together(engine, requests(40))
        assert [one.token_ids for one in again] == [one.token_ids for one in right]


async def ending(engine: HttpPolicy) -> Exception | None:
    try:
        await engine.generate(requests(1)[0])
    except Exception as error:
        return error
    return None


async def test_a_server_that_dies_ends_every_request_and_another_draws_the_same(
    policy: Path, server: ServerProcess
) -> None:
    first = ServerProcess()
    url = first.serve("mortal", policy)
    async with engine_of(policy, url) as engine:
        right = await together(engine, requests())
        # One at least is on its way when it dies, however long that takes.
        first.tell("mortal", faults=["hang"])
        before = engine.counters().tokens_out
        # A greedy chain of these weights is long.
        going = [
            asyncio.create_task(engine.generate(GenerateRequest((0, 5, i), 120, seed=0, temperature=0)))
            for i in range(3, 19)
        ]
        while engine.counters().tokens_out < before + 20:  # noqa: ASYNC110  (counters wake nobody)
            await asyncio.sleep(0.001)
        first.kill()
        ended = await asyncio.wait_for(asyncio.gather(*going, return_exceptions=True), 60)
        lost = [one for one in ended if not isinstance(one, Generation)]
        assert lost
        assert all(isinstance(one, AnswerLost | EngineError) for one in lost)
        with pytest.raises(EngineError, match=r"has taken no request for .* ConnectError"):
            await engine.generate(requests(1)[0])
        assert engine.counters().running == 0
    with pytest.raises(ConnectionError, match="ConnectError"):
        HttpPolicy.load(plan_of(policy, url))
    async with engine_of(policy, server.serve("mortal", policy)) as engine:
        again = await together(engine, requests())
        assert [one.token_ids for one in again] == [one.token_ids for one in right]


async def test_what_came_from_a_cache_counts_only_where_the_server_tells_it(
    policy: Path, server: ServerProcess
) -> None:
    url = server.serve("silent", policy, hides_cached=True)
    request = GenerateRequest((0, *range(3, 13), 13), NEW, seed=3)
    async with engine_of(policy, url) as engine:
        assert [(await engine.generate(request)).prefilled for _ in range(2)] == [11, 11]
    server.tell("silent", hides_cached=False)
    async with engine_of(policy, url) as engine:
        assert (await engine.generate(request)).prefilled == 0


async def test_a_model_whose_text_has_a_config_of_its_own(
    policy: Path, server: ServerProcess, tmp_path: Path
) -> None:
    folder = shutil.copytree(policy, tmp_path / "policy")
    text = json.loads((folder / "config.json").read_text()) | {"model_type": "gemma3_text"}
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": text}))
    async with engine_of(folder, server.serve("several", policy)) as engine:
        assert engine.info.vocabulary == text["vocab_size"]
        assert (await engine.generate(requests(1)[0])).token_ids


def refused(folder: Path, url: str, **more: Any) -> str:
    with pytest.raises(UserError) as error:
        HttpPolicy.load(plan_of(folder, url, **more))
    return str(error.value)


def test_a_server_of_other_tokens_or_another_model_is_refused_by_name(
    policy: Path, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = MODELS.parent / "countdown" / "policy"
    url = server.serve("other", ours, tokenizer=str(MODELS / "policy"))
    assert refused(ours, url).startswith(
        f"policy.path = {str(ours)!r}: its tokenizer is not that of the server's model other: of a text of"
    )
    server.serve("other", policy)
    assert refused(policy, url, model="mine") == f"policy.model = 'mine': the server at {url} has other"
    server.tell("other", served=["one", "two"])
    assert refused(policy, url) == f"policy.model = None: the server at {url} has one, two: name one"
    assert HttpPolicy.load(plan_of(policy, url, model="two")).info.engine == "http"
    server.tell("other", wants="secret")
    assert refused(policy, url).startswith(
        f"policy.key_variable = None: the server at {url} asks for a key (401"
    )
    monkeypatch.setenv("SOME_KEY", "wrong")
    assert "refuses the key that it holds (401" in refused(policy, url, key_variable="SOME_KEY")
    assert "no such environment variable" in refused(policy, url, key_variable="NO_KEY")
    monkeypatch.setenv("SOME_KEY", "secret")
    HttpPolicy.load(plan_of(policy, url, model="two", key_variable="SOME_KEY"))
    server.tell("other", faults=["no_ids"])
    named = {"model": "two", "key_variable": "SOME_KEY"}
    assert "does not do what flopwise needs (no token ids" in refused(policy, url, **named)
    server.tell("other", faults=["", "other_ids"])
    assert "it reads other token ids than it is sent" in refused(policy, url, **named)
    assert "give the address that ends in /v1" in refused(policy, url.removesuffix("/v1"), **named)
