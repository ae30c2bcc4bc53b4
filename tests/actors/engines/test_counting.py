"""Active parameters from the meta device, against models that are there and against the closed forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from actors.engines.counting import active_parameters
from actors.errors import UserError
from orchestration.flops import ModelCost
from tests.support.families import GROUPED


def config_of(kind: str, **more: Any) -> tuple[Any, dict[str, Any]]:
    config = AutoConfig.for_model(**(GROUPED | {"model_type": kind} | more))
    return config, json.loads(config.to_json_string())


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True}),
        ("qwen2", {}),
        ("gpt_neox", {"num_key_value_heads": 4}),
        ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}),
        (
            "qwen3_moe",
            {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 8},
        ),
    ],
)
def test_counts_are_those_of_the_closed_forms(kind: str, more: dict[str, Any]) -> None:
    _, config = config_of(kind, **more)
    cost = ModelCost.from_config(config)
    assert active_parameters(config) == (cost.parameters, cost.head)


@pytest.mark.parametrize("kind", ["olmo2", "cohere", "granite", "smollm3", "starcoder2", "gemma3_text"])
def test_a_dense_decoder_without_a_closed_form_is_counted_whole(kind: str) -> None:
    config, mapping = config_of(kind)
    model = AutoModelForCausalLM.from_config(config)
    table = model.get_input_embeddings().weight
    tied = model.get_output_embeddings().weight is table
    cost = ModelCost.from_config(mapping)
    assert cost.parameters == sum(p.numel() for p in model.parameters()) - (0 if tied else table.numel())
    assert cost.paper(3) == 6 * cost.parameters
    assert (cost.exact_known, cost.exact(0, 9, 9)) == (False, 0)


@pytest.mark.parametrize(
    ("kind", "more", "mine"),
    [
        ("olmoe", {"num_experts": 4, "num_experts_per_tok": 1}, ".experts."),
        ("granitemoe", {"num_local_experts": 4, "num_experts_per_tok": 1}, "as one tensor"),
        ("gpt_oss", {"num_local_experts": 4, "num_experts_per_tok": 1, "head_dim": 8}, ".experts."),
    ],
)
def test_of_experts_those_count_that_a_token_is_sent_to(kind: str, more: dict[str, Any], mine: str) -> None:
    config, mapping = config_of(kind, **more)
    model = AutoModelForCausalLM.from_config(config)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    experts = [
        n for n, p in model.named_parameters() if mine in n or (mine == "as one tensor" and p.dim() == 3)
    ]
    table = model.get_input_embeddings().weight
    tied = model.get_output_embeddings().weight is table
    idle = sum(sizes[name] for name in experts) * 3 // 4
    assert idle > 0
    assert active_parameters(mapping)[0] == sum(sizes.values()) - idle - (0 if tied else table.numel())


@pytest.mark.parametrize("kind", ["mamba2", "falcon_h1"])
def test_a_config_with_an_infinity_is_counted_as_its_folder_has_it(kind: str, tmp_path: Path) -> None:
    """Trap: JSON has no infinity, and transformers writes it as a mapping (`time_step_limit`)."""
    config = AutoConfig.for_model(kind, num_hidden_layers=1, vocab_size=97)
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    table = model.get_input_embeddings().weight
    tied = model.get_output_embeddings().weight is table
    whole = sum(p.numel() for p in model.parameters()) - (0 if tied else table.numel())
    assert ModelCost.from_folder(tmp_path).parameters == whole


def test_what_cannot_be_counted_is_named() -> None:
    with pytest.raises(UserError, match=r"^model_type = 'qwen9': transformers makes no text decoder"):
        active_parameters({"model_type": "qwen9"})
    with pytest.raises(UserError, match="model_type = 't5': "):
        active_parameters({"model_type": "t5"})
    _, config = config_of("olmoe", num_experts=4, num_experts_per_tok=0)
    with pytest.raises(UserError, match="how many experts"):
        active_parameters(config)


@pytest.mark.parametrize("kind", ["bert", "roberta", "modernbert"])
def test_a_masked_language_model_is_no_policy(kind: str) -> None:
    with pytest.raises(UserError, match=f"model_type = '{kind}': it is a masked language model"):
        active_parameters({"model_type": kind})
