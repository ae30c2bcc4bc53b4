"""Small random models whose heads are as wide as vLLM's attention needs, one of each family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import GPTNeoXConfig, LlamaConfig, Qwen2Config, Qwen3Config

from tests.support.families import SIZES as TINY
from tests.support.families import save_random

SIZES: dict[str, Any] = TINY | {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 2,
    "max_position_embeddings": 256,
}
FAMILIES: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**SIZES, num_key_value_heads=2, tie_word_embeddings=True),
    "qwen2": lambda: Qwen2Config(**SIZES, num_key_value_heads=1, tie_word_embeddings=False),
    "qwen3": lambda: Qwen3Config(**SIZES, num_key_value_heads=1, head_dim=32, tie_word_embeddings=False),
    "gpt-neox": lambda: GPTNeoXConfig(**SIZES),
}


def save_wide(family: str, folder: Path) -> Path:
    return save_random(FAMILIES[family](), folder)
