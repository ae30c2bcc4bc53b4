"""Rows of a text file: JSON lines, JSON documents (a list of objects, pretty-printed or not), CSV; each plain or gzipped, in
UTF-8, UTF-16 or UTF-32.

It knows nothing of questions and answers. Invariant: each row comes as a dict or as the reason why it is none, in file order;
a file that cannot be read further is a UserError that names it.
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from actors.errors import UserError

_TEXTS = (".jsonl", ".json", ".csv", ".tsv")

SUFFIXES = (*_TEXTS, *(f"{suffix}.gz" for suffix in _TEXTS), ".parquet")
"""How files that can be read end, in small letters."""

KINDS = ".jsonl, .json, .csv or .tsv (each may be followed by .gz), or .parquet"

_SEPARATORS = ",;\t"
"""Between the cells of a CSV file: spreadsheets write what the language of their user has."""

Why = tuple[str, str]
"""Why a line is no row: a reason and a detail."""


def readable(path: Path) -> bool:
    """Whether a file has one of the names that can be read."""
    return path.name.lower().endswith(SUFFIXES)


def text_rows(path: Path) -> Iterator[dict[str, Any] | Why]:
    """Yield the rows of a text file. Raises UserError where it cannot be read to its end."""
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    with _damage(path), _opened(path) as file:
        head = file.read(4)
        file.seek(0)
        encoding = json.detect_encoding(head)
        if kind in ("csv", "tsv"):
            yield from _csv_rows(path, file, encoding, "\t" if kind == "tsv" else _SEPARATORS)
        elif kind == "json" or (rows := _document(file, encoding)) is None:
            yield from _lines(file, encoding) if kind == "jsonl" else _values(path, file, encoding)
        else:
            yield from rows


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        yield file  # type: ignore[misc]


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn what reading meets into a UserError."""
    try:
        yield
    except UnicodeDecodeError as error:
        mend = f"it is not {error.encoding.upper()} to its end: write it as UTF-8"
        raise UserError.of("dataset.path", str(path), mend) from None
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise UserError.of("dataset.path", str(path), f"it is damaged: {error}") from None


def _lines(file: IO[bytes], encoding: str) -> Iterator[dict[str, Any] | Why]:
    """A JSON object a line."""
    # Not pyarrow's JSON reader: one broken line would end the whole file.
    narrow = encoding.startswith("utf-8")
    lines: Iterator[str | bytes] = iter(file) if narrow else io.TextIOWrapper(file, encoding, newline="\n")
    for line in lines:
        if not line.strip():
            continue
        try:
            # json.loads would guess another encoding from its bytes, and complain of that one.
            row = json.loads(line.decode("utf-8-sig") if isinstance(line, bytes) else line)
        except UnicodeDecodeError as error:
            yield "not UTF-8", f"byte {error.object[error.start]:#04x}, column {error.start + 1}"
            continue
        except json.JSONDecodeError as error:
            yield "not JSON", f"{error.msg}, column {error.colno}"
            continue
        except (ValueError, RecursionError) as error:
            yield "not JSON", str(error)
            continue
        yield _object(row)


def _object(row: object) -> dict[str, Any] | Why:
    return row if isinstance(row, dict) else ("not a JSON object", f"it is {kind_of(row)}")


def _document(file: IO[bytes], encoding: str) -> list[dict[str, Any] | Why] | None:
    """The rows of a file of JSON lines that is one JSON document instead: a list, or over several lines; None where it is of
    lines."""
    first = next(
        (line for line in iter(file.readline, b"") if line.strip(b" \t\r\n\0\xff\xfe\xef\xbb\xbf")), b""
    )
    start = first.replace(b"\0", b"").strip(b" \t\r\n\xff\xfe\xef\xbb\xbf")
    file.seek(0)
    if start != b"{" and not start.startswith(b"["):
        return None
    try:
        found = json.loads(file.read().decode(encoding))
    except (ValueError, RecursionError):
        return None
    finally:
        file.seek(0)
    return _rows_in(found)


def _values(path: Path, file: IO[bytes], encoding: str) -> Iterator[dict[str, Any] | Why]:
    """The rows of one JSON document, or of several that follow one another."""
    text, place, decoder = file.read().decode(encoding), 0, json.JSONDecoder()
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        try:
            found, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise UserError.of("dataset.path", str(path), f"not JSON: {error}") from None
        yield from _rows_in(found)


def _rows_in(found: object) -> list[dict[str, Any] | Why]:
    """The rows of a JSON value: a list's items, those of the one list that an object names, or the object itself."""
    if isinstance(found, dict) and len(found) == 1:
        (inner,) = found.values()
        found = inner if isinstance(inner, list) and inner and isinstance(inner[0], dict) else found
    return [_object(row) for row in found] if isinstance(found, list) else [_object(found)]


def _csv_rows(path: Path, file: IO[bytes], encoding: str, separators: str) -> Iterator[dict[str, Any] | Why]:
    """The rows below a line of names. An empty cell is nothing, and an empty line no row; a row with other cells than there
    are names is none, for a comma that is not in quotes would move an answer, and so is one of empty cells."""
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    narrow = encoding.startswith("utf-8")
    text = io.TextIOWrapper(file, encoding, errors="surrogateescape" if narrow else "strict", newline="")
    csv.field_size_limit(sys.maxsize)
    start = text.readline()
    while start and not start.strip():
        start = text.readline()
    # Those names that part into the most columns are meant.
    separator = max(separators, key=lambda one: len(next(csv.reader([start], delimiter=one), [])))
    reader = csv.reader(itertools.chain([start], text), delimiter=separator)
    names = [name.strip() for name in next(reader, [])]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError.of(
            "dataset.path", str(path), f"two of its columns are called {twice[0]!r}: rename one"
        )
    for cells in reader:
        if not any(cell.strip() for cell in cells[:1]) and len(cells) < 2:
            continue
        if not any(cell.strip() for cell in cells):
            yield "an empty row", f"all of its {len(cells)} cells are empty"
            continue
        wrong = next((letter for cell in cells for letter in cell if "\udc80" <= letter <= "\udcff"), None)
        if wrong is not None:
            yield "not UTF-8", f"byte {ord(wrong) - 0xDC00:#04x}"
        elif len(cells) != len(names):
            yield (
                "other cells than columns",
                f"{len(cells)} for {len(names)}: a text with a {separator!r} needs quotes",
            )
        else:
            yield {name: cell if cell.strip() else None for name, cell in zip(names, cells, strict=True)}


def kind_of(value: object) -> str:
    """What a JSON value is, for people."""
    if value is None:
        return "missing"
    kinds = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    if isinstance(value, str) and not value.strip():
        return "empty"
    return kinds.get(type(value), f"a {type(value).__name__}")
