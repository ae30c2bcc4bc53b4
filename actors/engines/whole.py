"""A model loaded whole: every tensor that it needs comes from its folder, and every tensor of the folder has its place in it.

It knows names and shapes of tensors, nothing of what a model computes. Invariant: no weight is ever made up, and none is left
aside without a word (scales of quantised weights, biases, a head of another kind): that would be another model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actors.engines.weights import check_unquantised, weight_files
from actors.errors import UserError

_TOLD_BY_CONFIG = (".rotary_emb.inv_freq",)
"""Ends of names of tensors that older versions saved, and that follow from the config."""


def load_whole(folder: Path, config: Any, *, dtype: torch.dtype, **more: Any) -> Any:
    """Load a causal model as transformers does, from safetensors and without remote code. Raises UserError where its weights
    are quantised, where a tensor is missing, and where one is left over."""
    from transformers import AutoModelForCausalLM

    check_unquantised(folder, "model", "set engine=vllm")
    weight_files(folder)
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **more,
        )
    except ValueError as error:
        mend = f"transformers does not load it for the local engine ({str(error).split('. ')[0]}): set engine=vllm"
        raise UserError.of("model_type", config.model_type, mend) from None
    _check(folder, missing=found["missing_keys"], unused=found["unexpected_keys"])
    return model


def check_tensors(folder: Path, config: Any, weights: Mapping[str, Tensor]) -> None:
    """Raise UserError unless these are the tensors of the causal model that a config describes, with its shapes; the names of
    a bare backbone lack the "model." in front."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        needed = dict(AutoModelForCausalLM.from_config(config).state_dict())
    named = {name if name in needed else f"model.{name}": name for name in weights}
    # Where the head is the embedding table, a folder may have it once or twice.
    tied = bool(getattr(config, "tie_word_embeddings", False))
    missing = [name for name in needed if name not in named and not (tied and name == "lm_head.weight")]
    _check(folder, missing=missing, unused=[own for name, own in named.items() if name not in needed])
    for name, tensor in needed.items():
        if name in named and (shape := tuple(weights[named[name]].shape)) != tuple(tensor.shape):
            mend = f"{name} has the shape {shape}, and config.json makes it {tuple(tensor.shape)}: they are of two models"
            raise UserError.of("model", str(folder), mend)
    head, table = weights.get("lm_head.weight"), weights.get(named.get("model.embed_tokens.weight", ""))
    if tied and head is not None and table is not None and not torch.equal(head, table):
        mend = (
            "it has an output head of its own (lm_head.weight), and config.json says that the embedding table is it: set "
            "tie_word_embeddings to false there"
        )
        raise UserError.of("model", str(folder), mend)


def _check(folder: Path, *, missing: Collection[str], unused: Collection[str]) -> None:
    left = sorted(name for name in unused if not name.endswith(_TOLD_BY_CONFIG))
    for names, what in (
        (sorted(missing), "has no tensor {}, which config.json's model needs"),
        (left, "has a tensor {}, for which config.json's model has no place"),
    ):
        if names:
            more = f" (and {len(names) - 1:,} more)" if len(names) > 1 else ""
            mend = f"{what.format(names[0])}{more}: weights and config.json are of two models, or of another kind of model"
            raise UserError.of("model", str(folder), f"it {mend}; copy both from one place")
