"""What a model is loaded with: the plan that a run makes, and the share of a machine that each of its replicas gets.

It knows nothing of engines and loads none. Invariant: it can be read where there is no torch.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from actors.engines.base import EngineInfo, EngineName
from actors.engines.verifiers.custom import Target
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.errors import UserError

FREE = 0.8
"""Share of what is free that the local engines of a machine take together, with one more beside them."""

PREFIX_BYTES = 1 << 30
"""Most of it that the local engine keeps of sequences that ended; a quarter of it where that is less."""

CPU_CACHE_BYTES = 256 << 20
"""Keys and values that vLLM keeps on a CPU, where the share does not say."""

GPU_MEMORY = 0.9
"""Share of a GPU that a replica which has it to itself takes; with a part of a GPU, that part of this share."""


@dataclass(frozen=True, slots=True)
class ReplicaShare:
    """How many replicas a model has, and what each of them gets of a machine.

    `memory` is the share of a GPU that weights, keys and values may take (None: nine tenths of the replica's part of it), or
    of a CPU machine's memory that keys and values alone may (None: of what is free on the local engine, 256 MiB on vLLM). For
    vLLM alone: `tensor_parallel` GPUs hold one copy of the model.
    """

    replicas: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    threads: int = 1
    max_sequences: int = 256
    device: str = "auto"
    tensor_parallel: int = 1
    memory: float | None = None

    @property
    def device_kind(self) -> str:
        """What its replicas run on, cpu or cuda: a part of what decides their results, so settings alone say it."""
        if self.device != "auto":
            return self.device
        return "cuda" if self.gpus else "cpu"

    @property
    def neighbours(self) -> int:
        """How many of the replicas one machine may hold."""
        most = int((os.cpu_count() or 1) / self.cpus) if self.cpus else self.replicas
        return max(1, min(self.replicas, most))

    @property
    def of_gpu(self) -> float:
        """The share of a GPU that weights, keys and values of a replica may take."""
        return self.memory or GPU_MEMORY * min(1.0, self.gpus or 1.0)

    def room(self, free: int, whole: int) -> int:
        """Bytes that keys and values may take on the local engine, on a CPU machine of `whole` bytes of which so many are
        free but for them."""
        if self.memory is not None:
            return int(self.memory * whole)
        return int(FREE * free / (1 + self.neighbours))

    def vllm_cache(self, whole: int) -> int:
        """Bytes that keys and values take on vLLM, on a CPU machine of `whole` bytes."""
        return CPU_CACHE_BYTES if self.memory is None else int(self.memory * whole)


@dataclass(frozen=True, slots=True)
class Server:
    """An OpenAI-compatible server at `url`, which ends in /v1, and its name for the `model`; None: the only one that it has.

    `key_variable` names the environment variable that holds its key, so that no plan ever does. `timeout`: seconds that it
    may be silent within an answer. `likelihoods`: whether answers are to have them.
    """

    url: str
    model: str | None = None
    key_variable: str | None = None
    timeout: float = 600.0
    likelihoods: bool = True


@dataclass(frozen=True, slots=True)
class ModelPlan:
    """A model, and the share of a machine that each of its replicas gets.

    `files` are the hashes of model and tokenizer that a replica must find at the path; None: whatever is there. A verifier of
    a user's own is made by its `target`, and no engine is loaded for it; a public one is of a `family`. Without `seeded`,
    which vLLM alone can do, draws differ from one run to the next. `context` are the tokens of the longest sequence that
    there will be, for which vLLM is started; None: as many as the model takes. With the engine http it runs on a `server`.
    """

    path: Path
    share: ReplicaShare = ReplicaShare()
    dtype: str = "float32"
    files: tuple[str, str] | None = None
    engine: EngineName = "local"
    seeded: bool = True
    target: Target | None = None
    context: int | None = None
    family: ChosenFamily | None = None
    server: Server | None = None

    def torch_device(self) -> str:
        """The device's name for torch. Raises UserError where the replica has GPUs that torch does not see: on a CPU it would
        draw something else under the same keys."""
        kind = self.share.device_kind
        if kind == "cuda" and self.share.device == "auto":
            # Scheduler and driver read plans, and need not wait for torch.
            import torch

            if not torch.cuda.is_available():
                mend = (
                    f"torch sees no CUDA device on {socket.gethostname()}: install torch for CUDA there, or set "
                    "cluster.policy.device and cluster.verifier.device to cpu"
                )
                raise UserError.of("device", "auto", mend)
        return kind

    def check(self, info: EngineInfo) -> None:
        """Raise UserError where a machine holds other files under the model's path than the run was begun with."""
        there = (info.model_hash, info.tokenizer_hash)
        if self.files is not None and there != self.files:
            host = socket.gethostname()
            if self.target is not None:
                mend = f"other files, or another version of it, on {host} than where the run was begun: take one everywhere"
                raise UserError.of("verifier", self.target.text, mend)
            mend = f"other files on {host} than where the run was begun: copy one folder to every machine"
            raise UserError.of("model", str(self.path), mend)
