"""Tiny models that all tests of this part share."""

from pathlib import Path

import pytest

from tests.support.tiny_models import make_models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a random policy and verifier."""
    return make_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def words(models: tuple[Path, Path]) -> list[str]:
    """Settings that name the tiny models, and the problems that their tokenizer has seen."""
    policy, verifier = models
    sizes = ["policy.max_tokens=40", "policy.typical_tokens=30", "dataset.count=6"]
    return ["domain=arithmetic", f"policy.path={policy}", f"verifier.path={verifier}", *sizes]


@pytest.fixture(autouse=True)
def no_ray_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ray that another test has left up does not tell where the replicas of this one would run."""
    monkeypatch.setattr("orchestration.setup.memory.ray_is_up", lambda: False)
