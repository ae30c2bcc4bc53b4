"""Which files hold a model's weights, and whether they can be read: told by names and headers, no tensor is loaded.

It imports neither torch nor transformers, so that a bad folder is refused before anything is started. Invariant: pickled
weights are never opened.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from safetensors import SafetensorError, safe_open

from actors.engines.folder_files import settings_if_any
from actors.engines.troubles import kind_of
from actors.errors import UserError

INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
NO_WEIGHTS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth")
"""Pickles that a training leaves behind."""


def weight_files(folder: Path, field: str = "model") -> list[Path]:
    """Return the safetensors files of a model folder, in order; `field` is the setting that named the folder.

    Raises UserError where there is none, where all there is is pickled, where a shard that the index names is missing, and
    where a file is cut off or damaged.
    """
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise UserError.of(field, str(folder), _without(folder))
    missing = sorted(_indexed(folder, field) - {file.name for file in files})
    if missing:
        mend = f"{missing[0]} is missing ({INDEX} names it): copy the whole folder again"
        raise UserError.of(field, str(folder), mend)
    for file in files:
        check_readable(file, field)
    return files


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a model folder by its name, told from headers alone."""
    shapes = {}
    for file in weight_files(folder):
        with safe_open(str(file), framework="np") as handle:
            for name in handle.keys():
                shapes[name] = tuple(handle.get_slice(name).get_shape())
    return shapes


_METHODS = {
    "fp8": "FP8",
    "fbgemm_fp8": "FP8",
    "gptq": "GPTQ",
    "awq": "AWQ",
    "mxfp4": "MXFP4",
    "modelopt": "ModelOpt",
}
"""How quantisations are written, by the name that a config has for them; others are written as they are named there."""

_BESIDE = {"quantize_config.json": "GPTQ", "quant_config.json": "AWQ", "hf_quant_config.json": "ModelOpt"}
"""Files of earlier tools that say how weights are quantised, where config.json does not."""


def quantisation(folder: Path) -> str:
    """By which method a folder's weights are quantised, as its files tell; empty where they tell of none."""
    config = settings_if_any(folder, "config.json")
    for part in (config, config.get("text_config")):
        told = part.get("quantization_config") if isinstance(part, dict) else None
        if isinstance(told, dict):
            bits = told.get("load_in_8bit") or told.get("load_in_4bit")
            method = str(told.get("quant_method") or ("bitsandbytes" if bits else "of an unnamed kind"))
            return _METHODS.get(method, method)
    return next((name for file, name in _BESIDE.items() if (folder / file).is_file()), "")


def check_unquantised(folder: Path, field: str, instead: str, named: str = "") -> None:
    """Raise UserError of `field` where the weights of a folder, `named` so by its user, are quantised: without their scales
    they are another model's."""
    if method := quantisation(folder):
        mend = (
            f"its weights are quantised ({method}), which the local engine does not run: {instead}, or take the model "
            "unquantised (float32, bfloat16 or float16)"
        )
        raise UserError.of(field, named or str(folder), mend)


def weight_bytes(folder: Path, number: int | None, field: str = "model") -> int:
    """Bytes that a folder's weights take where a number of a floating type has so many (None: as many as in its files), told
    from the files' headers."""
    total = 0
    for path in weight_files(folder, field):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            begin, end = tensor["data_offsets"]
            floating = number is not None and tensor["dtype"] in _FLOATING
            total += math.prod(tensor["shape"]) * (number or 0) if floating else end - begin
    return total


_FLOATING = ("F64", "F32", "F16", "BF16")


def check_readable(file: Path, field: str) -> None:
    """Raise UserError unless this is a whole safetensors file: its header is read, and its length compared."""
    try:
        with safe_open(str(file), framework="np"):
            return
    except FileNotFoundError:
        raise UserError.of(
            field, str(file.parent), f"there is no {file.name}: copy or save it again"
        ) from None
    except PermissionError:
        raise UserError.of(field, str(file.parent), f"you may not read {file.name}") from None
    except (SafetensorError, OSError) as error:
        if kind_of(error) == "trouble":
            raise
        mend = f"{file.name} is cut off or damaged ({error}): copy or save it again"
        raise UserError.of(field, str(file.parent), mend) from None


def _without(folder: Path) -> str:
    """What to do about a folder without safetensors."""
    names = sorted(file.name for file in folder.glob("*") if file.suffix in PICKLES)
    pickles = [name for name in names if name not in NO_WEIGHTS]
    if (folder / "adapter_model.safetensors").is_file() and not pickles:
        return "it holds an adapter alone (adapter_model.safetensors): merge it into its model, and save that"
    if not pickles:
        return "there are no weights: it needs model.safetensors, as transformers' save_pretrained writes it"
    return (
        f"its weights are pickled ({pickles[0]}), and reading a pickle can run any code: if you trust it, save it once as "
        "safetensors, with transformers' from_pretrained and save_pretrained"
    )


def _indexed(folder: Path, field: str) -> set[str]:
    """Names of the files that the index of a model in shards lists; none without an index."""
    index = settings_if_any(folder, INDEX, field)
    if not index:
        return set()
    try:
        return set(index["weight_map"].values())
    except (KeyError, TypeError, AttributeError):
        raise UserError.of(field, str(folder), f"{INDEX} is damaged: copy or save it again") from None
