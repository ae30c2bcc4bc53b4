"""Folders that hold more, less or something else than their config says, and rows that must not feel their neighbours."""

from __future__ import annotations

import asyncio
import json
import math
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    DeepseekV2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    Phi3Config,
    Qwen2Config,
)

from actors.engines.base import GenerateRequest
from actors.engines.local.policy import LocalEngine
from actors.engines.local.preview import check_folder
from actors.errors import UserError
from tests.support.families import SIZES, save_random

NEW = 8
Tensors = dict[str, torch.Tensor]


def rewritten(folder: Path, change: Callable[[Tensors], Any]) -> Path:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def llama(folder: Path, **more: Any) -> Path:
    return save_random(LlamaConfig(**SIZES, num_key_value_heads=2, **more), folder)


def neox(folder: Path) -> Path:
    return save_random(GPTNeoXConfig(**SIZES), folder)


Q = "model.layers.1.self_attn.q_proj"
DENSE = "gpt_neox.layers.1.attention.dense"


@pytest.mark.parametrize(
    ("make", "change", "says"),
    [
        (llama, lambda t: t.update({f"{Q}.weight_scale": torch.ones(1)}), f"a tensor {Q}.weight_scale, for which"),
        (llama, lambda t: t.update({f"{Q}.bias": torch.ones(32)}), f"a tensor {Q}.bias, for which"),
        (neox, lambda t: t.update({f"{DENSE}.weight_scale": torch.ones(1)}), f"a tensor {DENSE}.weight_scale, for"),
        (llama, lambda t: t.pop(f"{Q}.weight"), f"no tensor {Q}.weight, which"),
        (neox, lambda t: t.pop(f"{DENSE}.weight"), f"no tensor {DENSE}.weight, which"),
        (llama, lambda t: t.update({f"{Q}.weight": torch.ones(16, 32)}), "of two models"),
        (neox, lambda t: t.update({f"{DENSE}.weight": torch.ones(16, 32)}), "of two models"),
    ],
    ids=["scale", "bias", "scale-hub", "missing", "missing-hub", "shape", "shape-hub"],
)  # fmt: skip
def test_a_tensor_that_is_left_over_or_missing_is_refused(
    make: Callable[[Path], Path], change: Callable[[Tensors], Any], says: str, tmp_path: Path
) -> None:
    """As it is loaded, and from the headers alone."""
    folder = rewritten(make(tmp_path), change)
    told = []
    for load in (LocalEngine.load, check_folder):
        with pytest.raises(UserError) as refusal:
            load(folder)
        told.append(str(refusal.value))
    assert says in told[0]
    assert "\n" not in told[0]
    assert told[1] == told[0]


def test_biases_that_the_config_has_and_the_folder_lacks_are_missing(tmp_path: Path) -> None:
    folder = save_random(Qwen2Config(**SIZES, num_key_value_heads=2), tmp_path)
    rewritten(folder, lambda t: [t.pop(name) for name in list(t) if name.endswith("_proj.bias")])
    with pytest.raises(
        UserError, match=r"no tensor model\.layers\.0\.self_attn\.k_proj\.bias.*\(and 8 more\)"
    ):
        LocalEngine.load(folder)


def test_what_the_config_tells_may_be_saved_too(tmp_path: Path) -> None:
    folder = llama(tmp_path, tie_word_embeddings=True)

    def older(tensors: Tensors) -> None:
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    assert LocalEngine.load(rewritten(folder, older)).info.vocabulary == 97
    rewritten(folder, lambda tensors: tensors["lm_head.weight"].add_(1))
    with pytest.raises(UserError, match="tie_word_embeddings to false"):
        LocalEngine.load(folder)


