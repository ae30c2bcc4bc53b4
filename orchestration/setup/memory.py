"""How much memory each replica takes, told from configs and the headers of weights, and whether this machine has it.

It loads no model and knows nothing of torch. Invariant: refused is only what cannot run: weights and one sequence that this
machine has no memory for, or that vLLM's share of it does not hold; whatever else may be tight is a note.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from actors.engines.folder_files import read_settings
from actors.engines.plan import PREFIX_BYTES
from actors.engines.weights import quantisation, weight_bytes
from actors.errors import UserError
from actors.memory import free_memory, machine_memory
from actors.strategy import Role
from orchestration.setup.contexts import Contexts
from orchestration.setup.footprint import NUMBER, TOGETHER, least_gpu, shared_gpu, token_bytes
from orchestration.setup.models import ModelSetup
from orchestration.setup.settings import ClusterSettings

PROCESS = 500 << 20
"""Bytes that a replica's process takes without a model: torch, transformers and Ray."""


@dataclass(frozen=True, slots=True)
class ReplicaMemory:
    """Of one replica, in bytes: its weights, and keys and values of a `token` (0: not known) in sequences of up to `context`
    tokens, at most `rows` at once. `room` is what keys and values may take there, None: not known. `of_gpus` are the shares
    of GPUs that it may take in all; 0: it runs on processors."""

    weights: int
    token: int
    context: int
    rows: int
    room: int | None
    of_gpus: float = 0.0

    @property
    def sequence(self) -> int:
        """Bytes of a sequence at its longest."""
        return self.token * self.context

    @property
    def fitting(self) -> int | None:
        """Sequences that have room at once at their longest, one at least; None where that is not known."""
        if self.room is None or not self.sequence:
            return None
        return max(1, min(self.rows, self.room // self.sequence))

    @property
    def told(self) -> str:
        """All of it in words."""
        text = f"{size_of(self.weights)} of weights"
        if not self.token:
            return f"{text}, - for keys and values (the config does not tell)"
        text += f"; keys and values of {size_of(self.token)} a token, so {size_of(self.sequence)} for a longest sequence of "
        text += f"{self.context:,}"
        if self.of_gpus:
            least = least_gpu(self.weights, self.sequence, self.of_gpus)
            text += f"; with {self.of_gpus:.2f} of a GPU it needs one of {size_of(least)} at least"
        if self.room is None or self.fitting is None:
            return text
        return f"{text}, room for {self.fitting:,} of {self.rows:,} at once in {size_of(self.room)}"


def estimated(
    models: Mapping[Role, ModelSetup], contexts: Contexts, longest: int, *, here: bool
) -> dict[Role, ReplicaMemory]:
    """What a replica of each role takes, where the longest prompt has so many tokens; `here` says that this machine runs
    them. Left out are a verifier of a user's own, of which nothing is known, and a model that a server runs."""
    found = {}
    free = free_memory()
    ours = {role: one for role, one in models.items() if one.target is None and one.server is None}
    weights = {role: _weights(model) for role, model in ours.items()}
    held = sum(models[role].share.neighbours * size for role, size in weights.items())
    for role, size in weights.items():
        model, share = models[role], models[role].share
        token = token_bytes(read_settings(model.path, "config.json", f"{role}.path"), NUMBER[model.dtype])
        whole, room = machine_memory(), None
        if share.device_kind == "cuda":
            gpu = gpu_bytes() if here else None
            room = gpu and max(0, int(gpu * share.of_gpu) * share.tensor_parallel - size)
        elif here and model.engine == "vllm":
            room = share.vllm_cache(whole)
        elif here:
            room = share.room(max(0, free - held), whole)
            # The rest is for prefixes.
            room -= min(PREFIX_BYTES, room // 4)
        context = (
            contexts.needed(role, longest, other_tokens=model.family is not None)
            if model.engine == "vllm"
            else contexts.longest(role, longest)
        )
        of_gpus = share.of_gpu * share.tensor_parallel if share.device_kind == "cuda" else 0.0
        found[role] = ReplicaMemory(
            size, token, context + model.cost.writes, share.max_sequences, room, of_gpus
        )
    return found


def check_memory(
    models: Mapping[Role, ModelSetup], found: Mapping[Role, ReplicaMemory], *, here: bool
) -> str:
    """What a user should know of memory that is tight; empty where nothing is. Raises UserError where the replicas cannot run
    on this machine, if they are to."""
    if not here:
        return ""
    for role, one in found.items():
        # Of layers with a window not all of it is kept; vLLM says then what it needs.
        told = models[role].cost.exact_known and not models[role].cost.window_layers
        if told and one.room is not None and one.sequence > one.room:
            _check_sequence(models[role], role, one)
    on_processors = {role: one for role, one in found.items() if models[role].share.device_kind == "cpu"}
    each = {
        role: models[role].share.replicas * (one.weights + one.sequence)
        for role, one in on_processors.items()
    }
    need, whole, free = sum(each.values()), machine_memory(), free_memory()
    asked = ", ".join(
        f"{role} {models[role].share.replicas} x {size_of(one.weights)} of weights in {models[role].dtype}"
        for role, one in on_processors.items()
    )
    if need > whole:
        role = max(each, key=lambda one: each[one])
        mend = (
            f"the replicas take {size_of(need)} at least ({asked}, and a sequence each), and this machine has "
            f"{size_of(whole)}: take fewer replicas, {role}.dtype=bfloat16 or a smaller model, or join a cluster by "
            "cluster.address"
        )
        raise UserError.of(f"{role}.path", str(models[role].name), mend)
    need += PROCESS * sum(models[role].share.replicas for role in on_processors)
    if each and need > free:
        return (
            f"memory is tight: the replicas take {size_of(need)} at least ({asked}), and of this machine's "
            f"{size_of(whole)} are {size_of(free)} free"
        )
    return ""


def check_sharing(models: Mapping[Role, ModelSetup]) -> str:
    """What to say of replicas that take nearly all of a GPU on which Ray may put them; UserError where they take more, and
    one of them sets its memory aside."""
    shares = {role: one.share for role, one in models.items() if one.target is None}
    on_one = shared_gpu(shares)
    if on_one.share <= TOGETHER + 1e-6:
        return ""
    what = f"Ray may put {on_one.told} on one GPU, of whose memory they take {on_one.share:.2f} together"
    named = " and ".join(f"cluster.{role}.memory" for role in on_one.replicas)
    how = f"lower {named} until that is below {TOGETHER}, or give each replica a GPU (gpus=1)"
    if on_one.share > 1 + 1e-6 and any(models[role].engine == "vllm" for role in on_one.replicas):
        role = max(on_one.replicas, key=lambda one: shares[one].of_gpu)
        raise UserError.of(
            f"cluster.{role}.memory", shares[role].memory, f"{what}, more than there is: {how}"
        )
    return f"memory is tight: {what}: {how}"


def _check_sequence(model: ModelSetup, role: Role, one: ReplicaMemory) -> None:
    """Raise UserError where an engine that sets its memory aside has none for one sequence."""
    share, room = model.share, one.room or 0
    what = f"a prompt and its solution of up to {one.context:,} tokens take {size_of(one.sequence)} of keys and values"
    lower = "lower policy.context or policy.max_tokens"
    if share.device_kind == "cuda":
        mend = (
            f"{what}, and {size_of(room)} of a GPU are left beside {size_of(one.weights)} of weights: raise it, spread the "
            f"model over GPUs (cluster.{role}.tensor_parallel), {lower}, or take a smaller model"
        )
        raise UserError.of(f"cluster.{role}.memory", share.memory, mend)
    if model.engine == "vllm":
        enough = one.sequence / machine_memory() + 0.005
        raised = (
            f"set it to at least {enough:.2f}, a share of this machine's memory, or " if enough < 1 else ""
        )
        mend = f"{what}, and vLLM has {size_of(room)} for them on a processor: {raised}{lower}"
        raise UserError.of(f"cluster.{role}.memory", share.memory, mend)


def runs_here(cluster: ClusterSettings) -> bool:
    """Whether replicas run on this machine alone, as far as settings tell."""
    return not ray_is_up() and not cluster.address and not os.environ.get("RAY_ADDRESS")


def ray_is_up() -> bool:
    """Whether this process has joined or started a Ray already."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


def gpu_bytes() -> int | None:
    """Bytes of the smallest GPU of this machine; None where no driver tells."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.split()
        return min(int(one) for one in told) << 20 if told else None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def size_of(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _weights(model: ModelSetup) -> int:
    stored = model.engine == "vllm" and quantisation(model.path)
    return weight_bytes(model.path, None if stored else NUMBER[model.dtype])
