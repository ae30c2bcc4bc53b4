"""Problems from a user's own table: JSON lines or Parquet, streamed, with columns under any names.

It knows nothing of prompts or grading. Invariant: every row is either one Problem or one Quarantined with its
reason, in file order; a broken row never ends the stream and never passes for a problem.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from actors.errors import UserError, nearest
from orchestration.problems.problem import Problem, content_id, text_hash

_BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row that is no problem: its place among the file's non-empty rows from 0, and why."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what.

    Without `answer` (None) the problems have no labels; without `id` ids are made from the content.
    """

    question: str = "question"
    answer: str | None = "answer"
    id: str | None = None

    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (self.question, self.answer, self.id) if name is not None)


@dataclass(frozen=True, slots=True)
class Table:
    """A `.jsonl` or `.parquet` file as a dataset; at most `count` problems where that is given.

    Checked on creation: the file exists, has rows and the named columns, else UserError. Memory: one batch of
    rows, and 8 bytes per id already given.
    """

    path: Path
    columns: Columns = Columns()
    count: int | None = None

    def __post_init__(self) -> None:
        if not self.path.is_file():
            siblings = [str(p) for p in self.path.parent.glob("*") if p.suffix in (".jsonl", ".parquet")]
            hint = nearest(str(self.path), siblings)
            raise UserError.of("dataset.path", str(self.path), f"there is no such file{hint}")
        if self.path.suffix not in (".jsonl", ".parquet"):
            raise UserError.of("dataset.path", str(self.path), "the file must end in .jsonl or .parquet")
        if self.count is not None and self.count < 1:
            raise UserError.of("dataset.count", self.count, "it must be at least 1, or null for all")
        known = self._known_columns()
        for name in self.columns.names():
            if name not in known:
                field = next(f for f in ("question", "answer", "id") if getattr(self.columns, f) == name)
                mend = f"{self.path.name} has {', '.join(sorted(known))}{nearest(name, known)}"
                raise UserError.of(f"dataset.columns.{field}", name, mend)

    @property
    def description(self) -> str:
        limit = "" if self.count is None else f", the first {self.count:,}"
        labels = "" if self.columns.answer else ", without answers"
        return f"{self.path}{limit}{labels}"

    def __iter__(self) -> Iterator[Problem]:
        return (row for row in self.rows() if isinstance(row, Problem))

    def rows(self) -> Iterator[Problem | Quarantined]:
        """Yield every row as a Problem or as a Quarantined, stopping after `count` problems."""
        ids: set[int] = set()
        for number, row in enumerate(self._raw_rows()):
            result = row if isinstance(row, str) else self._read(row)
            if isinstance(result, str):
                yield Quarantined(number, result)
            elif (key := text_hash(result.id)) in ids:
                yield Quarantined(number, f"id {result.id!r} stands in an earlier row")
            else:
                ids.add(key)
                yield result
                if len(ids) == self.count:
                    return

    def _read(self, row: dict[str, Any]) -> Problem | str:
        """Return the row's problem, or the reason why it is none."""
        question = row.get(self.columns.question)
        if not isinstance(question, str) or not question.strip():
            return f"{self.columns.question!r} is not a text or is empty"
        answer: str | None = None
        if self.columns.answer is not None and (value := row.get(self.columns.answer)) is not None:
            # A JSON number is as good as its text; a truth value or a list is a mistake.
            if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
                return f"{self.columns.answer!r} is neither a text nor a number"
            answer = str(value).strip()
            if not answer:
                return f"{self.columns.answer!r} is empty"
        if self.columns.id is None:
            return Problem(content_id(self.path.stem, question), question, answer)
        identity = row.get(self.columns.id)
        if isinstance(identity, bool) or not isinstance(identity, str | int) or not str(identity).strip():
            return f"{self.columns.id!r} is neither a text nor a whole number"
        return Problem(str(identity), question, answer)

    def _raw_rows(self) -> Iterator[dict[str, Any] | str]:
        """Yield rows as dicts, or as the reason why a line is no row."""
        if self.path.suffix == ".parquet":
            file = self._parquet()
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(self.columns.names())):
                yield from batch.to_pylist()
            return
        # Not pyarrow's JSON reader: one broken line would end the whole file.
        with self.path.open("rb") as lines:
            for line in lines:
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    yield f"not JSON: {error}"
                    continue
                yield row if isinstance(row, dict) else "not a JSON object"

    def _known_columns(self) -> set[str]:
        if self.path.suffix == ".parquet":
            file = self._parquet()
            if file.metadata.num_rows == 0:
                raise UserError.of("dataset.path", str(self.path), "the file has no rows")
            return set(file.schema_arrow.names)
        known: set[str] = set()
        empty = True
        for number, row in enumerate(self._raw_rows()):
            empty = False
            if isinstance(row, dict):
                known |= set(row)
            # Optional columns may first appear late: look at a good part, not at a file of any size.
            if number >= _BATCH_ROWS and set(self.columns.names()) <= known:
                break
        if empty:
            raise UserError.of("dataset.path", str(self.path), "the file has no rows")
        if not known:
            raise UserError.of("dataset.path", str(self.path), "no line of it is a JSON object")
        return known

    def _parquet(self) -> Any:
        import pyarrow
        import pyarrow.parquet

        try:
            return pyarrow.parquet.ParquetFile(self.path)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise UserError.of("dataset.path", str(self.path), f"not a Parquet file: {error}") from None
