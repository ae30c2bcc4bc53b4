"""What tests of the runtime share: tiny models, into whose folders nobody writes, and a clock that a test moves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.puppets import Clockwork
from tests.support.tiny import save_policy, save_verifier

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="session")
def verifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_verifier(tmp_path_factory.mktemp("verifier"))


@pytest.fixture
def loop() -> Iterator[Clockwork]:
    loop = Clockwork()
    asyncio.set_event_loop(loop)
    yield loop
    loop.close()
