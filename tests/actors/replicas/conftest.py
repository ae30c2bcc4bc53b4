"""Benches that tests of a task's clients make."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from actors.strategy import Prompt
from actors.work import Unit
from tests.support.table import PLENTY, PROMPT, Table


@pytest.fixture
async def table(policy: Path, verifier: Path) -> AsyncIterator[Any]:
    tables: list[Table] = []

    def make(granted: int = PLENTY, unit: Unit = "paper", prompt: Prompt = PROMPT) -> Table:
        tables.append(Table(policy, verifier, granted, unit, prompt))
        return tables[-1]

    yield make
    for one in tables:
        await one.close()
