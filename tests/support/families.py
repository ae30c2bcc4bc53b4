"""Tiny random checkpoints of each family, saved by transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, Qwen2Config, Qwen3Config, set_seed

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}

GROUPED: dict[str, Any] = SIZES | {"num_key_value_heads": 2}
"""The same with two heads of queries for each of keys."""

FAMILIES: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**SIZES, num_key_value_heads=4, tie_word_embeddings=True),
    "llama-gqa": lambda: LlamaConfig(
        **SIZES, num_key_value_heads=2, tie_word_embeddings=False, attention_bias=True, mlp_bias=True
    ),
    "qwen2": lambda: Qwen2Config(**SIZES, num_key_value_heads=2, tie_word_embeddings=False),
    "qwen3": lambda: Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=16, tie_word_embeddings=False),
    "gpt-neox": lambda: GPTNeoXConfig(**SIZES),
}


def save_random(config: Any, folder: Path) -> Path:
    """Save a model of these sizes with random weights, always the same."""
    set_seed(7)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for parameter in model.parameters():
        # Random weights of the default size give nearly flat logits, on which greedy choice is a tie.
        parameter.data.mul_(2.0) if parameter.dim() > 1 else parameter.data.add_(
            0.1 * torch.randn_like(parameter)
        )
    model.save_pretrained(folder)
    return folder
