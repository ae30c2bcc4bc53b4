"""From the plan of a model to the engine that runs it, on the machine that does the work.

It knows engines by their classes alone. Invariant: what a plan names is what is loaded, or one UserError says why not.
"""

from __future__ import annotations

import importlib.util
import socket
from typing import TypedDict

import torch

from actors.engines.base import PolicyEngine, VerifierEngine
from actors.engines.local.policy import LocalEngine
from actors.engines.local.room import Room
from actors.engines.local.verifier import ScoringEngine
from actors.engines.local.writer import WritingEngine
from actors.engines.plan import ModelPlan
from actors.engines.verifiers.custom import load_custom
from actors.errors import UserError


def load_policy(plan: ModelPlan) -> PolicyEngine:
    """Load a policy as its plan says. Raises UserError where it cannot be."""
    if plan.engine == "vllm":
        _check_installed()
        from actors.engines.vllm.policy import VllmPolicy

        return VllmPolicy.load(plan)
    if plan.engine == "http":
        from actors.engines.http.policy import HttpPolicy

        return HttpPolicy.load(plan)
    torch.set_num_threads(plan.share.threads)
    return LocalEngine.load(plan.path, **_local(plan))


def load_verifier(plan: ModelPlan) -> VerifierEngine:
    """Load a verifier as its plan says. Raises UserError where it cannot be."""
    if plan.engine == "vllm":
        _check_installed()
        from actors.engines.vllm.verifier import VllmVerifier

        return VllmVerifier.load(plan)
    torch.set_num_threads(plan.share.threads)
    if plan.target is not None:
        return load_custom(
            plan.target, device=plan.torch_device(), dtype=plan.dtype, threads=plan.share.threads
        )
    if plan.family is not None and plan.family.thinking is not None:
        return WritingEngine.load(plan.family, **_local(plan))
    return ScoringEngine.load(plan.path, **_local(plan), family=plan.family)


class _Local(TypedDict):
    device: str
    dtype: torch.dtype
    max_sequences: int
    room: Room


def _local(plan: ModelPlan) -> _Local:
    """What every local engine is told of its share of the machine."""
    device = plan.torch_device()
    return {
        "device": device,
        "dtype": getattr(torch, plan.dtype),
        "max_sequences": plan.share.max_sequences,
        "room": Room(torch.device(device), plan.share),
    }


def _check_installed() -> None:
    if importlib.util.find_spec("vllm") is None:
        where = socket.gethostname()
        raise UserError.of(
            "engine", "vllm", f"it is not installed on {where}, as it is where the run was begun"
        )
