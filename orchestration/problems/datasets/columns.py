"""Which columns of a table hold what, by the names or places that a user gives them.

It knows nothing of rows. Invariant: a column that no row can have is refused before one is read.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from actors.errors import UserError, nearest
from orchestration.problems.datasets.places import OR, column_of, options, well_formed

AUTO = "auto"
"""For the column of ids: `id` where it names every problem, else none."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column holds what, or which place in it (`datasets.places`); `A|B` is the first that a row has.

    Without `answer` (None) and `tests` the problems have no labels; without `id` ids are made from the content. A table knows
    no `AUTO`: it takes the column called id, or none. `choices` holds what a question is to be answered from; `tests`,
    `setup`, `entry_point` and `program` what programs are judged by (`datasets.asking`).
    """

    question: str = "question"
    answer: str | None = "answer"
    id: str | None = AUTO
    choices: str | None = None
    tests: str | None = None
    setup: str | None = None
    entry_point: str | None = None
    program: str | None = None

    @property
    def labels(self) -> bool:
        """Whether there is a column that answers are judged by."""
        return self.answer is not None or self.tests is not None

    def places(self) -> dict[str, str]:
        """The places that are named, by what they hold."""
        named = ((one.name, getattr(self, one.name)) for one in fields(self))
        return {name: place for name, place in named if place is not None and place != AUTO}

    def names(self, known: Collection[str] = ()) -> tuple[str, ...]:
        """The columns in which they lie."""
        found = (
            column_of(one, known) for place in self.places().values() for one in options(place) if one != AUTO
        )
        return tuple(dict.fromkeys(found))


def known_places(columns: Columns, known: set[str], path: Path) -> Columns:
    """The columns with those places alone that a file may have, of whose columns some are known. Raises UserError where it
    has none of them."""
    found: dict[str, Any] = {}
    for which, place in columns.places().items():
        if place in known:
            continue
        if not well_formed(place):
            mend = "write column, column.name or column.name[0]"
            raise UserError.of(f"dataset.columns.{which}", place, mend)
        there = [one for one in options(place) if one == AUTO or column_of(one, known) in known]
        if not there and which == "answer" and columns.tests is not None and place == Columns().answer:
            # Tests judge, and nobody named a column of answers.
            found[which] = None
            continue
        if not there:
            error = no_column(f"dataset.columns.{which}", place, path, known)
            if which == "answer":
                error = UserError(f"{error}; null where there are no answers")
            raise error
        found[which] = AUTO if there[0] == AUTO else OR.join(one for one in there if one != AUTO)
    return replace(columns, **found)


def no_column(setting: str, name: str, path: Path, known: Collection[str]) -> UserError:
    """What is to be said of a column that a file does not have."""
    mend = f"{path.name} has no such column; it has {', '.join(sorted(known))}{nearest(name, known, 0.75)}"
    return UserError.of(setting, name, mend)
