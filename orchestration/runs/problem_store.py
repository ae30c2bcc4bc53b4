"""The problems of a run on disk, so that its folder can be read without their source.

It knows columns and files, nothing of outcomes. Invariant: a problem is stored once, before anything is asked about it, and
what is under its id never changes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.errors import UserError
from actors.store.digests import DigestMap
from actors.store.done import BATCH
from actors.store.log import number_of, numbered, reading
from actors.store.writer import write_part
from orchestration.problems import Problem
from orchestration.problems.problem import content_id
from orchestration.runs.folder import shortened, writing
from orchestration.runs.identity import content_hash

PROBLEMS = pa.schema(
    [
        ("problem_id", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("metadata", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("content", pa.uint64()),
        ("prompt", pa.string()),
    ]
)
"""`content` is a hash of all that is asked and judged by, prompt included; `prompt` is the text of what the policy was given,
special tokens and all, for people. Parts of earlier versions have none of them."""


def stored_problems(folder: Path) -> DigestMap:
    """What every problem of a run folder says, as `content_hash`, by its id."""
    found = DigestMap()
    for part in problem_parts(folder / "problems"):
        with reading(part):
            for batch in pq.ParquetFile(part).iter_batches(BATCH, columns=["problem_id", "content"]):
                columns = (batch[name].to_pylist() for name in ("problem_id", "content"))
                for one, content in zip(*columns, strict=True):
                    found[one] = content
    return found


def edited(folder: Path, new: Problem) -> UserError:
    """What is to be said of a problem that is not what the run in `folder` holds under its id: old outcomes and new ones
    could not stand in one table."""
    old = stored_problem(folder, new.id)
    what = "the tokens of its prompt, or what its answers are judged by, are not those of before"
    for name in ("question", "answer"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            what = f"its {name} was {shortened(before)} in {folder} and is {shortened(after)}"
    mend = f"{what}; choose another folder=..., with reuse=[{folder}] nothing is drawn twice"
    return UserError.of("dataset problem", new.id, mend)


def stored_problem(folder: Path, problem_id: str) -> Problem | None:
    """A problem of a run folder, None where there is none of this id."""
    for part in problem_parts(folder / "problems"):
        with reading(part):
            rows = pq.read_table(part, schema=PROBLEMS, filters=pc.field("problem_id") == problem_id)
        for row in rows.to_pylist():
            metadata = json.loads(row["metadata"])
            return Problem(row["problem_id"], row["question"], row["answer"], None, metadata)
    return None


def named_by_content(folder: Path) -> bool | None:
    """Whether the problems of a run folder have names that were made from their content, as the first of them says; None:
    there is none."""
    for part in problem_parts(folder / "problems"):
        with reading(part):
            for batch in pq.ParquetFile(part).iter_batches(1, columns=["problem_id", "question"]):
                (row,) = batch.to_pylist()
                return bool(row["problem_id"] == content_id("row", row["question"]))
    return None


def stored_columns(folder: Path) -> set[str]:
    """The names in the metadata of a run folder's problems."""
    found: set[str] = set()
    for part in problem_parts(folder / "problems"):
        with reading(part):
            for batch in pq.ParquetFile(part).iter_batches(BATCH, columns=["metadata"]):
                found.update(*map(json.loads, batch["metadata"].to_pylist()))
    return found


def stored_prompt(folder: Path, problem_id: str) -> tuple[int, str | None]:
    """How many tokens a problem's prompt has, and its text; None where an earlier version stored it."""
    for part in problem_parts(folder / "problems"):
        with reading(part):
            rows = pq.read_table(part, schema=PROBLEMS, filters=pc.field("problem_id") == problem_id)
        for row in rows.to_pylist():
            return row["prompt_tokens"], row["prompt"]
    raise KeyError(problem_id)


class ProblemStore:
    """The problems of a run, written by the driver as they stream by, so that the folder can be read without
    their source.

    Parts are written before their problems are queued; a problem is stored once, also over resumes. `known` is what
    `stored_problems` finds there.
    """

    def __init__(self, folder: Path, known: DigestMap) -> None:
        self._run, self._folder, self._known = folder, folder / "problems", known
        with writing(folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        self._next = 1 + max(map(number_of, problem_parts(self._folder)), default=0)

    def content(self, problem_id: str) -> int | None:
        """What is stored of a problem, as `content_hash`; None: nothing yet."""
        return self._known.get(problem_id)

    def store(
        self,
        batch: Iterable[tuple[Problem, Sequence[int]]],
        text_of: Callable[[Sequence[int]], str | None] = lambda _: None,
    ) -> list[int]:
        """Write those of (problem, token ids of its prompt) that are not there yet; return what each says, as `content_hash`.
        `text_of` makes a prompt's ids readable.

        Raises UserError for one that is there and said something else.
        """
        contents: list[int] = []
        fresh: dict[str, int] = {}
        rows = []
        for problem, prompt in batch:
            content = content_hash(problem, prompt)
            contents.append(content)
            known = fresh.get(problem.id, self._known.get(problem.id))
            if known is not None:
                if known != content:
                    raise edited(self._run, problem)
                continue
            fresh[problem.id] = content
            rows.append(
                {
                    "problem_id": problem.id,
                    "question": problem.question,
                    "answer": problem.answer,
                    "metadata": json.dumps(problem.metadata, ensure_ascii=False),
                    "prompt_tokens": len(prompt),
                    "content": content,
                    "prompt": text_of(prompt),
                }
            )
        if rows:
            part = self._folder / f"part-{self._next:06d}.parquet"
            with writing(self._run):
                # Outcomes of these problems will be durable: so must they be before.
                write_part(pa.Table.from_pylist(rows, schema=PROBLEMS), part)
            self._next += 1
            for problem_id, content in fresh.items():
                self._known[problem_id] = content
        return contents


def problem_parts(folder: Path) -> list[Path]:
    """The parts that the problems stand in, oldest first; `folder` is that of the problems alone."""
    return numbered(folder, "part-*.parquet")
