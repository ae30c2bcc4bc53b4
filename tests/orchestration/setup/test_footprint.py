"""What models take of memory: by hand, by the files' own tensors, and by what the local engine really holds."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from actors.engines.base import GenerateRequest
from actors.engines.local.policy import LocalEngine
from actors.engines.plan import ReplicaShare
from actors.strategy import Role
from orchestration.setup.domains import MODELS
from orchestration.setup.footprint import Shared, least_gpu, shared_gpu, token_bytes, weight_count

LLAMA_32_1B = {
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "vocab_size": 128256,
    "tie_word_embeddings": True,
}
QWEN_25_7B = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
}
"""As in their config.json."""


def test_llama_by_hand() -> None:
    attention = 2048 * 2048 * 2 + 2048 * 512 * 2
    layer = attention + 3 * 2048 * 8192 + 2 * 2048
    assert weight_count(LLAMA_32_1B) == 128256 * 2048 + 16 * layer + 2048 == 1_235_814_400
    assert token_bytes(LLAMA_32_1B, 2) == 16 * 2 * (8 * 64) * 2 == 32_768


def test_qwen_by_hand() -> None:
    attention = 3584 * 3584 * 2 + 3584 * 512 * 2 + (3584 + 512 + 512)
    layer = attention + 3 * 3584 * 18944 + 2 * 3584
    assert weight_count(QWEN_25_7B) == 2 * 152064 * 3584 + 28 * layer + 3584 == 7_615_616_512
    assert token_bytes(QWEN_25_7B, 2) == 28 * 2 * (4 * 128) * 2 == 57_344
    # A process reward model: one embedding table, and two layers for a head.
    head = (3584 * 3584 + 3584 * 2, 3584 + 2)
    assert weight_count(QWEN_25_7B, head) == 7_615_616_512 - 152064 * 3584 + sum(head)


def test_who_does_not_tell_is_not_counted() -> None:
    experts = QWEN_25_7B | {"model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2}
    assert (
        weight_count(experts | {"moe_intermediate_size": 512, "decoder_sparse_step": 1, "head_dim": 128}) == 0
    )


@pytest.mark.parametrize("folder", ["countdown/policy", "arithmetic/policy"])
def test_a_config_tells_the_weights_of_its_files(folder: str) -> None:
    with safe_open(str(MODELS / folder / "model.safetensors"), framework="np") as file:
        held = sum(torch.Size(file.get_slice(name).get_shape()).numel() for name in file.keys())
    assert weight_count(json.loads((MODELS / folder / "config.json").read_text())) == held


def held() -> int:
    """Bytes of all tensors that this process holds."""
    gc.collect()
    storages = [
        one.untyped_storage() for one in gc.get_objects() if type(one) in (torch.Tensor, torch.nn.Parameter)
    ]
    return sum({one.data_ptr(): one.nbytes() for one in storages}.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
async def test_the_local_engine_holds_what_was_told(dtype: torch.dtype, models: tuple[Path, Path]) -> None:
    config, number = json.loads((models[0] / "config.json").read_text()), dtype.itemsize
    before = held()
    engine = LocalEngine.load(models[0], dtype=dtype)
    try:
        weights = number * weight_count(config)
        # Tables of rotations are in float32, a number for each position and half a head.
        tables = (
            2 * 4 * config["max_position_embeddings"] * config["hidden_size"] // config["num_attention_heads"]
        )
        assert weights <= held() - before <= weights + tables + 4096
        position = engine._cache.position_bytes
        assert position == token_bytes(config, number)
        await engine.generate(GenerateRequest(tuple(range(1, 101)), 20, seed=0))
        # In steps of an eighth, and a few rows at least.
        assert 120 * position <= engine._cache.row_bytes(120) <= 1.25 * 120 * position
        assert engine._cache.nbytes == engine._cache.rows * engine._cache.positions * position
    finally:
        await engine.close()


def shares(**given: ReplicaShare) -> dict[Role, ReplicaShare]:
    return given  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("given", "share", "replicas"),
    [
        # Half of a GPU each: nine tenths of it together.
        (
            shares(policy=ReplicaShare(gpus=0.5), verifier=ReplicaShare(gpus=0.5)),
            0.9,
            {"policy": 1, "verifier": 1},
        ),
        # Two policies fit one GPU by their fraction, and take more than it has by their memory.
        (
            shares(
                policy=ReplicaShare(gpus=0.5, replicas=2, memory=0.6),
                verifier=ReplicaShare(gpus=0.5, memory=0.3),
            ),
            1.2,
            {"policy": 2},
        ),
        # As docs/engines.md has it.
        (
            shares(
                policy=ReplicaShare(gpus=0.25, replicas=2, memory=0.3),
                verifier=ReplicaShare(gpus=0.25, memory=0.3),
            ),
            0.9,
            {"policy": 2, "verifier": 1},
        ),
        # Whole GPUs are shared with nobody.
        (shares(policy=ReplicaShare(gpus=1.0), verifier=ReplicaShare(gpus=0.5)), 0.45, {"verifier": 1}),
        (shares(policy=ReplicaShare(gpus=2.0, tensor_parallel=2)), 0.0, {}),
        (shares(policy=ReplicaShare()), 0.0, {}),
        # Thirds, with their rounding.
        (
            shares(**{role: ReplicaShare(gpus=0.33) for role in ("policy", "reviser", "verifier")}),
            0.891,
            {"policy": 1, "reviser": 1, "verifier": 1},
        ),
    ],
)
def test_what_ray_may_put_on_one_gpu(
    given: dict[Role, ReplicaShare], share: float, replicas: dict[Role, int]
) -> None:
    found = shared_gpu(given)
    assert found.share == pytest.approx(share)
    assert found.replicas == replicas
    assert found.told == ", ".join(f"{role} x {count}" for role, count in replicas.items())


def test_the_gpu_that_a_replica_needs() -> None:
    # Llama 3.2 1B in bfloat16 with 8,192 tokens, in 0.45 of a GPU.
    weights, sequence = 2 * weight_count(LLAMA_32_1B), 8192 * token_bytes(LLAMA_32_1B, 2)
    assert (weights, sequence) == (2_471_628_800, 268_435_456)
    assert least_gpu(weights, sequence, 0.45) == 6_089_031_680  # 2,740,064,256 / 0.45
    assert Shared().share == 0
