"""A model folder's tensors, read from its safetensors files.

It knows no architecture. Invariant: pickled weights are never opened.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from actors.engines.weights import weight_files


def read_weights(folder: Path, named: Collection[str] | None = None) -> dict[str, Tensor]:
    """Read every safetensors file of a model folder, or the tensors `named`; pickled weights are refused."""
    weights: dict[str, Tensor] = {}
    for file in weight_files(folder):
        with safe_open(str(file), framework="pt") as handle:
            for name in handle.keys():
                if named is None or name in named:
                    weights[name] = handle.get_tensor(name)
    return weights
