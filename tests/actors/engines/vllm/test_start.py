"""What vLLM is told, on processors and on GPUs that need not be there, and who waits for whom to start."""

from __future__ import annotations

import os
import sys
import threading
import types
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import Gemma3Config, LlamaConfig, PreTrainedConfig

from actors.engines.plan import CPU_CACHE_BYTES, ModelPlan, ReplicaShare
from actors.engines.troubles import kind_of
from actors.engines.vllm import start as vllm_start
from actors.engines.vllm.start import engine_args, started_for, turn
from actors.errors import UserError

CPU = ModelPlan(Path("model"), ReplicaShare(device="cpu", max_sequences=64), engine="vllm")


def gpu(gpus: float, memory: float | None = None, tensor_parallel: int = 1) -> ModelPlan:
    share = ReplicaShare(device="cuda", gpus=gpus, memory=memory, tensor_parallel=tensor_parallel)
    return ModelPlan(Path("model"), share, engine="vllm")


@pytest.mark.parametrize("context", [256, 32_768])
def test_on_a_processor_no_prefill_is_cut_in_two(context: int) -> None:
    args = engine_args(CPU, context=context)
    assert args["enable_chunked_prefill"] is False
    assert args["max_num_batched_tokens"] >= max(context, vllm_start.BATCH_TOKENS)
    assert (args["max_num_seqs"], args["block_size"]) == (64, 32)
    assert "gpu_memory_utilization" not in args


@pytest.mark.parametrize(
    ("plan", "share"),
    [
        (gpu(1), 0.9),
        (gpu(0.5), 0.45),
        (gpu(0.25), 0.225),
        (gpu(0.25, memory=0.4), 0.4),
        (gpu(2, tensor_parallel=2), 0.9),
    ],
)
def test_on_a_gpu_a_replica_takes_nine_tenths_of_its_part(plan: ModelPlan, share: float) -> None:
    args = engine_args(plan, context=4096)
    assert args["gpu_memory_utilization"] == pytest.approx(share)
    assert args["tensor_parallel_size"] == plan.share.tensor_parallel
    assert "enable_chunked_prefill" not in args


