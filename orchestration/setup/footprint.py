"""What models take of memory, as arithmetic of their configs, and how much of a GPU the replicas take that Ray may put on it.

Pure functions of numbers: no file is read and no device asked. Invariant: each is an exact count of numbers that are kept,
times their bytes; what an engine needs besides (activations, graphs) is in none of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from actors.engines.plan import ReplicaShare
from actors.strategy import Role
from orchestration.flops import ModelCost

NUMBER = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number, by its type."""

TOGETHER = 0.95
"""Share of a GPU's memory below which the replicas on it should stay together: CUDA itself takes some for each."""

_TIED = ("gemma", "gemma2")
"""Kinds whose configs leave it out where input and output share one table; those of others leave it out where they do not."""


def weight_count(config: Mapping[str, Any], head: tuple[int, int] | None = None) -> int:
    """Numbers in the weights of a decoder, embedding table and all; of one with another `head` than its vocabulary's, which
    has so many weights and biases. 0 where the config does not tell, as of a mixture of experts."""
    cost = ModelCost.from_config(config, head)
    experts = any(config.get(name) for name in ("num_experts", "num_local_experts"))
    if not cost.exact_known or experts:
        return 0
    tied = head is None and config.get("tie_word_embeddings", config.get("model_type") in _TIED)
    # What works on a token has the output head in it, which is the embedding table where the two are tied.
    return cost.parameters + (0 if tied else int(config["vocab_size"]) * int(config["hidden_size"]))


def token_bytes(config: Mapping[str, Any], number: int) -> int:
    """Bytes of a token's keys and values in all layers, each number of so many; 0 where the config does not tell."""
    text = config.get("text_config", config)
    layers = _first(text, "num_hidden_layers", "n_layer", "num_layers")
    heads = _first(text, "num_attention_heads", "n_head")
    width = _first(text, "hidden_size", "n_embd", "d_model")
    if not (layers and heads and width) or text.get("kv_lora_rank"):
        # Latent attention keeps something else.
        return 0
    size = _first(text, "head_dim") or width // heads
    return 2 * layers * (_first(text, "num_key_value_heads") or heads) * size * number


def least_gpu(weights: int, sequence: int, share: float) -> int:
    """Bytes that a GPU needs at least so that this `share` of it holds weights, and keys and values of one sequence."""
    return math.ceil((weights + sequence) / share)


@dataclass(frozen=True, slots=True)
class Shared:
    """Replicas that Ray may put on one GPU: how many of each role, and the `share` of its memory that they take together."""

    share: float = 0.0
    replicas: Mapping[Role, int] = field(default_factory=dict)

    @property
    def told(self) -> str:
        return ", ".join(f"{role} x {count}" for role, count in self.replicas.items())


def shared_gpu(shares: Mapping[Role, ReplicaShare]) -> Shared:
    """Those that take most of one GPU. Ray fills it as long as the fractions (`gpus`) of its replicas are 1 at most, whatever
    `memory` they take."""
    parts = {role: one for role, one in shares.items() if 0 < one.gpus < 1}
    counts = [range(min(one.replicas, int(1 / one.gpus + 1e-6)) + 1) for one in parts.values()]
    found = Shared()
    for many in itertools.product(*counts):
        if sum(count * one.gpus for count, one in zip(many, parts.values(), strict=True)) > 1 + 1e-6:
            continue
        taken = sum(count * one.of_gpu for count, one in zip(many, parts.values(), strict=True))
        if taken > found.share + 1e-9:
            found = Shared(taken, {role: count for role, count in zip(parts, many, strict=True) if count})
    return found


def _first(config: Mapping[str, Any], *names: str) -> int:
    found = (config.get(name) for name in names)
    return next((one for one in found if isinstance(one, int)), 0)
