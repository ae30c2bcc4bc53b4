"""What transformers itself makes of tiny random checkpoints, one of each family."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.families import FAMILIES, save_random


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {
        family: save_random(config(), tmp_path_factory.mktemp(family)) for family, config in FAMILIES.items()
    }
