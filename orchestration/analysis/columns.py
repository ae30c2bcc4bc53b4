"""Columns of the problems' metadata that a report groups by: which value each problem has.

It knows metadata as JSON, nothing of outcomes. Invariant: every problem of the run is in one group of each column; those
without a value are a group of their own, and the last one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actors.errors import UserError, nearest
from orchestration.analysis.cells import Batches
from orchestration.analysis.places import Places

MOST_VALUES = 1_000
"""Values that a column may have: one that has more names problems and is no kind of them."""

NO_VALUE = "(none)"


@dataclass(frozen=True, slots=True)
class Column:
    """A column by its `values`, in order, and for each problem (P) the place of its value among them."""

    name: str
    values: list[str]
    places: NDArray[np.int64]


def read_columns(problems: Batches, places: Places, by: Sequence[str]) -> list[Column]:
    """The columns named, over the problems at `places`. UserError for one that no problem has or that has too many values."""
    names = list(dict.fromkeys(by))
    codes: list[dict[str, int]] = [{} for _ in names]
    found = np.full((len(names), len(places)), -1, dtype=np.int64)
    known: set[str] = set()
    for batch in problems(["problem_id", "metadata"]):
        at = places.of(batch["problem_id"]).tolist()
        for place, text in zip(at, batch["metadata"].to_pylist(), strict=True):
            metadata = json.loads(text)
            known |= metadata.keys()
            for row, name in enumerate(names):
                if place >= 0 and (value := text_of(metadata.get(name))) is not None:
                    found[row, place] = codes[row].setdefault(value, len(codes[row]))
                    _check_few(name, len(codes[row]))
    check_columns(names, known)
    return [_ordered(name, list(mine), each) for name, mine, each in zip(names, codes, found, strict=True)]


def check_columns(by: Sequence[str], known: Collection[str]) -> None:
    """Raise UserError for a column that is not among those of the problems."""
    for name in by:
        if name not in known:
            mend = f"no problem has such a column; they have {', '.join(sorted(known))}{nearest(name, known)}"
            if not known:
                mend = "the problems have no further columns; leave it out"
            raise UserError.of("report.by", name, mend)


def text_of(value: object) -> str | None:
    """A value as its group is called; None for one that is missing or blank. Numbers that are equal have one text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if text and value is not None and value == value else None


def _check_few(name: str, values: int) -> None:
    if values > MOST_VALUES:
        mend = f"it has more than {MOST_VALUES:,} values, which are no groups; name a column with fewer"
        raise UserError.of("report.by", name, mend)


def _ordered(name: str, values: list[str], codes: NDArray[np.int64]) -> Column:
    order = sorted(values, key=_natural)
    rank = np.array([order.index(value) for value in values], dtype=np.int64)
    places = np.full(len(codes), len(order))
    places[codes >= 0] = rank[codes[codes >= 0]]
    return Column(name, [*order, *([NO_VALUE] if (codes < 0).any() else [])], places)


def _natural(value: str) -> tuple[float, list[tuple[float, str]]]:
    """Numbers by their size, before texts, and in a text by their size too: level 9 stands before level 10."""
    number = float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else math.inf
    parts = re.split(r"(\d+)", value.casefold())
    return number, [(float(part), "") if part.isdecimal() else (math.inf, part) for part in parts]
