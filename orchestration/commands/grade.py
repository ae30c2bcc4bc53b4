"""`flopwise grade FILE`: what a grader reads in texts, which answers vote as one, and whether they are right, without a
model.

It knows files of texts and graders, nothing of runs. Invariant: what it shows is what a run would read, vote and judge.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from orchestration.commands.arguments import options_of, place_and_settings
from orchestration.commands.helptext import help_of
from orchestration.problems import Columns, Grader, Table, judge_of, make_grader, why_unread
from orchestration.setup.compose import compose
from orchestration.setup.model_folders import resolved
from orchestration.setup.settings import GradeColumns, GradeSettings
from orchestration.strategies.selection import same_answers, speaker

_WIDE = 40


@dataclass(frozen=True, slots=True)
class Graded:
    """A row of the file: `reference` and `right` are None where there is no reference, or none that the grader reads."""

    row: int
    problem: str
    answer: str | None
    reference: str | None
    right: bool | None
    note: str = ""


def run(words: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    options, rest = options_of(words, ("--help",))
    if "--help" in options:
        print(help_of("grade"))
        return 0
    mend = "name a file of solutions, as in: flopwise grade solutions.jsonl grader=math"
    file, words = place_and_settings(rest, mend)
    settings = compose("grade", words, GradeSettings)
    grader = judge_of(make_grader(settings.grader))
    table = Table(resolved(file), Columns(settings.columns.text, None))
    rows = graded(table, grader, str(settings.grader), settings.columns)
    _print(list(itertools.islice(rows, settings.count)))
    return 0


def graded(table: Table, grader: Grader, name: str, columns: GradeColumns) -> Iterator[Graded]:
    """Every row of the table, read and judged."""
    for number, row in enumerate(table.raw_rows()):
        if not isinstance(row, dict) or not isinstance(row.get(columns.text), str):
            why = f"no text in {columns.text!r}" if isinstance(row, dict) else ": ".join(filter(None, row))
            yield Graded(number, "", None, None, None, f"skipped: {why}")
            continue
        given = None if columns.answer is None else row.get(columns.answer)
        reference = None if given is None else str(given).strip()
        same = None if columns.problem is None else row.get(columns.problem)
        problem = str(reference if same is None else same)
        answer = grader.extract(row[columns.text])
        if reference is not None and (why := why_unread(grader, name, reference)):
            yield Graded(
                number,
                problem,
                answer,
                None,
                None,
                f"no verdict: the answer is none that the grader reads ({why})",
            )
            continue
        right = None if reference is None else grader.correct(answer, reference)
        yield Graded(number, problem, answer, reference, right)


def ballots(rows: Sequence[Graded]) -> list[str]:
    """The ballot of each row among those of its problem; "" for an answer that could not be read."""
    found = [""] * len(rows)
    by_problem: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if row.answer is not None:
            by_problem.setdefault(row.problem, []).append(place)
    for places in by_problem.values():
        told = same_answers(rows[place].answer or "" for place in places)
        by_class: dict[str, list[str]] = {}
        for place, one in zip(places, told, strict=True):
            by_class.setdefault(one, []).append(rows[place].answer or "")
        for place, one in zip(places, told, strict=True):
            found[place] = str(by_class[one][speaker(by_class[one])])
    return found


def _print(rows: Sequence[Graded]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Lines

    table = Lines(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("row", "read", "ballot", "reference", "verdict"):
        table.add_column(name, overflow="fold")
    for row, ballot in zip(rows, ballots(rows), strict=True):
        read = "-" if row.answer is None else row.answer
        verdict = "-" if row.right is None else "right" if row.right else "wrong"
        cells = (str(row.row), read, ballot or "-", row.reference or "-", verdict)
        table.add_row(*(_plain(cell) for cell in cells))
    console = Console(highlight=False)
    console.print(table)
    for row in rows:
        if row.note:
            console.print(f"row {row.row}: {row.note}", markup=False)
    judged = [row.right for row in rows if row.right is not None]
    unread = sum(row.answer is None and not row.note for row in rows)
    console.print(f"{sum(judged)} of {len(judged)} right; {unread} of {len(rows)} not read")


def _plain(text: str) -> Any:
    from rich.text import Text

    return Text(text if len(text) <= _WIDE else f"{text[: _WIDE - 3]}...")