@pytest.mark.parametrize("make", [llama, neox])
def test_quantised_weights_are_refused_by_name(make: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = make(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(config | {"quantization_config": {"quant_method": "gptq", "bits": 4}})
    )
    with pytest.raises(UserError, match=r"quantised \(GPTQ\).*set engine=vllm"):
        LocalEngine.load(folder)


HALF = 8
"""Half of a head's size, for which longrope has a factor each."""

LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0 + 0.1 * i for i in range(HALF // 2)],
    "long_factor": [4.0 + i for i in range(HALF // 2)],
    "original_max_position_embeddings": 32,
}

POSITIONS: dict[str, Any] = {
    "phi3-longrope": lambda: Phi3Config(
        **SIZES, num_key_value_heads=2, rope_parameters=LONG, original_max_position_embeddings=32
    ),
    "llama-longrope": lambda: LlamaConfig(**SIZES, num_key_value_heads=2, rope_parameters=LONG),
    "llama-dynamic": lambda: LlamaConfig(**SIZES, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0}),
    "llama-yarn": lambda: LlamaConfig(
        **SIZES,
        rope_parameters={"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 32},
    ),
    "neox-dynamic": lambda: GPTNeoXConfig(
        **SIZES,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0, "partial_rotary_factor": 1.0},
    ),
}  # fmt: skip


@torch.inference_mode()
def by_transformers(folder: Path, context: tuple[int, ...]) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    options: dict[str, Any] = {"do_sample": False, "eos_token_id": 1, "pad_token_id": 2}
    return list(
        model.generate(torch.tensor([context]), max_new_tokens=NEW, **options)[0, len(context) :].tolist()
    )


@pytest.mark.parametrize("kind", POSITIONS)
async def test_a_row_depends_on_its_own_length_alone(kind: str, tmp_path: Path) -> None:
    folder = save_random(POSITIONS[kind](), tmp_path)
    engine = LocalEngine.load(folder, max_sequences=8)
    longest = engine.info.context - NEW
    rows = [tuple(3 + (7 * i + i * i * n) % 90 for i in range(n)) for n in (1, 5, longest // 2, longest)]
    requests = [GenerateRequest(row, NEW, seed=0, temperature=0) for row in rows]
    batch = await asyncio.gather(*(engine.generate(one) for one in requests))
    await engine.close()
    assert [list(one.token_ids) for one in batch] == [by_transformers(folder, row) for row in rows]
    assert engine.info.context == (32 if "longrope" in kind else 128)


OTHER_STATES: dict[str, Any] = {
    "alibi": lambda: BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4),
    "no-keys": lambda: MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2, state_size=4),
    "other-keys": lambda: DeepseekV2Config(
        **SIZES | {"num_key_value_heads": 4}, q_lora_rank=None, kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=4,
        v_head_dim=8, first_k_dense_replace=3, n_routed_experts=2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", OTHER_STATES)
def test_a_model_that_slots_cannot_hold_is_refused_as_it_is_loaded(kind: str, tmp_path: Path) -> None:
    folder = save_random(OTHER_STATES[kind](), tmp_path)
    for load in (LocalEngine.load, check_folder):
        with pytest.raises(UserError, match="set engine=vllm") as refusal:
            load(folder)
        assert "\n" not in str(refusal.value)


def test_a_preview_reads_headers_alone(tmp_path: Path) -> None:
    """Trap: weights larger than the machine's memory are read. These are holes in a file."""
    config = LlamaConfig(
        **SIZES | {"hidden_size": 8192, "intermediate_size": 28672, "num_attention_heads": 64}
    )
    hub = GPTNeoXConfig(
        **SIZES | {"hidden_size": 6144, "intermediate_size": 24576, "num_attention_heads": 64}
    )
    for name, one in (("llama", config), ("hub", hub)):
        folder = tmp_path / name
        one.save_pretrained(folder)
        with torch.device("meta"):
            tensors = AutoModelForCausalLM.from_config(one).state_dict()
        write_holes(folder / "model.safetensors", {key: tuple(value.shape) for key, value in tensors.items()})
        assert (folder / "model.safetensors").stat().st_size > 5 << 30
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        check_folder(folder)
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert kilobytes < 1 << 20


def write_holes(file: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file of zeros that takes no room on disk."""
    head, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        head[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(head).encode()
    with file.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        out.truncate(8 + len(text) + end)