@pytest.mark.parametrize(("plan", "waits"), [(gpu(0.5), True), (gpu(1), False), (CPU, False)])
def test_engines_that_share_a_gpu_start_one_after_another(
    plan: ModelPlan, waits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    started = threading.Event()

    def start() -> None:
        with turn(plan):
            started.set()

    other = threading.Thread(target=start)
    with turn(plan):
        other.start()
        assert started.wait(0.3 if waits else 10) is not waits
    other.join(10)
    assert started.is_set()


@pytest.mark.parametrize(("memory", "cache"), [(None, CPU_CACHE_BYTES), (0.25, 16 << 30), (1.0, 64 << 30)])
def test_on_a_processor_the_cache_takes_its_share_of_the_machine(
    memory: float | None, cache: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vllm_start.machine_memory() > 1 << 28
    monkeypatch.setattr(vllm_start, "machine_memory", lambda: 64 << 30)
    args = engine_args(replace(CPU, share=replace(CPU.share, memory=memory)), context=256)
    assert args["kv_cache_memory_bytes"] == cache


CORE_FAILED = RuntimeError(
    "Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}"
)
SAID = """\
(EngineCore pid=7) ERROR 11-28 17:02:11 [core.py:1510] EngineCore failed to start.
(EngineCore pid=7) ERROR 11-28 17:02:11 [core.py:1510] Traceback (most recent call last):
(EngineCore pid=7) ERROR 11-28 17:02:11 [core.py:1510]   File "worker.py", line 96, in init_device
(EngineCore pid=7) ERROR 11-28 17:02:11 [core.py:1510] {}
Exception: WorkerProc initialization failed due to an exception.
"""


@pytest.mark.parametrize(
    ("why", "kind"),
    [
        (
            "ValueError: Free memory on device cuda:0 (1/79 GiB) on startup is less than desired GPU memory",
            "trouble",
        ),
        ("ValueError: Unknown quantization method: awqq. Must be one of ['awq', 'fp8'].", "mistake"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.", "trouble"),
        ("KeyError: 'layers.0.mlp'", "unknown"),
    ],
)
def test_what_its_core_said_decides_whether_a_start_is_tried_again(
    why: str, kind: str, tmp_path: Path
) -> None:
    """The front end is told no more than that the core has ended."""
    with (tmp_path / "out").open("w+") as out:
        out.write("ValueError: of an earlier start\n")
        out.flush()
        number = out.fileno()
        before = {number: os.fstat(number).st_size}
        out.write(SAID.format(why))
        out.flush()
        said = vllm_start.errors_since(before)
    assert said == [why, "Exception: WorkerProc initialization failed due to an exception."]
    refusal = vllm_start.refusal(Path("model"), "policy", CORE_FAILED, said)
    assert isinstance(refusal, UserError) is (kind == "mistake")
    assert why.rstrip(".") in str(refusal)
    assert kind_of(refusal) == kind


def test_a_core_that_ended_without_a_word_may_come_up_the_next_time() -> None:
    refusal = vllm_start.refusal(Path("model"), "policy", CORE_FAILED, [])
    assert "Engine core initialization failed" in str(refusal)
    assert kind_of(refusal) == "trouble"


def test_a_start_that_met_a_passing_trouble_is_no_mistake_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = "Free memory on device cuda:0 (1/79 GiB) on startup is less than desired GPU memory utilization (0.9, 71 GiB)"

    class Engine:
        @staticmethod
        def from_engine_args(*_: object, **__: object) -> None:
            raise ValueError(why)

    parts: dict[str, dict[str, object]] = {
        "vllm": {"envs": None},
        "vllm.engine": {},
        "vllm.engine.arg_utils": {"AsyncEngineArgs": dict},
        "vllm.platforms": {"current_platform": types.SimpleNamespace(device_type="cuda")},
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.async_llm": {"AsyncLLM": Engine},
    }
    for name, holds in parts.items():
        module = types.ModuleType(name)
        vars(module).update(holds)
        monkeypatch.setitem(sys.modules, name, module)
    with pytest.raises(RuntimeError, match=r"did not start on .*less than desired") as error:
        vllm_start.start(gpu(1), "policy", context=4096)
    assert kind_of(error.value) == "trouble"


# As vLLM 0.32 says it.
TOO_LONG = (
    "ValueError: To serve at least one request with the model's max seq len (131072), (16.0 GiB KV cache is needed, which is "
    "larger than the available KV cache memory (2.0 GiB). Based on the available memory, the estimated maximum model length "
    "is 16384. Try increasing `gpu_memory_utilization` (which also controls CPU memory on the CPU backend) or decreasing "
    "`max_model_len` when initializing the engine. See https://docs.vllm.ai/en/latest/configuration/conserving_memory/ for "
    "more details."
)


@pytest.mark.parametrize(
    ("why", "shown", "mend"),
    [
        (
            TOO_LONG,
            "memory (2.0 GiB); ",
            "set policy.context to at most 16384 (a prompt and its solution have room in it)",
        ),
        (
            TOO_LONG.replace("Based on", "On").replace("estimated", "x"),
            "(2.0 GiB)",
            "raise cluster.verifier.memory",
        ),
        (
            "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when ...",
            "for the cache blocks; ",
            "raise cluster.verifier.memory, give its replicas more of a GPU (cluster.verifier.gpus)",
        ),
        (
            "ValueError: Free memory on device cuda:0 (1/79 GiB) on startup is less than desired GPU memory utilization "
            "(0.9, 71.2 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes.",
            "(0.9, 71.2 GiB); ",
            "another process holds it: end that one, or lower cluster.verifier.memory",
        ),
        (
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
            "Tried to allocate 2.00 GiB; ",
            "lower cluster.verifier.max_sequences",
        ),
        (
            "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0. Your Tesla T4 GPU has "
            "compute capability 7.5. You can use float16 instead by explicitly setting the `dtype` flag in CLI",
            "compute capability 7.5; ",
            "set verifier.dtype=float16",
        ),
        (
            "ValueError: Model architectures ['X'] are not supported for now. Supported architectures: dict_keys(['A'])",
            "for now; ",
            "set verifier.engine=local, or take another verifier",
        ),
        (
            "ValueError: The quantization method fp8 is not supported for the current GPU. Minimum capability: 89.",
            "capability: 89; ",
            "take the verifier unquantised",
        ),
        (
            "ValueError: Total number of attention heads (28) must be divisible by tensor parallel size (8).",
            "(8); ",
            "set cluster.verifier.tensor_parallel, and cluster.verifier.gpus, to a number that divides them",
        ),
        ("KeyError: 'layers.0.mlp'", "KeyError: 'layers.0.mlp'", ""),
    ],
)
def test_what_vllm_refuses_is_one_line_with_the_setting_to_change(why: str, shown: str, mend: str) -> None:
    refusal = str(vllm_start.refusal(Path("model"), "verifier", CORE_FAILED, [why]))
    assert "\n" not in refusal
    assert shown in refusal
    assert mend in refusal
    assert refusal.endswith(why) is not bool(mend)
    for theirs in ("gpu_memory_utilization", "max_model_len", "https", "`"):
        assert theirs not in refusal
    assert kind_of(Exception(refusal)) == kind_of(Exception(why)), "as the words alone"


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(max_position_embeddings=131_072),
        Gemma3Config(text_config={"max_position_embeddings": 131_072}),
    ],
)
def test_vllm_is_started_for_what_is_needed(config: PreTrainedConfig) -> None:
    assert started_for(CPU, config) == 131_072
    assert started_for(replace(CPU, context=1024), config) == 1024
    assert started_for(replace(CPU, context=1 << 20), config) == 131_072


def test_positions_are_turned_by_the_same_factors_however_long_texts_may_become() -> None:
    """vLLM takes those of short texts for all where no text may be longer than the first training's."""
    factors = {"short_factor": [1.0] * 64, "long_factor": [2.0] * 64, "rope_theta": 10_000.0}
    scaling = factors | {"rope_type": "longrope", "original_max_position_embeddings": 4096}
    config = LlamaConfig(max_position_embeddings=131_072, rope_parameters=scaling)
    assert started_for(replace(CPU, context=1024), config) == 4097
    assert started_for(replace(CPU, context=9000), config) == 9000
