"""Whether the local engine will run a model folder, told before any of its weights is read.

What loading refuses, this refuses: tensors that are missing or left over, from the headers of the weights; what a config
alone tells; and an architecture that slots do not run, tried on a small random model of the same config, with fewer and
narrower layers. It knows nothing of roles or settings. Invariant: what is refused here is refused at loading; where nothing
can be told so early, nothing is refused.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from actors.engines.local.decoder import ATTENTION, HubDecoder, check_config, llama_like
from actors.engines.local.probe import rows_alone
from actors.engines.model_config import read_config
from actors.engines.weights import tensor_shapes
from actors.engines.whole import WAY_OUT, check_loads, check_shapes, quiet

MOST_PARAMETERS = 100_000_000
"""Of a model that is tried: 400 MB, made in a second."""

LAYERS = 8
"""Of the same: one whole pattern of most models that mix kinds of layers."""

_FEW = {
    "vocab_size": 256,
    "intermediate_size": 64,
    "moe_intermediate_size": 64,
    "shared_expert_intermediate_size": 64,
    "ffn_dim": 64,
    "n_inner": 64,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
}
"""Sizes that decide how large a model is, not how it reads positions, masks and caches."""


def check_folder(
    folder: Path, way_out: str = WAY_OUT, *, config: Any = None, beside: Collection[str] = ()
) -> None:
    """Raise UserError where `load_decoder` would; `way_out` is what it says then."""
    config = read_config(folder) if config is None else config
    if llama_like(config):
        left_out = {*beside, "lm_head.weight"} if beside else set[str]()
        shapes = {name: one for name, one in tensor_shapes(folder).items() if name not in left_out}
        check_shapes(folder, config, shapes, headless=bool(beside))
        check_config(config, way_out)
        return
    check_loads(folder, config, way_out, beside=beside, attn_implementation=ATTENTION)
    check_config(config, way_out)
    _try_small(config, way_out)


def _try_small(config: Any, way_out: str) -> None:
    """Try a small model of this kind on slots, as the whole one is when it is loaded."""
    text = config.get_text_config()
    cpu = torch.device("cpu")
    for settings in _smaller(text):
        try:
            with quiet(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                small, model = _made(text, settings)
            rows_alone(model, cpu)
        except Exception:  # sizes that do not fit one another, in code of any family
            continue
        HubDecoder(model, small, dtype=torch.float32, device=cpu, way_out=way_out)
        return


def _made(text: Any, settings: Mapping[str, Any]) -> tuple[Any, Any]:
    """A config of these settings, and a random model of it. Raises whatever its family does where they do not fit."""
    from transformers import AutoConfig, AutoModelForCausalLM

    small = AutoConfig.for_model(text.model_type, **settings)
    with torch.device("meta"):
        size = sum(one.numel() for one in AutoModelForCausalLM.from_config(small).parameters())
    if size > MOST_PARAMETERS:
        raise ValueError("too large")
    model = AutoModelForCausalLM.from_config(small, dtype=torch.float32, attn_implementation=ATTENTION)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            # Far from uniform attention, in which no place would show.
            parameter.data.normal_(std=parameter.shape[-1] ** -0.5)
    return small, model


def _smaller(text: Any) -> Iterator[dict[str, Any]]:
    """Settings of smaller models, the smallest first: with fewer heads of the same size and kind, and with fewer layers
    alone."""
    own: dict[str, Any] = json.loads(text.to_json_string(use_diff=False))
    names: Mapping[str, str] = getattr(type(text), "attribute_map", {})

    def few(changes: Mapping[str, int], layers: int) -> dict[str, Any]:
        found = dict(own)
        for name, value in (_FEW | dict(changes)).items():
            key = names.get(name, name)
            if isinstance(found.get(key), int):
                found[key] = min(found[key], value)
        whole = int(text.num_hidden_layers)
        found[names.get("num_hidden_layers", "num_hidden_layers")] = min(whole, layers)
        for name, value in found.items():
            if isinstance(value, list) and len(value) == whole:
                found[name] = value[:layers]
            if name.endswith("token_id"):
                found[name] = None
        found.pop("model_type", None)
        return found

    heads = getattr(text, "num_attention_heads", None)
    if isinstance(heads, int) and heads:
        kv = int(getattr(text, "num_key_value_heads", None) or heads)
        fewer_kv = min(kv, 2)
        fewer = fewer_kv * min(heads // kv, 2)
        yield few(
            {
                "num_attention_heads": fewer,
                "num_key_value_heads": fewer_kv,
                "hidden_size": int(text.hidden_size) // heads * fewer,
            },
            LAYERS,
        )
    yield few({}, LAYERS)
    yield few({}, 2)
