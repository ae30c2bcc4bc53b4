"""Closed forms against torch's own counter, on tiny random models run token by token."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from actors.engines.verifiers.value_head import ValueHead, ValueHeadConfig
from actors.errors import UserError
from actors.strategy import Role
from actors.work import CostModel
from orchestration.flops import ModelCost, flops_of_generations, flops_of_tokens, generation_flops
from tests.support.families import GROUPED

HEAD = GROUPED["vocab_size"] * GROUPED["hidden_size"]
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "llama-tied": {"model_type": "llama", "tie_word_embeddings": True},
    "llama-bias": {"model_type": "llama", "attention_bias": True, "mlp_bias": True},
    "mistral": {"head_dim": 12, "sliding_window": 5},
    "qwen2": {},
    "qwen2-window": {
        "model_type": "qwen2",
        "use_sliding_window": True,
        "sliding_window": 4,
        "max_window_layers": 1,
    },
    "qwen3": {"head_dim": 16},
    "phi3": {},
    "gemma": {"head_dim": 16},
    "gemma2": {"head_dim": 16, "sliding_window": 6},
    "gpt_neox": {"num_key_value_heads": 4},
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "mlp_only_layers": [1],
        "head_dim": 8,
    },
}


def build(name: str) -> tuple[Any, ModelCost]:
    settings = GROUPED | {"model_type": name.split("-")[0]} | FAMILIES[name]
    config = AutoConfig.for_model(**settings)
    torch.manual_seed(0)
    # Eager kernels: the counter sees no grouped matrix products (experts) and no fused attention on CPU.
    model = AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", experts_implementation="eager"
    )
    model.eval()
    return model, ModelCost.from_config(json.loads(config.to_json_string()))


def run_counted(model: Any, ids: torch.Tensor, cache: Any, keep: int) -> tuple[int, Any]:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        out = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=keep)
    return counter.get_total_flops(), out.past_key_values


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_are_the_models_own_without_the_embedding_table(name: str) -> None:
    model, cost = build(name)
    table = model.get_input_embeddings().weight.numel()
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    counted = sum(p.numel() for p in model.parameters()) - (0 if tied else table)
    if "mixtral" in name or "moe" in name:
        # Half of the experts are idle.
        counted -= sum(p.numel() for n, p in model.named_parameters() if ".experts." in n) // 2
    assert cost.parameters == counted
    assert cost.paper(7) == 14 * counted


@pytest.mark.parametrize("name", FAMILIES)
def test_decode_agrees_with_torch(name: str) -> None:
    model, cost = build(name)
    ids = torch.arange(1, 13)[None]
    cache, total = None, 0
    for position in range(12):
        flops, cache = run_counted(model, ids[:, position : position + 1], cache, keep=1)
        assert flops == cost.exact(position, 1, 1), f"position {position}"
        total += flops
    assert total == cost.exact(0, 12, 12)


@pytest.mark.parametrize("name", ["llama", "qwen2"])
@pytest.mark.parametrize("cached", [0, 5])
def test_prefill_agrees_with_torch_but_for_the_masked_triangle(name: str, cached: int) -> None:
    model, cost = build(name)
    ids = torch.arange(1, 15)[None]
    cache = run_counted(model, ids[:, :cached], None, keep=1)[1] if cached else None
    new = 14 - cached
    flops, _ = run_counted(model, ids[:, cached:], cache, keep=1)
    # A dense kernel multiplies the future keys too and masks them: query i of `new` has new - 1 - i of them.
    masked = 4 * cost.width * cost.full_layers * new * (new - 1) // 2
    assert flops - masked == cost.exact(cached, new, 1)


@given(st.integers(0, 40), st.lists(st.integers(0, 30), min_size=1, max_size=5), st.sampled_from([0, 1, 7]))
def test_cutting_the_work_changes_nothing(cached: int, pieces: list[int], window_layers: int) -> None:
    cost = ModelCost(1000, 900, 100, 16, 16, full_layers=2, window_layers=window_layers, window=9)
    position, total = cached, 0
    for piece in pieces:
        total += cost.exact(position, piece, piece)
        position += piece
    assert total == cost.exact(cached, sum(pieces), sum(pieces))
    one_by_one = sum(min(p + 1, 9) for p in range(cached, position)) * window_layers
    full = sum(p + 1 for p in range(cached, position)) * 2
    assert total == 2 * 1000 * sum(pieces) + 4 * 16 * (full + one_by_one)


def test_classifier_heads_are_counted_instead_of_the_vocabulary() -> None:
    config = GROUPED | {"model_type": "qwen2"}
    causal = ModelCost.from_config(config)
    tagger = ModelCost.from_config(
        config | {"architectures": ["Qwen2ForTokenClassification"], "num_labels": 2}
    )
    reward = ModelCost.from_config(config | {"architectures": ["Qwen2ForProcessRewardModel"]})
    assert causal.head == HEAD
    assert (tagger.head, tagger.parameters) == (2 * 32, causal.parameters - HEAD + 2 * 32 + 2)
    assert reward.head == 32 * 32 + 2 * 32


@pytest.mark.parametrize("likelihood", [True, False])
@pytest.mark.parametrize("width", [0, 5])
def test_value_heads_are_counted(tmp_path: Path, likelihood: bool, width: int) -> None:
    config = GROUPED | {"model_type": "llama"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    plain = ModelCost.from_folder(tmp_path)
    head = ValueHead(ValueHeadConfig(32, likelihood=likelihood, width=width))
    head.save(tmp_path)
    cost = ModelCost.from_folder(tmp_path)
    own = sum(p.numel() for p in head.parameters())
    table = 0 if likelihood else HEAD
    assert cost.parameters == plain.parameters - table + own
    assert cost.head == HEAD - table


def test_conversions() -> None:
    policy = ModelCost(1000, 900, 100, 16, 16, 2)
    alone: dict[Role, CostModel] = {"policy": policy}
    scored: dict[Role, CostModel] = {**alone, "verifier": ModelCost(500, 450, 50, 8, 8, 2)}
    assert generation_flops(alone, 10, 20, "paper") == 2 * 1000 * 20
    assert generation_flops(scored, 10, 20, "paper") == 2 * 1500 * 20
    assert generation_flops(alone, 10, 20, "exact") == policy.exact(0, 29, 20)
    assert flops_of_generations(4, scored, 10, 20, "paper") == 4 * 60_000
    assert flops_of_tokens(1, scored, 10, 20, "paper") == 3_000
    assert flops_of_tokens(80, scored, 10, 20, "exact") == flops_of_generations(4, scored, 10, 20, "exact")


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no text decoder of this config"):
        ModelCost.from_config({"model_type": "qwen9"})
    with pytest.raises(UserError, match="hidden_size"):
        ModelCost.from_config({"model_type": "llama"})
    with pytest.raises(UserError, match=r"no config\.json"):
        ModelCost.from_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        ModelCost.from_folder(tmp_path)
