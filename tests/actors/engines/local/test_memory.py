"""What rows and prefixes of the local engine take of the memory: as much as runs, no more than there is, and not for ever."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from actors.engines.base import EngineError, GenerateRequest, Generation, ScoreRequest, Scores
from actors.engines.local import kv, policy
from actors.engines.local.kv import PrefixCache, SlotCache
from actors.engines.local.policy import LocalEngine
from actors.engines.local.room import LOOK_S, Room
from actors.engines.local.verifier import ScoringEngine
from actors.engines.plan import FREE, GPU_MEMORY, ReplicaShare
from actors.engines.verifiers.value_head import ValueHead, ValueHeadConfig
from tests.actors.engines.local.test_policy import NEW, contexts

CPU = torch.device("cpu")


def cache(rows: int = 256, context: int = 4096) -> SlotCache:
    return SlotCache(2, rows, 2, 4, context=context, dtype=torch.float32, device=CPU)


def fixed(room: Room, bytes_free: int) -> Room:
    """It finds so many bytes, whatever is held."""
    room._look = lambda held: bytes_free  # type: ignore[method-assign]
    return room


def with_value_head(folder: Path) -> Path:
    if not (folder / "value_head.json").exists():
        torch.manual_seed(0)
        ValueHead(ValueHeadConfig(32, width=8)).save(folder)
    return folder


async def together(engine: LocalEngine, requests: list[GenerateRequest]) -> list[Generation]:
    return list(await asyncio.gather(*(engine.generate(request) for request in requests)))


async def drawn(folder: Path, requests: list[GenerateRequest], **options: object) -> list[Generation]:
    engine = LocalEngine.load(folder, **options)  # type: ignore[arg-type]
    try:
        return await together(engine, requests)
    finally:
        await engine.close()


def test_a_cache_has_room_for_what_is_used_and_little_more() -> None:
    one = cache()
    assert one.nbytes == 0
    for rows, positions in ((3, 20), (40, 100), (200, 1500)):
        one.reserve(rows, positions)
        used = one.bytes_of(rows, positions)
        assert used <= one.nbytes <= 1.3 * max(used, one.bytes_of(kv.ROWS, kv.POSITIONS))
    one.reserve(256, 4096)
    assert (one.rows, one.positions) == (256, 4096), "never more than all"


def test_growth_costs_few_copies() -> None:
    one, sizes = cache(), set()
    for position in range(1, 4097):
        one.reserve(2, position)
        sizes.add(one.positions)
    assert len(sizes) < 45
    assert max(sizes) == 4096


def test_what_rows_hold_stays_as_they_grow_and_shrink() -> None:
    one = cache()
    one.reserve(2, 10)
    for layer in one.layers:
        layer[:, :2, :, :10] = torch.randn(2, 2, 2, 10, 4)
    before = [layer[:, :2, :, :10].clone() for layer in one.layers]
    one.reserve(50, 1000)
    for _ in range(kv.PATIENCE):
        assert one.rows > 50
        one.settle(2, 10)
    assert (one.rows, one.positions) == (kv.ROWS, kv.POSITIONS)
    assert all(torch.equal(a, b[:, :2, :, :10]) for a, b in zip(before, one.layers, strict=True))
    # What is masked is multiplied by nought, and must be a number.
    assert all(bool(layer.isfinite().all()) for layer in one.layers)


def test_a_short_lull_shrinks_nothing() -> None:
    one = cache()
    one.reserve(100, 1000)
    held = one.nbytes
    for _ in range(5):
        for _ in range(kv.PATIENCE - 1):
            one.settle(1, 10)
        one.settle(90, 900)
    assert one.nbytes == held


def test_a_layer_that_finds_no_memory_leaves_no_cache_of_two_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    one = cache()
    one.reserve(2, 10)
    real, left = SlotCache._empty, [1]

    def empty(self: SlotCache, rows: int, positions: int) -> torch.Tensor:
        if rows and not left:
            raise MemoryError
        if rows:
            left.pop()
        return real(self, rows, positions)

    monkeypatch.setattr(SlotCache, "_empty", empty)
    with pytest.raises(MemoryError):
        one.reserve(2, 1000)
    assert (one.rows, one.positions, one.nbytes) == (0, 0, 0)


def test_prefixes_give_way_when_they_may_take_less() -> None:
    prefixes = PrefixCache(10_000)
    for number in range(5):
        prefixes.put((number, 7), torch.zeros(2, 2, 2, 2, 4))
    assert len(prefixes) == 5
    prefixes.bound(prefixes.nbytes // 2)
    assert len(prefixes) == 2
    assert prefixes.find((4, 7))[1] == 2, "the latest stay"


@pytest.mark.parametrize("family", ["llama", "gpt-neox"])
async def test_tokens_are_the_same_however_memory_grows_and_shrinks(
    checkpoints: dict[str, Path], family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [
        GenerateRequest(context, 4 + 9 * (number % 4), seed=number, temperature=number % 2)
        for number, context in enumerate(contexts(14))
    ]
    resized: list[tuple[int, int]] = []
    real = SlotCache._resize

    def resize(self: SlotCache, rows: int, positions: int) -> None:
        resized.append((rows, positions))
        real(self, rows, positions)

    monkeypatch.setattr(SlotCache, "_resize", resize)
    monkeypatch.setattr(kv, "ROWS", 256)
    monkeypatch.setattr(kv, "POSITIONS", 128)
    steady = await drawn(checkpoints[family], requests, max_sequences=5)
    assert len(resized) <= 3
    resized.clear()
    for name in ("ROWS", "POSITIONS", "PATIENCE"):
        monkeypatch.setattr(kv, name, 1)
    restless = await drawn(checkpoints[family], requests, max_sequences=5)
    assert len(resized) > 10
    assert any(after[1] < before[1] for before, after in pairwise(resized))
    for one, other in zip(steady, restless, strict=True):
        assert one.token_ids == other.token_ids
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-6)


async def test_rows_are_taken_for_what_runs_and_given_back(checkpoints: dict[str, Path]) -> None:
    engine = LocalEngine.load(checkpoints["llama"], max_sequences=256)
    try:
        one = engine._cache
        await together(engine, [GenerateRequest((5, 6, 7), 3, seed=0, temperature=0)])
        assert one.nbytes <= one.bytes_of(kv.ROWS, kv.POSITIONS)
        await together(engine, [GenerateRequest((5,) * 60, 60, seed=i) for i in range(40)])
        peak = one.nbytes
        assert peak >= one.bytes_of(40, 100)
        await together(
            engine, [GenerateRequest((5, i % 97), 1, seed=0, temperature=0) for i in range(2 * kv.PATIENCE)]
        )
        for number in range(kv.PATIENCE + 2):
            await together(engine, [GenerateRequest((5, 6), 1, seed=number, temperature=0)])
        assert 0 < one.nbytes < peak / 2
    finally:
        await engine.close()


async def test_an_engine_without_work_keeps_no_rows(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "IDLE_S", 0.0)
    engine = LocalEngine.load(checkpoints["llama"])
    given_back = asyncio.Event()
    loop, real = asyncio.get_running_loop(), engine._cache.clear

    def clear() -> None:
        real()
        loop.call_soon_threadsafe(given_back.set)

    monkeypatch.setattr(engine._cache, "clear", clear)
    request = GenerateRequest((5, 6, 7), 9, seed=0, temperature=0)
    try:
        first = await engine.generate(request)
        await asyncio.wait_for(given_back.wait(), 10)
        assert engine._cache.nbytes == 0
        again = await engine.generate(request)
        assert (again.token_ids, again.prefilled) == (first.token_ids, 0), "the prefix is still known"
    finally:
        await engine.close()


async def test_no_more_are_let_in_than_there_is_memory_for_at_their_longest(
    checkpoints: dict[str, Path],
) -> None:
    requests = [
        GenerateRequest(context, NEW, seed=number, temperature=0)
        for number, context in enumerate(contexts(9, seed=2))
    ]
    free = await drawn(checkpoints["llama"], requests)
    engine = LocalEngine.load(checkpoints["llama"])
    row = engine._cache.row_bytes(64) + policy.ROW_BYTES * engine.info.vocabulary
    # A quarter is for prefixes.
    engine._room = fixed(Room(CPU), 4 * row)
    most, real = 0, engine._decode

    def decode() -> list[tuple[policy._Job, Generation]]:
        nonlocal most
        most = max(most, len(engine._running))
        assert engine._cache.nbytes <= 3 * row
        return real()

    engine._decode = decode  # type: ignore[method-assign]
    try:
        tight = await together(engine, requests)
        assert (most, engine.slots) == (3, 3)
        assert [one.token_ids for one in tight] == [one.token_ids for one in free]
    finally:
        await engine.close()


async def test_a_request_that_is_alone_always_runs(checkpoints: dict[str, Path]) -> None:
    requests = [GenerateRequest(context, NEW, seed=0, temperature=0) for context in contexts(4)]
    free = await drawn(checkpoints["llama"], requests)
    none = await drawn(checkpoints["llama"], requests, room=fixed(Room(CPU), 0))
    assert [one.token_ids for one in none] == [one.token_ids for one in free]
    assert [one.prefilled for one in none] == [len(one.token_ids) - 1 for one in requests], "nothing is kept"


@pytest.mark.parametrize("place", ["as rows are taken", "in a prefill"])
async def test_memory_that_ends_as_requests_enter_fails_them_and_hangs_none(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    engine = LocalEngine.load(checkpoints["llama"])
    monkeypatch.setattr(policy, "PREFILL_TOKENS", 8)
    what, name = (engine._cache, "reserve") if place == "as rows are taken" else (engine._decoder, "forward")
    real, failures = getattr(what, name), [MemoryError("no memory")]

    def once(*arguments: object, **options: object) -> object:
        if failures:
            raise failures.pop()
        return real(*arguments, **options)

    monkeypatch.setattr(what, name, once)
    requests = [GenerateRequest(tuple(range(3, 20 + i)), 4, seed=i) for i in range(3)]
    async with asyncio.timeout(60):
        ended = await asyncio.gather(*map(engine.generate, requests), return_exceptions=True)
        assert [type(one) for one in ended] == [EngineError] * 3
        again = await together(engine, requests)
    assert all(one.token_ids for one in again)
    await engine.close()


async def test_a_verifier_that_cannot_look_at_its_memory_fails_what_waits(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_value_head(checkpoints["llama"])
    engine = ScoringEngine.load(folder)
    real, failures = engine._room.bytes_for, [RuntimeError("CUDA error")]

    def once(held: int) -> int:
        if failures:
            raise failures.pop()
        return real(held)

    monkeypatch.setattr(engine._room, "bytes_for", once)
    requests = [ScoreRequest((5, 6, 7, 8 + i), 2, (4,)) for i in range(3)]
    async with asyncio.timeout(60):
        ended = await asyncio.gather(*map(engine.score, requests), return_exceptions=True)
        assert [type(one) for one in ended] == [EngineError] * 3
        assert len((await engine.score(requests[0])).values) == 1
    await engine.close()


async def test_a_long_prompt_is_computed_in_pieces(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [GenerateRequest(context, NEW, seed=0, temperature=0) for context in contexts(6, seed=4)]
    whole = await drawn(checkpoints["llama"], requests)
    monkeypatch.setattr(policy, "PREFILL_PAIRS", 300)
    pieces = await drawn(checkpoints["llama"], requests)
    assert [one.token_ids for one in whole] == [one.token_ids for one in pieces]
    assert [one.prefilled for one in whole] == [one.prefilled for one in pieces]


async def test_a_verifier_takes_rows_for_a_batch_and_fewer_where_there_is_little(
    checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_value_head(checkpoints["llama"])
    requests = [
        ScoreRequest(context + context, len(context), (len(context) + 1, 2 * len(context)))
        for context in contexts(9, seed=6)
        if len(context) > 1
    ]
    roomy = ScoringEngine.load(folder)
    assert roomy._cache.nbytes == 0
    free = [one.values for one in await asyncio.gather(*map(roomy.score, requests))]
    assert roomy._cache.rows < 20, "not the 128 that there may be"
    tight = ScoringEngine.load(folder, room=fixed(Room(CPU), 6 * roomy._cache.row_bytes(100)))
    widest, real, taken = 0, tight._forward, []
    score_all = tight._score_all

    def forward(batch: list[object], room: int) -> None:
        nonlocal widest
        widest = max(widest, len(batch))
        real(batch, room)  # type: ignore[arg-type]

    def noted(batch: list[ScoreRequest]) -> list[Scores]:
        taken.append(sum(len(request.token_ids) for request in batch))
        return score_all(batch)

    monkeypatch.setattr(tight, "_forward", forward)
    monkeypatch.setattr(tight, "_score_all", noted)
    few = [one.values for one in await asyncio.gather(*map(tight.score, requests))]
    assert 1 < widest <= 6
    # What a batch computes is kept to its end.
    assert len(taken) > 1
    assert max(taken) * tight._cache.position_bytes <= 2.25 * roomy._cache.row_bytes(100)
    for one, other in zip(free, few, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    for engine in (roomy, tight):
        await engine.close()


def test_of_a_processor_a_part_of_what_is_free_or_the_share_that_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from actors.engines.local import room as module

    now, free = 0.0, 1000
    monkeypatch.setattr(module, "free_memory", lambda: free)
    monkeypatch.setattr(module, "machine_memory", lambda: 64_000)
    one = Room(CPU, clock=lambda: now)
    assert one.bytes_for(200) == int(FREE * 1200 / 2), "what it holds itself counts as free"
    free = 0
    assert one.bytes_for(200) == int(FREE * 1200 / 2), "believed for a while"
    now += LOOK_S
    assert one.bytes_for(200) == int(FREE * 200 / 2)
    assert Room(CPU, ReplicaShare(memory=0.25)).bytes_for(5) == 16_000


def test_of_a_gpu_a_share_without_weights_and_never_more_than_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda, free = torch.device("cuda"), 740
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 1000))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 250)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 300)

    def room(**share: float) -> int:
        return Room(cuda, ReplicaShare(**share)).bytes_for(50)  # type: ignore[arg-type]

    # 250 are taken, 50 of them by keys and values: 200 for weights.
    assert room(gpus=1) == int(GPU_MEMORY * 1000) - 200
    assert room(gpus=0.5) == int(GPU_MEMORY * 500) - 200
    assert room(gpus=1, memory=0.6) == 400
    assert room(memory=0.1) == 0
    free = 100
    assert room(gpus=1) == int(GPU_MEMORY * 150 + 50), "a neighbour took the rest"


def test_replicas_of_one_machine_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert ReplicaShare().neighbours == 1
    assert ReplicaShare(replicas=4, cpus=2).neighbours == 4
    assert ReplicaShare(replicas=64, cpus=2).neighbours == 4, "the others are on other machines"
    assert ReplicaShare(replicas=3, cpus=0).neighbours == 3
    assert ReplicaShare(replicas=4).room(1000, 9000) == int(FREE * 1000 / 5)
