"""What tests of the scheduler ask of a cell: tasks for it, and what its folder says afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from actors.store.log import read_books
from actors.strategy import Strategy
from actors.work import Task
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.search.beam import Beam
from tests.support.inprocess import Cell
from tests.support.tiny import make_task

STRATEGIES: tuple[Strategy, ...] = (Greedy(), Majority(3), BestOfN(3), Beam(4, 2))


def tasks(count: int, *strategies: Strategy) -> list[Task]:
    return [make_task(number, strategies or STRATEGIES) for number in range(count)]


def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    return [row for part in sorted((folder / name).iterdir()) for row in pq.read_table(part).to_pylist()]


def outcomes_by_key(folder: Path) -> dict[str, Any]:
    """By key: how it ended, and the tokens of each candidate. Fails where a key ended twice."""
    outcomes = rows_of(folder, "outcomes")
    assert len({row["key"] for row in outcomes}) == len(outcomes), "an outcome stands there twice"
    drawn: dict[str, list[Any]] = {row["key"]: [] for row in outcomes}
    for row in rows_of(folder, "candidates"):
        tree = (row["kept"], row["parent"], row["depth"])
        drawn[row["key"]].append((row["index"], row["token_ids"], *tree, row["answer"]))
    return {r["key"]: (r["state"], r["answer"], r["correct"], sorted(drawn[r["key"]])) for r in outcomes}


def keys(work: list[Task]) -> set[str]:
    return {key for task in work for key in task.keys}


def books(folder: Path) -> dict[str, int]:
    spent, wasted = read_books(folder)
    return {"spent": spent, "wasted": wasted}


MakeCell = Callable[..., Cell]
