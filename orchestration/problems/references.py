"""What is to be said of a table's references before a model runs: which rows have none, and which are compared as bare text.

It knows a grader, nothing of how rows are read. Invariant: whatever it counts was looked at by the grader that will judge.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.errors import counted
from orchestration.problems.graders.grader import Grader
from orchestration.problems.graders.numbers import number_of

MOST_PARSED = 300
"""References that look like an expression and are given to a parser for it: some milliseconds each. Others are taken for
one."""

_NAMED = 5


class References:
    """Counts references as their rows pass; `labels` says whether the table has a column of them."""

    def __init__(self, grader: Grader, *, labels: bool = True) -> None:
        self._grader, self._labels = grader, labels
        self._parsed = self._given = 0
        self._none: list[int] = []
        self._bare: list[int] = []

    def look(self, row: int, reference: str | None) -> None:
        """Count the reference of a row, one that its grader reads."""
        if reference is None:
            self._none.append(row)
            return
        self._given += 1
        bare = self._grader.as_text(reference, parse=False)
        if not bare and self._parsed < MOST_PARSED and number_of(reference) is None:
            self._parsed += 1
            bare = self._grader.as_text(reference)
        if bare:
            self._bare.append(row)

    def notes(self) -> list[str]:
        """What a reader should know of them, in sentences."""
        found = []
        if self._bare:
            are = "is" if len(self._bare) == 1 else "are"
            share = f"{len(self._bare):,} of {counted(self._given, 'reference')}"
            found.append(
                f"{share} {are} compared as bare text ({_rows(self._bare)}): the grader reads no mathematics there, and "
                "only an answer of the same text is right"
            )
        if self._labels and self._none and self._given:
            have = "has" if len(self._none) == 1 else "have"
            found.append(
                f"{len(self._none):,} of {len(self._none) + self._given:,} problems {have} no reference answer "
                f"({_rows(self._none)}): accuracy is told over {counted(self._given, 'problem')}"
            )
        elif self._labels and self._none:
            found.append(f"no problem has a reference answer ({_rows(self._none)}): no accuracy is shown")
        return found


def _rows(rows: Sequence[int]) -> str:
    """The first of some rows: "row 3", "rows 3, 7, ..."."""
    named = ", ".join(map(str, rows[:_NAMED])) + (", ..." if len(rows) > _NAMED else "")
    return f"row{'' if len(rows) == 1 else 's'} {named}"
