"""Imports run one way; the contracts stand in pyproject.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.imports import loaded_by

ROOT = Path(__file__).parents[1]


def test_every_import_respects_the_walls() -> None:
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == EXIT_STATUS_SUCCESS


def test_who_may_know_ray_is_named_and_nobody_is_forgotten() -> None:
    may = {"driving", "links", "placement", "shells"}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [ray] = [one for one in contracts if one["name"] == "Only placement, its driver and the links know Ray"]
    found = (ROOT / "actors").iterdir()
    modules = {path.stem for path in found if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert set(ray["source_modules"]) == {f"actors.{name}" for name in modules - may - {"__init__"}}


@pytest.mark.parametrize(
    "module",
    [
        "actors.engines.weights",
        "actors.engines.plan",
        "actors.placement",
        "actors.shells",
        "actors.run_writer",
        "actors.samples",
    ],
)
def test_what_needs_no_torch_does_not_wait_for_it(module: str) -> None:
    """The contracts do not tell an import at the top from one that waits until it is needed."""
    assert loaded_by(f"import {module}", ("torch", "transformers")) == []
