"""The problems of a run on disk, so that its folder can be read without their source.

It knows columns and files, nothing of outcomes. Invariant: a problem is stored once, before anything is asked about it, and
what is under its id never changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from actors.errors import UserError
from actors.store.log import number_of, numbered, reading
from actors.store.writer import write_part
from orchestration.problems import Problem
from orchestration.runs.folder import shortened, writing
from orchestration.runs.identity import problem_hash

PROBLEMS = pa.schema(
    [
        ("problem_id", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("metadata", pa.string()),
        ("prompt_tokens", pa.int32()),
    ]
)


def stored_problems(folder: Path) -> dict[str, str]:
    """Hash of every problem that a run folder holds, by its id."""
    columns = ["problem_id", "question", "answer"]
    found: dict[str, str] = {}
    for part in problem_parts(folder / "problems"):
        with reading(part):
            rows = pq.read_table(part, columns=columns)
        for one, question, answer in zip(*(rows[name].to_pylist() for name in columns), strict=True):
            found[one] = problem_hash(Problem(one, question, answer))
    return found


def check_unchanged(folder: Path, old: Problem, new: Problem) -> None:
    """Raise UserError, with the difference, where a problem is not what the run in `folder` holds under its id: its old
    outcomes and its new ones could not stand in one table."""
    for name in ("question", "answer"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            mend = f"its {name} was {shortened(before)} in {folder} and is {shortened(after)}; choose another folder=..."
            raise UserError.of("dataset problem", new.id, mend)


class ProblemStore:
    """The problems of a run, written by the driver as they stream by, so that the folder can be read without
    their source.

    Parts are written before their problems are queued; a problem is stored once, also over resumes.
    """

    def __init__(self, folder: Path) -> None:
        self._run, self._folder = folder, folder / "problems"
        with writing(folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._known = set(stored_problems(folder))
        self._next = 1 + max(map(number_of, problem_parts(self._folder)), default=0)

    def store(self, batch: Iterable[tuple[Problem, int]]) -> None:
        """Write those of (problem, prompt's length in tokens) that are not there yet."""
        fresh = {one.id: (one, tokens) for one, tokens in batch if one.id not in self._known}
        rows = [
            {
                "problem_id": problem.id,
                "question": problem.question,
                "answer": problem.answer,
                "metadata": json.dumps(problem.metadata, ensure_ascii=False),
                "prompt_tokens": tokens,
            }
            for problem, tokens in fresh.values()
        ]
        if not rows:
            return
        part = self._folder / f"part-{self._next:06d}.parquet"
        with writing(self._run):
            # Outcomes of these problems will be durable: so must they be before.
            write_part(pa.Table.from_pylist(rows, schema=PROBLEMS), part)
        self._next += 1
        self._known.update(fresh)


def problem_parts(folder: Path) -> list[Path]:
    """The parts that the problems stand in, oldest first; `folder` is that of the problems alone."""
    return numbered(folder, "part-*.parquet")
