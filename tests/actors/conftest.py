"""Tiny models that every test of the runtime shares; nobody writes into their folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.tiny import save_policy, save_verifier

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="session")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_verifier(tmp_path_factory.mktemp("verifier"))
