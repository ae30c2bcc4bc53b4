"""A model loaded whole: every tensor that it needs comes from its folder, and every tensor of the folder has its place in it.

It knows names and shapes of tensors, nothing of what a model computes. Invariant: no weight is ever made up, and none is left
aside without a word (scales of quantised weights, biases, a head of another kind): that would be another model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actors.engines.weights import check_unquantised, tensor_shapes, weight_files
from actors.errors import UserError

_TOLD_BY_CONFIG = (".rotary_emb.inv_freq",)
"""Ends of names of tensors that older versions saved, and that follow from the config."""


WAY_OUT = "set engine=vllm, or take another model"
"""What to do about a model that the local engine does not run, where whoever asks knows no better."""


def load_whole(
    folder: Path, config: Any, *, dtype: torch.dtype, beside: Collection[str] = (), **more: Any
) -> Any:
    """Load a causal model as transformers does, from safetensors and without remote code. Raises UserError where its weights
    are quantised, where a tensor is missing or has another shape, and where one is left over. Tensors `beside` it are read
    by whoever names them, and are a head in place of that over the vocabulary."""
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
            # Refused below, by its name.
            ignore_mismatched_sizes=True,
            **more,
        )
    except ValueError as error:
        raise not_loaded(config, error) from None
    _check_found(folder, found, beside)
    return model


def check_loads(
    folder: Path, config: Any, way_out: str = WAY_OUT, *, beside: Collection[str] = (), **more: Any
) -> None:
    """Raise UserError where `load_whole` would, told from the config and the headers of the weights: all is on the meta
    device."""
    from transformers import AutoModelForCausalLM

    shapes = tensor_shapes(folder)
    with quiet():
        try:
            with torch.device("meta"):
                empty = AutoModelForCausalLM.from_config(config, trust_remote_code=False, **more)
            _, found = type(empty).from_pretrained(
                None,
                config=empty.config,
                state_dict={name: torch.empty(shape, device="meta") for name, shape in shapes.items()},
                device_map={"": "meta"},
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **more,
            )
        except ValueError as error:
            raise not_loaded(config, error, way_out) from None
    _check_found(folder, found, beside)


def not_loaded(config: Any, error: ValueError, way_out: str = WAY_OUT) -> UserError:
    """What transformers' refusal of a config means."""
    mend = f"transformers does not load it for the local engine ({str(error).split('. ')[0]}): {way_out}"
    return UserError.of("model_type", config.model_type, mend)


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and reports: what they tell is told in one line."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def check_tensors(
    folder: Path, config: Any, weights: Mapping[str, Tensor], *, headless: bool = False
) -> None:
    """Raise UserError unless these are the tensors of the causal model that a config describes, with its shapes; one that is
    `headless` needs no head."""
    shapes = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    check_shapes(folder, config, shapes, headless=headless)
    head = weights.get("lm_head.weight")
    table = next((weights[name] for name in _TABLE if name in weights), None)
    if (
        bool(getattr(config, "tie_word_embeddings", False))
        and head is not None
        and table is not None
        and not torch.equal(head, table)
    ):
        mend = (
            "it has an output head of its own (lm_head.weight), and config.json says that the embedding table is it: set "
            "tie_word_embeddings to false there"
        )
        raise UserError.of("model", str(folder), mend)


_TABLE = ("model.embed_tokens.weight", "embed_tokens.weight")


def check_shapes(
    folder: Path, config: Any, shapes: Mapping[str, tuple[int, ...]], *, headless: bool = False
) -> None:
    """The same of names and shapes alone; the names of a bare backbone lack the "model." in front."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        needed = dict(AutoModelForCausalLM.from_config(config).state_dict())
    named = {name if name in needed else f"model.{name}": name for name in shapes}
    # Where the head is the embedding table, a folder may have it once or twice.
    tied = bool(getattr(config, "tie_word_embeddings", False)) or headless
    missing = [name for name in needed if name not in named and not (tied and name == "lm_head.weight")]
    _check(folder, missing=missing, unused=[own for name, own in named.items() if name not in needed])
    for name, tensor in needed.items():
        if name in named:
            _check_shape(folder, name, shapes[named[name]], tuple(tensor.shape))


_VOCABULARY = ("lm_head.", "embed_out.")
"""What the names of heads over a vocabulary begin with."""


def _check_found(folder: Path, found: Mapping[str, Any], beside: Collection[str] = ()) -> None:
    """The same of what transformers found as it loaded; with tensors `beside` it, no head is needed."""
    missing = [name for name in found["missing_keys"] if not (beside and name.startswith(_VOCABULARY))]
    unused = [name for name in found["unexpected_keys"] if name not in beside]
    _check(folder, missing=missing, unused=unused)
    for name, there, needed in sorted(found["mismatched_keys"]):
        _check_shape(folder, name, tuple(there), tuple(needed))


def _check_shape(folder: Path, name: str, there: tuple[int, ...], needed: tuple[int, ...]) -> None:
    if there != needed:
        mend = f"{name} has the shape {there}, and config.json makes it {needed}: they are of two models"
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
