"""Problems from a user's own table: JSON lines, JSON, CSV or Parquet, streamed, with columns under any names; further columns
are kept as the problems' metadata.

It knows nothing of prompts or grading. Invariant: every row is either one Problem or one Quarantined with its
reason, in file order; a broken row never ends the stream and never passes for a problem.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from actors.errors import UserError, nearest
from actors.store.digests import DigestMap
from orchestration.problems.datasets.asking import QUESTION, Asked, ask, check_template, chosen
from orchestration.problems.datasets.columns import AUTO, Columns, known_places
from orchestration.problems.datasets.files import KINDS, Why, kind_of, readable, text_rows
from orchestration.problems.datasets.metadata import dates_as_texts, kept_columns, metadata_of
from orchestration.problems.datasets.places import value_at
from orchestration.problems.problem import Problem, content_id, text_hash

_ID = "id"
_BATCH_ROWS = 1024


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A row that holds no problem: its place among the file's non-empty rows from 0, and why: a `reason` that many rows may
    share, and what is particular to this one.
    """

    row: int
    reason: str
    detail: str = ""

    @property
    def text(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


_USUAL = Columns()


@dataclass(frozen=True, slots=True)
class Table:
    """A file as a dataset (`files.KINDS`); at most `count` problems where that is given.

    Checked on creation: the file exists, has rows and the named columns, else UserError. A question counts once,
    whatever ids it has: asked twice it would weigh twice. Ids that are made come from questions alone, wherever the file
    lies. Memory: one batch of rows, and 24 bytes for each id and question.
    """

    path: Path
    columns: Columns = _USUAL
    count: int | None = None
    unread: Callable[[str], str] | None = None
    """Says of a reference why it can be of no use, "" where it is."""
    template: str = QUESTION
    """How a row is asked: `{question}`, and where there are such columns `{choices}` and `{tests}`."""
    note: str = field(default="", init=False, compare=False)
    """Why a column that is called id names no problems; empty where it does, or is not there."""

    def __post_init__(self) -> None:
        self._check_path()
        if self.count is not None and self.count < 1:
            raise UserError.of("dataset.count", self.count, "it must be at least 1, or null for all")
        check_template(self.template, self.columns)
        known = self.known_columns(self.columns.names())
        object.__setattr__(self, "columns", known_places(self.columns, known, self.path))
        if self.columns.id == AUTO:
            there = _ID in known and _ID not in self.columns.names()
            why = self._names_nothing() if there else ""
            object.__setattr__(self, "columns", replace(self.columns, id=_ID if there and not why else None))
            object.__setattr__(self, "note", why)

    @property
    def description(self) -> str:
        limit = "" if self.count is None else f", the first {self.count:,}"
        labels = "" if self.columns.labels else ", without answers"
        return f"{self.path}{limit}{labels}"

    @property
    def identity(self) -> dict[str, Any]:
        """Nothing but its kind: which problems are in it, and what they say, is told by themselves."""
        return {"source": "Table"}

    def __iter__(self) -> Iterator[Problem]:
        return (row for row in self.rows() if isinstance(row, Problem))

    def rows(self) -> Iterator[Problem | Quarantined]:
        """Yield every row as a Problem or as a Quarantined, stopping after `count` problems."""
        seen = DigestMap()
        problems = 0
        for number, row in enumerate(self.raw_rows()):
            result = self._read(row) if isinstance(row, dict) else row
            if not isinstance(result, Problem):
                yield Quarantined(number, *result)
            elif (
                self.unread is not None
                and (reference := result.reference or result.answer) is not None
                and (unread := self.unread(reference))
            ):
                yield Quarantined(number, "the answer is none that the grader reads", unread)
            elif why := self._repeats(result, number, seen):
                yield Quarantined(number, *why)
            else:
                yield result
                problems += 1
                if problems == self.count:
                    return

    def _repeats(self, problem: Problem, row: int, seen: DigestMap) -> Why | None:
        """Why a problem stands in an earlier row already; if it does not, its question and id are put into `seen`."""
        keys = {"question": f"question {problem.question.strip()}"}
        if self.columns.id is not None:
            keys["id"] = f"id {problem.id}"
        for name, key in keys.items():
            if (earlier := seen.get(key)) is not None:
                what = f"id {problem.id!r}" if name == "id" else "the question"
                return f"{name} given twice", f"{what} stands in row {earlier} already"
        for key in keys.values():
            seen[key] = row
        return None

    def named_by(self, column: str | None) -> Table:
        """The same table with its problems named by a column; None: by their content."""
        return replace(self, columns=replace(self.columns, id=column))

    def _names_nothing(self) -> str:
        """Why the column called id does not name each problem: it is empty somewhere, or says the same of two questions."""
        seen = DigestMap()
        for number, row in enumerate(self.raw_rows()):
            found = ask(row, self.columns, self.template) if isinstance(row, dict) else None
            if not isinstance(row, dict) or not isinstance(found, Asked):
                continue
            question = found.text
            identity = row.get(_ID)
            why = ""
            if not _is_id(identity):
                why = f"in row {number} it is {kind_of(identity)}"
            elif _is_text(str(identity)) and _is_text(question):
                asked = text_hash(question.strip())
                if seen.get(str(identity)) not in (None, asked):
                    why = f"{str(identity)!r} is given to two questions, again in row {number}"
                seen[str(identity)] = asked
            if why:
                return (
                    f"column {_ID!r} of {self.path.name} does not name the problems ({why}): their names are made from the "
                    f"content; dataset.columns.id={_ID} takes it all the same, and skips such rows"
                )
        return ""

    def _read(self, row: dict[str, Any]) -> Problem | Why:
        """Return the row's problem, or why it is none."""
        asked = ask(row, self.columns, self.template)
        if not isinstance(asked, Asked):
            return asked
        answer = None if self.columns.answer is None else reference_in(row, self.columns.answer)
        if isinstance(answer, tuple):
            return answer
        if asked.choices is not None and answer is not None and (why := chosen(asked.choices, answer)):
            return why
        if self.columns.id is None:
            identity: Any = content_id("row", asked.text) if _is_text(asked.text) else ""
        else:
            identity = value_at(row, self.columns.id)
            if not _is_id(identity):
                return (
                    "the id is neither a text nor a whole number",
                    f"{self.columns.id!r} is {kind_of(identity)}",
                )
        for name, text in (("question", asked.text), ("answer", answer or ""), ("id", str(identity))):
            if not _is_text(text):
                return "characters that no text may hold", f"the {name} has half of a surrogate pair"
        metadata = metadata_of(row, self.columns.names(row))
        if asked.tests is None:
            return Problem(str(identity), asked.text, answer, metadata=metadata)
        # People read the tests, a grader what they are part of.
        answer = asked.tests.shown if answer is None else answer
        return Problem(str(identity), asked.text, answer, metadata=metadata, reference=asked.tests.reference)

    def raw_rows(self) -> Iterator[dict[str, Any] | Why]:
        """Every row as it stands, as a dict, or the reason and detail why it is none."""
        if self.path.suffix.lower() == ".parquet":
            yield from self._parquet_rows()
            return
        yield from text_rows(self.path)

    def _parquet_rows(self) -> Iterator[dict[str, Any]]:
        import pyarrow

        file = self._parquet()
        own = self.columns.names(file.schema_arrow.names)
        columns = kept_columns(file.schema_arrow, own)
        try:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                yield from dates_as_texts(_shortest(batch), own).to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            # Unlike a broken line, a broken page says nothing of where the next row begins.
            raise UserError.of("dataset.path", str(self.path), f"damaged Parquet file: {error}") from None

    def _check_path(self) -> None:
        try:
            is_file, is_folder = self.path.is_file(), self.path.is_dir()
            folder = self.path if is_folder else self.path.parent
            siblings = [str(path) for path in folder.glob("*") if readable(path)]
            if is_file:
                self.path.open("rb").close()
        except PermissionError:
            raise UserError.of("dataset.path", str(self.path), "you may not read it") from None
        if is_folder:
            hint = f", e.g. {min(siblings)}" if siblings else ""
            raise UserError.of("dataset.path", str(self.path), f"it is a folder; name a file in it{hint}")
        if not is_file:
            hint = nearest(str(self.path), siblings)
            raise UserError.of("dataset.path", str(self.path), f"there is no such file{hint}")
        if not readable(self.path):
            raise UserError.of("dataset.path", str(self.path), f"the file must end in {KINDS}")

    def known_columns(self, wanted: Collection[str]) -> set[str]:
        """The names of its columns; of a text file those in a good part of it, and where one of `wanted` is not there, in
        all of it."""
        if self.path.suffix.lower() == ".parquet":
            file = self._parquet()
            if file.metadata.num_rows == 0:
                raise UserError.of("dataset.path", str(self.path), "the file has no rows")
            return set(file.schema_arrow.names)
        known: set[str] = set()
        empty = True
        for number, row in enumerate(self.raw_rows()):
            empty = False
            if isinstance(row, dict):
                known |= set(row)
            # Optional columns may first appear late: look at a good part, not at a file of any size.
            if number >= _BATCH_ROWS and set(wanted) <= known:
                break
        if empty:
            raise UserError.of("dataset.path", str(self.path), "the file has no rows")
        if not known:
            raise UserError.of("dataset.path", str(self.path), "no row of it is an object")
        return known

    def _parquet(self) -> Any:
        import pyarrow
        import pyarrow.parquet

        try:
            return pyarrow.parquet.ParquetFile(self.path)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise UserError.of("dataset.path", str(self.path), f"not a Parquet file: {error}") from None


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and bool(str(value).strip())


def reference_in(row: Mapping[str, Any], column: str) -> str | Why | None:
    """A row's reference as text, None where there is none, or why the column holds no reference."""
    value = value_at(row, column)
    # Tables that know no null write NaN, the one value that is not itself.
    if value is None or value != value:
        return None
    # A JSON number is as good as its text; a truth value or a list is a mistake.
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return "the answer is neither a text nor a number", f"{column!r} is {kind_of(value)}"
    answer = _written(value).strip()
    return answer or ("the answer is empty", f"{column!r}; null or nothing says that there is none")


def _written(value: str | int | float | Decimal) -> str:
    """A number as people write it: an exponent is no digit of an answer."""
    text = str(value)
    if isinstance(value, float | Decimal) and "e" in text.casefold():
        return format(Decimal(text), "f")
    return text


def _shortest(batch: Any) -> Any:
    """The batch with floats of 32 and 16 bits as their shortest texts: 0.1 is no 0.10000000149011612."""
    import pyarrow

    for place, told in enumerate(batch.schema):
        if pyarrow.types.is_float32(told.type) or pyarrow.types.is_float16(told.type):
            column = batch.column(place)
            numbers = column.to_numpy(zero_copy_only=False)
            missing = column.is_null().to_pylist()
            texts = [None if none else str(one) for one, none in zip(numbers, missing, strict=True)]
            floats = pyarrow.array([None if one is None else float(one) for one in texts], pyarrow.float64())
            batch = batch.set_column(place, told.name, floats)
    return batch


def _is_text(text: str) -> bool:
    """Whether it can be written as UTF-8; JSON's escapes can make strings that cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
