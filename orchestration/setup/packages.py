"""Packages of a user's own that are installed nowhere: found, and importable in this process as they will be on the workers.

It knows nothing of Ray and of what is in them. Invariant: what a name imports here is what the workers get under it, or it is
refused.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from actors.errors import UserError
from orchestration.setup.model_folders import existing

_FIELD = "cluster.packages"


def importable(packages: Sequence[str]) -> tuple[Path, ...]:
    """Put the folders that hold these packages (folders) or modules (.py files) last on `sys.path`; return their paths.

    Raises UserError for what is neither, and for a name that imports something else here.
    """
    paths = tuple(_found(package) for package in packages)
    for given, path in zip(packages, paths, strict=True):
        parent = str(path.parent)
        if parent not in sys.path:
            sys.path.append(parent)
        importlib.invalidate_caches()
        spec = importlib.util.find_spec(path.stem)
        where = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
        if not any(one and Path(one).resolve().is_relative_to(path) for one in where):
            mend = f"{path.stem} is imported from elsewhere here ({where[0] if where else 'nowhere'}): rename one of the two"
            raise UserError.of(_FIELD, given, mend)
    return paths


def _found(package: str) -> Path:
    path = existing(_FIELD, package)
    if path.is_dir() and not any(path.rglob("*.py")):
        raise UserError.of(
            _FIELD, package, "there is no .py file in this folder: name the folder of a package"
        )
    if not path.is_dir() and path.suffix != ".py":
        raise UserError.of(_FIELD, package, "name the folder of a package, or a module (.py)")
    if not path.stem.isidentifier() or (path.is_dir() and path.suffix):
        raise UserError.of(_FIELD, package, f"{path.name} is not a name that Python can import: rename it")
    return path
