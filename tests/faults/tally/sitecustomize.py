"""Counts, in each replica of a command that draws, what has really been done there, where it can be read when it was killed.

Python imports a module of this name at its start wherever it is on the path. A mapped file outlives a killed process: its
numbers are FLOPs (paper) of all tokens that the engine has drawn and of all scores that came, and of what replicas of another
model have drawn for tasks here, which their own engines count, too. A call that was on its way counts for nothing, so what
was done is told too low rather than too high.
"""

import importlib.abc
import importlib.machinery
import mmap
import os
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

WATCHED = "actors.replicas.solver"


def tell(number: mmap.mmap, price: int, tokens: int, scores: int, others: int) -> None:
    struct.pack_into("<2q", number, 0, price * tokens + scores, others)


def watch(solver: ModuleType) -> None:
    """Let each replica that this module makes count."""
    from actors.engines.local.policy import LocalEngine
    from actors.ledger import Purse

    make, step, settle = solver.SolverReplica.__init__, LocalEngine._step, Purse.settle
    seen = {"price": 0, "tokens": 0, "scores": 0, "others": 0}
    mine = ["policy"]
    path = Path(os.environ["FAULTS_TALLY"]) / str(os.getpid())
    path.write_bytes(bytes(16))
    with path.open("r+b") as file:
        number = mmap.mmap(file.fileno(), 16)

    def made(replica: Any, name: str, plan: Any, bench: Any, *rest: Any, **named: Any) -> None:
        mine[0] = named.get("role", "policy")
        seen["price"] = bench.costs[mine[0]].paper(1)
        make(replica, name, plan, bench, *rest, **named)

    def stepped(engine: Any) -> Any:
        finished = step(engine)
        seen["tokens"] = engine._tokens_out
        tell(number, **seen)
        return finished

    def settled(purse: Any, reserved: int, spent: int, purpose: str, kind: str = "kept") -> None:
        settle(purse, reserved, spent, purpose, kind)
        if purpose != mine[0] and kind == "kept":
            seen["others" if purpose in ("policy", "reviser") else "scores"] += spent
            tell(number, **seen)

    solver.SolverReplica.__init__ = made
    LocalEngine._step = stepped  # type: ignore[method-assign]
    Purse.settle = settled  # type: ignore[method-assign]


class Finder(importlib.abc.MetaPathFinder):
    """Watches the one module as it is imported, and finds nothing."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != WATCHED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def watched(module: ModuleType) -> None:
            run(module)
            watch(module)

        spec.loader.exec_module = watched  # type: ignore[method-assign]
        return spec


if "FAULTS_TALLY" in os.environ:
    sys.meta_path.insert(0, Finder())
