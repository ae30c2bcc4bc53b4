"""Which failures of a start are worth another one: real words of vLLM, torch, CUDA, Ray and Linux."""

from __future__ import annotations

import errno
import os

import pytest

from actors.engines.troubles import TRIES, insist, kind_of
from actors.errors import UserError

TROUBLES = [
    ValueError(
        "Free memory on device cuda:0 (1.21/79.11 GiB) on startup is less than desired GPU memory utilization "
        "(0.9, 71.2 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
    ),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB"),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
    AssertionError("Error in memory profiling. Initial free memory 70.2 GiB, current free memory 71.3 GiB."),
    RuntimeError("The server socket has failed to listen: [errno: 98 - Address already in use]. EADDRINUSE"),
    RuntimeError(
        "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
    ),
    Exception("WorkerProc initialization failed due to an exception in a background process."),
    RuntimeError("CUDA error: all CUDA-capable devices are busy or unavailable"),
    RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable"),
    RuntimeError("NCCL error in: ProcessGroupNCCL.cpp:3384, unhandled system error, NCCL version 2.27.3"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("Engine process failed to start. See stack trace for the root cause."),
    RuntimeError("Did not receive response from front-end process within 5 minutes: timed out"),
    ValueError(
        "Failed to look up actor with name 'writer-1a2b'. This could because 1. You are trying to ..."
    ),
    OSError(errno.ESTALE, "Stale file handle", "/mnt/model/model.safetensors"),
    OSError(errno.ENOSPC, "No space left on device", "/dev/shm/psm_1"),
    OSError(errno.ETXTBSY, "Text file busy"),
    ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    TimeoutError(),
    MemoryError(),
    EOFError(),
    type("OutOfMemoryError", (RuntimeError,), {})("HIP"),
]

MISTAKES = [
    ValueError(
        "Model architectures ['Llama5ForCausalLM'] are not supported for now. Supported architectures: ..."
    ),
    ValueError("Unknown quantization method: awqq. Must be one of ['awq', 'fp8']."),
    ValueError(
        "torch.bfloat16 is not supported for quantization method gptq. Supported dtypes: [torch.float16]"
    ),
    ValueError("Unknown dtype: 'flaot16'"),
    ValueError("The quantization method fp8 is not supported for the current GPU. Minimum capability: 89."),
    ValueError(
        "To serve at least one request with the model's max seq len (131072), (16.0 GiB KV cache is needed, which is larger "
        "than the available KV cache memory (2.0 GiB). Try increasing `gpu_memory_utilization`"
    ),
    ValueError("No available memory for the cache blocks. Try increasing `gpu_memory_utilization`"),
    ValueError("Total number of attention heads (28) must be divisible by tensor parallel size (8)."),
    RuntimeError("No CUDA GPUs are available"),
    RuntimeError("CUDA error: invalid device ordinal"),
    FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "model.safetensors"),
    PermissionError(errno.EACCES, os.strerror(errno.EACCES), "model.safetensors"),
    ModuleNotFoundError("No module named 'vllm'"),
    UserError("engine = 'vllm': it times out"),
]

UNKNOWN = [
    KeyError("layers.0"),
    AssertionError(),
    RuntimeError("shape '[4, 7]' is invalid"),
    ZeroDivisionError(),
]


@pytest.mark.parametrize("error", TROUBLES, ids=repr)
def test_what_passes_by_itself(error: Exception) -> None:
    assert kind_of(error) == "trouble"


@pytest.mark.parametrize("error", MISTAKES, ids=repr)
def test_what_fails_each_time_alike(error: Exception) -> None:
    assert kind_of(error) == "mistake"


@pytest.mark.parametrize("error", UNKNOWN, ids=repr)
def test_what_nothing_is_known_of(error: Exception) -> None:
    assert kind_of(error) == "unknown"


def test_an_error_is_told_by_what_it_came_from() -> None:
    outer = RuntimeError("loading failed")
    outer.__cause__ = OSError(errno.ESTALE, "Stale file handle")
    assert kind_of(outer) == "trouble"
    outer.__cause__ = ValueError("Model architectures ['X'] are not supported for now.")
    assert kind_of(outer) == "mistake"


def test_words_of_the_engines_own_processes_say_more_than_its_error() -> None:
    core = RuntimeError("Engine core initialization failed. See root cause above.")
    assert kind_of(core) == "trouble"
    assert kind_of(core, "ValueError: Unknown quantization method: awqq") == "mistake"


class Disk:
    """Reads once so many failures are over."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.pauses: list[float] = []

    def read(self) -> str:
        if self.failures:
            raise self.failures.pop(0)
        return "read"


def test_what_costs_nothing_is_asked_again_where_it_failed_of_what_passes() -> None:
    disk = Disk(OSError(errno.ESTALE, "Stale file handle"), OSError(errno.EIO, "Input/output error"))
    assert insist(disk.read, pause=disk.pauses.append) == "read"
    assert disk.pauses == [1.0, 2.0]


@pytest.mark.parametrize(
    ("failure", "asked"),
    [(OSError(errno.ESTALE, "Stale file handle"), TRIES), (FileNotFoundError(2, "gone"), 1)],
    ids=repr,
)
def test_what_never_passes_is_raised(failure: Exception, asked: int) -> None:
    disk = Disk(*[failure] * 99)
    with pytest.raises(type(failure)):
        insist(disk.read, pause=disk.pauses.append)
    assert len(disk.failures) == 99 - asked
