"""What replicas take of a machine's memory: told from files, refused where it cannot be, noted where it is tight."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from safetensors import safe_open

from actors.engines.plan import CPU_CACHE_BYTES, ReplicaShare
from actors.engines.weights import weight_bytes
from actors.errors import UserError
from actors.strategy import Role
from orchestration.api import settings_of
from orchestration.setup import memory
from orchestration.setup.footprint import token_bytes
from orchestration.setup.memory import ReplicaMemory, check_memory, estimated, size_of
from orchestration.setup.prepare import Prepared, prepare

GIB = 1 << 30


def numbers(folder: Path) -> int:
    with safe_open(str(folder / "model.safetensors"), framework="pt") as file:
        return sum(file.get_tensor(name).numel() for name in file.keys())


@pytest.fixture
def prepared(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """Two policies and a verifier on a machine of 8 GiB, of which 4 are free."""
    machine(monkeypatch, whole=8 * GIB, free=4 * GIB)
    cluster = ["cluster.policy.cpus=0.1", "cluster.verifier.cpus=0.1", "cluster.policy.replicas=2"]
    return prepare(settings_of([*words, *cluster, "policy.dtype=bfloat16", "strategies=[beam(n=4)]"]))


def machine(monkeypatch: pytest.MonkeyPatch, *, whole: int, free: int) -> None:
    monkeypatch.setattr(memory, "machine_memory", lambda: whole)
    monkeypatch.setattr(memory, "free_memory", lambda: free)


def test_weights_take_what_their_type_takes(models: tuple[Path, Path]) -> None:
    count = numbers(models[0])
    assert weight_bytes(models[0], 4) == 4 * count
    assert weight_bytes(models[0], 2) == 2 * count
    stored = (models[0] / "model.safetensors").stat().st_size
    assert 0 < stored - weight_bytes(models[0], None) < 10_000, "all but the header"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "hidden_size": 576},
            46_080,
        ),
        ({"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "head_dim": 16}, 1024),
        ({"n_layer": 12, "n_head": 12, "n_embd": 768}, 73_728),
        ({"text_config": {"num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 8}}, 64),
        ({"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 32, "kv_lora_rank": 512}, 0),
        ({"d_model": 768}, 0),
    ],
)
def test_a_token_has_keys_and_values_in_every_layer(config: dict[str, object], expected: int) -> None:
    assert token_bytes(config, 4) == expected


def test_each_replica_is_estimated(prepared: Prepared, models: tuple[Path, Path]) -> None:
    policy, verifier = prepared.memory["policy"], prepared.memory["verifier"]
    count = numbers(models[0])
    assert (policy.weights, verifier.weights) == (2 * count, 4 * count)
    # Two layers of two heads, 16 wide.
    assert (policy.token, verifier.token) == (2 * 2 * 32 * 2, 2 * 2 * 32 * 4)
    assert policy.context == prepared.longest_prompt + 40
    free = 4 * GIB - 2 * 2 * count - 4 * count
    whole = ReplicaShare(replicas=2, cpus=0.1).room(free, 8 * GIB)
    assert policy.room == whole - whole // 4, "a quarter is for prefixes"
    assert policy.fitting == policy.rows == 256


def test_fewer_fit_where_there_is_little() -> None:
    one = ReplicaMemory(weights=0, token=1000, context=100, rows=8, room=350_000)
    assert (one.sequence, one.fitting) == (100_000, 3)
    assert replace(one, room=0).fitting == 1, "one always runs"
    assert replace(one, room=None).fitting is None
    assert replace(one, token=0).fitting is None


def test_what_the_machine_cannot_hold_is_refused(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    need = sum(
        prepared.models[role].share.replicas * (one.weights + one.sequence)
        for role, one in prepared.memory.items()
    )
    machine(monkeypatch, whole=need, free=8 * GIB)
    assert check_memory(prepared.models, prepared.memory, here=True) == ""
    machine(monkeypatch, whole=need - 1, free=8 * GIB)
    with pytest.raises(
        UserError, match=r"^policy.path = .*: the replicas take .* at least .policy 2 x .* in bfloat16"
    ):
        check_memory(prepared.models, prepared.memory, here=True)
    assert check_memory(prepared.models, prepared.memory, here=False) == "", "who knows what a cluster has"


def test_what_is_tight_is_noted(
    prepared: Prepared, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any("memory is tight" in note for note in prepared.notes)
    machine(monkeypatch, whole=8 * GIB, free=GIB)
    notes = prepare(settings_of([*words, "strategies=[beam(n=4)]"])).notes
    assert [note for note in notes if "memory is tight: the replicas take 1.0 GB at least" in note] == []
    machine(monkeypatch, whole=8 * GIB, free=GIB // 2)
    [note] = [one for one in prepare(settings_of([*words, "strategies=[beam(n=4)]"])).notes if "tight" in one]
    assert "of this machine's 8.6 GB are 537 MB free" in note


def as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: ModuleSpec(name, None))


def on_vllm(words: list[str], *more: str) -> Prepared:
    return prepare(settings_of([*words, "policy.engine=vllm", "strategies=[greedy]", *more]))


def test_vllms_cache_has_room_for_one_sequence_or_is_refused(
    words: list[str], models: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_installed(monkeypatch)
    one = on_vllm(words).memory["policy"]
    assert (one.context, one.room) == (256, CPU_CACHE_BYTES), "the tiny model has no more"
    # A model of that many layers, though of no such weights.
    long = shutil.copytree(models[0], tmp_path / "long")
    config = json.loads((long / "config.json").read_text())
    (long / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1 << 20}))
    far = [word for word in words if not word.startswith("policy.path")]
    far += [f"policy.path={long}", "policy.max_tokens=600000", "policy.typical_tokens=30"]
    machine(monkeypatch, whole=8 * GIB, free=8 * GIB)
    with pytest.raises(UserError) as error:
        on_vllm(far)
    assert str(error.value) == (
        "cluster.policy.memory = None: a prompt and its solution of up to 600,512 tokens take 307 MB of keys and values, and "
        "vLLM has 268 MB for them on a processor: set it to at least 0.04, a share of this machine's memory, or lower "
        "policy.context or policy.max_tokens"
    )
    on_vllm(far, "cluster.policy.memory=0.04")
    machine(monkeypatch, whole=GIB // 4, free=GIB // 4)
    with pytest.raises(UserError) as error:
        on_vllm(far)
    assert "on a processor: lower policy.context or policy.max_tokens" in str(error.value)
    # Of layers with a window not all is kept.
    window = {"sliding_window": 64, "model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    (long / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1 << 20} | window))
    machine(monkeypatch, whole=8 * GIB, free=8 * GIB)
    on_vllm(far)


def test_a_gpu_holds_weights_and_a_sequence_or_is_refused(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_installed(monkeypatch)
    monkeypatch.setattr("actors.cluster.ray_start.gpus_here", lambda: 8)
    gpus = ["cluster.policy.gpus=1"]
    monkeypatch.setattr(memory, "gpu_bytes", lambda: None)
    assert on_vllm(words, *gpus).memory["policy"].room is None, "no driver tells"
    monkeypatch.setattr(memory, "gpu_bytes", lambda: GIB)
    one = on_vllm(words, *gpus).memory["policy"]
    assert one.room == int(GIB * 0.9) - one.weights
    monkeypatch.setattr(memory, "gpu_bytes", lambda: one.weights)
    with pytest.raises(
        UserError, match=r"^cluster.policy.memory = None: .* and 0 B of a GPU are left beside"
    ):
        on_vllm(words, *gpus)


def test_replicas_that_share_a_gpu_stay_below_all_of_it(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_installed(monkeypatch)
    monkeypatch.setattr("actors.cluster.ray_start.gpus_here", lambda: 8)
    monkeypatch.setattr(memory, "gpu_bytes", lambda: GIB)
    shared = ["strategies=[best_of_n(n=2)]", "cluster.policy.gpus=0.5", "cluster.verifier.gpus=0.5"]
    whole = on_vllm(words, *shared)
    assert not [note for note in whole.notes if "Ray may put" in note]
    assert whole.memory["policy"].of_gpus == 0.45
    least = (whole.memory["policy"].weights + whole.memory["policy"].sequence) / 0.45
    assert f"with 0.45 of a GPU it needs one of {size_of(least)} at least" in whole.memory["policy"].told
    # Nearly all of it is a note, and on the local engine, which takes what is free, so is more.
    [note] = [
        one for one in on_vllm(words, *shared, "cluster.policy.memory=0.54").notes if "Ray may put" in one
    ]
    told = "memory is tight: Ray may put policy x 1, verifier x 1 on one GPU, of whose memory they take 0.99 together: lower"
    assert note.startswith(told)
    both = ["policy.engine=local", "verifier.engine=local", "cluster.policy.memory=0.7"]
    assert any("1.15 together" in one for one in prepare(settings_of([*words, *shared, *both])).notes)
    with pytest.raises(UserError) as error:
        on_vllm(words, *shared, "cluster.policy.memory=0.7")
    assert str(error.value) == (
        "cluster.policy.memory = 0.7: Ray may put policy x 1, verifier x 1 on one GPU, of whose memory they take 1.15 "
        "together, more than there is: lower cluster.policy.memory and cluster.verifier.memory until that is below 0.95, "
        "or give each replica a GPU (gpus=1)"
    )


def test_what_a_driver_says_of_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert memory.gpu_bytes() is None
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 81559\necho 24564\n")
    tool.chmod(0o755)
    assert memory.gpu_bytes() == 24_564 << 20
    tool.write_text("#!/bin/sh\necho Failed to initialize NVML\nexit 9\n")
    assert memory.gpu_bytes() is None


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (46_080, "46 kB"), (17e9, "17 GB"), (2e12, "2.0 TB")],
)
def test_sizes_for_people(size: float, text: str) -> None:
    assert size_of(size) == text


def test_a_verifier_of_ones_own_is_not_estimated(prepared: Prepared) -> None:
    own = {role: replace(model, target=object()) for role, model in prepared.models.items()}  # type: ignore[arg-type]
    roles: dict[Role, ReplicaMemory] = estimated(own, prepared.contexts, 10, here=True)
    assert roles == {}
