"""What was decided for one problem of a run, and at which price: read from the run's table of decisions.

It knows columns and files, nothing of plans. Invariant: of an outcome that was made again the newest decisions count, which
repeat those that stood.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from actors.errors import UserError
from actors.strategy import Decision
from orchestration.runs.run import Run


@dataclass(frozen=True, slots=True)
class Decided:
    """One outcome of a problem, how it ended, and its decisions in their order."""

    strategy: str
    seed: int
    state: str
    correct: bool | None
    steps: tuple[Decision, ...]


def decided(run: Run, problem: str) -> list[Decided]:
    """What was decided for a problem, by outcome. Raises UserError where nothing was."""
    by_key = run.decisions(problem=problem)
    if not by_key:
        mend = f"no strategy of {run.folder} went by a plan on it: flopwise show tells what the others did"
        raise UserError.of("problem", problem, mend)
    outcomes = {row["key"]: row for row in _outcomes(run, problem)}
    return [
        Decided(row["strategy"], row["seed"], row["state"], row["correct"], by_key[key])
        for key, row in outcomes.items()
        if key in by_key
    ]


def _outcomes(run: Run, problem: str) -> Iterable[dict[str, Any]]:
    table = run.outcomes().select(["key", "problem_id", "strategy", "seed", "state", "correct"])
    found: list[dict[str, Any]] = table.filter(pc.field("problem_id") == problem).to_pylist()
    return found
