"""Imports run one way; the contracts stand in pyproject.toml."""

from __future__ import annotations

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.support.imports import loaded_by
from tests.support.places import ROOT


def test_every_import_respects_the_walls() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS


@pytest.mark.parametrize(
    "module",
    [
        "actors.engines.weights",
        "actors.engines.plan",
        "actors.cluster.placement",
        "actors.cluster.shells",
        "actors.store.writer",
        "actors.store.library",
    ],
)
def test_what_needs_no_torch_does_not_wait_for_it(module: str) -> None:
    """The contracts do not tell an import at the top from one that waits until it is needed."""
    assert loaded_by(f"import {module}", ("torch", "transformers")) == []
