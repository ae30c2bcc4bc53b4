"""How many of a model's parameters work on a token, counted on the meta device: no weight is read, none is made.

It knows module trees and the names that configs have for experts, nothing of FLOPs. Invariant: look-up tables do not count,
but for one that is the output head too; of experts those that a token is sent to, as the config says, and where it does not
say, nothing is counted.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from actors.errors import UserError

_CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "top_k_experts", "moe_k")
_ALL = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_EXPERT = re.compile(r"(^|\.)(local_|routed_)?experts(\.|$)")


def active_parameters(config: Mapping[str, Any]) -> tuple[int, int]:
    """Parameters that work on a token, and those of one row of the output head among them. Raises UserError for what
    transformers has no causal model of."""
    import torch
    from torch import nn
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    kind = config.get("model_type")
    if kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.get("is_decoder"):
        # transformers has a class for such a one as a decoder, too.
        raise UserError.of(
            "model_type", kind, "it is a masked language model, which writes no text: take a causal one"
        )
    try:
        text = _as_loaded(config).get_text_config(decoder=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(text, trust_remote_code=False)
    except Exception as error:  # configs of any kind, read by code of any family
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        mend = f"transformers makes no text decoder of this config, so its FLOPs cannot be counted ({why})"
        raise UserError.of("model_type", kind, mend) from None
    head = model.get_output_embeddings()
    tables = {id(one.weight) for one in model.modules() if isinstance(one, nn.Embedding)}
    head_size = 0 if head is None else sum(one.numel() for one in head.parameters())
    tables -= {id(one) for one in head.parameters()} if head is not None else set()
    settings = list(_mappings(text.to_dict()))
    chosen, every = _first(settings, _CHOSEN), _first(settings, _ALL)
    dense = experts = 0
    for name, parameter in model.named_parameters():
        if id(parameter) in tables:
            continue
        # One by one below a name, or all of a layer's as one tensor.
        if _EXPERT.search(name) or (every > 1 and parameter.dim() == 3 and parameter.shape[0] == every):
            experts += parameter.numel()
        else:
            dense += parameter.numel()
    if bool(experts) != (every > 1) or (experts and not chosen):
        mend = "its config does not say how many experts a token is sent to, and of how many: its FLOPs cannot be counted"
        raise UserError.of("model_type", kind, mend)
    return dense + (experts * chosen // every if experts else 0), head_size


def _as_loaded(config: Mapping[str, Any]) -> Any:
    """The config as transformers reads it from a folder, which is more than its values (an infinity, older names)."""
    from transformers import AutoConfig

    with tempfile.TemporaryDirectory() as folder:
        plain = {name: value for name, value in config.items() if name != "quantization_config"}
        (Path(folder) / "config.json").write_text(json.dumps(plain), encoding="utf-8")
        return AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def _mappings(settings: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield settings
    for inner in settings.values():
        if isinstance(inner, Mapping):
            yield from _mappings(inner)


def _first(settings: Iterable[Mapping[str, Any]], names: tuple[str, ...]) -> int:
    """The first of these settings that is a whole number above zero; 0 where there is none."""
    found = (one.get(name) for one in settings for name in names)
    return next((one for one in found if isinstance(one, int) and not isinstance(one, bool) and one > 0), 0)
