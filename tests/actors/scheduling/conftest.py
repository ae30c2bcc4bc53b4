"""Cells that tests of the scheduler run, and what tasks come to where nothing befalls them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.cells import MakeCell, outcomes_by_key, tasks
from tests.support.inprocess import Cell


@pytest.fixture
def cell(tmp_path: Path, policy: Path, verifier: Path) -> MakeCell:
    return lambda folder="run", **options: Cell(tmp_path / folder, policy, verifier, **options)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, policy: Path, verifier: Path) -> dict[str, Any]:
    """What twelve tasks come to on one replica."""
    folder = tmp_path_factory.mktemp("undisturbed")

    async def run() -> None:
        async with Cell(folder, policy, verifier, replicas=1) as one:
            await one.run(tasks(12))

    asyncio.run(run())
    return outcomes_by_key(folder)
