"""What was decided for one problem of a run, and at which price: read from the run's table of decisions.

It knows columns and files, nothing of plans. Invariant: of an outcome that was made again the newest decisions count, which
repeat those that stood.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds

from actors.errors import UserError
from actors.store.log import live_records, parts, reading
from orchestration.runs.run import Run

TABLE = "decisions"


@dataclass(frozen=True, slots=True)
class Step:
    """Where the prompt stood (a `cell` of a `stage`, from 0) and with what chance to be right; the `price` of that moment,
    the `option` it took (None: it stopped), what that was expected to gain, FLOPs paid, and what it took in FLOPs."""

    stage: str
    cell: int
    chance: float
    price: float
    option: str | None
    gain: float
    flops: int


@dataclass(frozen=True, slots=True)
class Decided:
    """One outcome of a problem, how it ended, and its decisions in their order."""

    strategy: str
    seed: int
    state: str
    correct: bool | None
    steps: tuple[Step, ...]


def decided(run: Run, problem: str) -> list[Decided]:
    """What was decided for a problem, by outcome. Raises UserError where nothing was."""
    by_key: dict[str, list[Step]] = {}
    for row in _rows(run.folder, problem):
        if row["index"] == 0:
            by_key[row["key"]] = []
        by_key.setdefault(row["key"], []).append(_step(row))
    if not by_key:
        mend = f"no strategy of {run.folder} went by a plan on it: flopwise show tells what the others did"
        raise UserError.of("problem", problem, mend)
    outcomes = {row["key"]: row for row in _outcomes(run, problem)}
    return [
        Decided(row["strategy"], row["seed"], row["state"], row["correct"], tuple(by_key[key]))
        for key, row in outcomes.items()
        if key in by_key
    ]


def _outcomes(run: Run, problem: str) -> Iterable[dict[str, Any]]:
    table = run.outcomes().select(["key", "problem_id", "strategy", "seed", "state", "correct"])
    found: list[dict[str, Any]] = table.filter(pc.field("problem_id") == problem).to_pylist()
    return found


def _rows(folder: Path, problem: str) -> Iterator[dict[str, Any]]:
    """In the order in which they were written."""
    # The log first: a segment that becomes a part meanwhile is then read twice, never missed.
    logged = [row for record in live_records(folder) for row in record.get(TABLE, ())]
    for part in parts(folder, TABLE):
        with reading(part):
            table = ds.dataset(part, format="parquet").to_table(filter=pc.field("problem_id") == problem)
        yield from table.to_pylist()
    yield from (row for row in logged if row["problem_id"] == problem)


def _step(row: dict[str, Any]) -> Step:
    names = ("stage", "cell", "chance", "price", "option", "gain")
    return Step(**{name: row[name] for name in names}, flops=int(row["flops"]))
