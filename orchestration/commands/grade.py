"""`flopwise grade FILE`: what a grader reads in texts and references, which answers vote as one, and whether they are right,
without a model.

It knows files of texts and graders, nothing of runs. Invariants: what it shows is what a run would read, vote and judge; each
row of the file is counted once.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actors.errors import UserError, counted, nearest
from orchestration.commands.arguments import options_of, place_and_settings, terminal
from orchestration.commands.helptext import help_of
from orchestration.problems import Columns, Grader, Table, judge_of, make_grader, why_unread
from orchestration.problems.datasets.columns import no_column
from orchestration.problems.datasets.tables import reference_in
from orchestration.problems.references import References
from orchestration.setup.compose import compose
from orchestration.setup.model_folders import resolved
from orchestration.setup.packages import importable
from orchestration.setup.settings import GradeColumns, GradeSettings
from orchestration.strategies.selection import same_answers, speaker

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 40

# What a run calls otherwise.
_NAMES = {
    "dataset.path": "file",
    "dataset.columns.question": "columns.text",
    "dataset.grader": "grader",
    "cluster.packages": "packages",
}

RIGHT, WRONG, UNREAD = "right", "wrong", "unreadable"
NO_VERDICT, NO_REFERENCE, SKIPPED = "reference unreadable", "without a reference", "skipped"
_ALWAYS = (RIGHT, WRONG, UNREAD, NO_VERDICT)


@dataclass(frozen=True, slots=True)
class Graded:
    """A row of the file: what was read of its text, its reference as it stands and what was read of that (None: nothing),
    and one of the verdicts above."""

    row: int
    problem: str
    answer: str | None
    reference: str | None
    reference_read: str | None
    verdict: str
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
    if settings.count is not None and settings.count < 1:
        raise UserError.of("count", settings.count, "it must be at least 1, or null for all")
    if settings.grader == "gym":
        mend = "it judges reasoning-gym's data sets alone, by what they say; choose number, text or math"
        raise UserError.of("grader", settings.grader, mend)
    with _own_names():
        importable(settings.packages)
        grader = judge_of(make_grader(settings.grader))
        table = Table(resolved(file), Columns(settings.columns.text, None, None))
        notes = _missing(table, settings.columns, {word.partition("=")[0].strip() for word in words})
        rows = graded(table, grader, str(settings.grader), settings.columns)
        found = list(itertools.islice(rows, settings.count))
    _print(found, [*_about_references(found, grader), *notes], terminal())
    return 0


@contextmanager
def _own_names() -> Iterator[None]:
    """Let a mistake be told by the settings that this command has."""
    try:
        yield
    except UserError as error:
        text = str(error)
        for name, own in _NAMES.items():
            text = text.replace(name, own)
        raise UserError(text) from None


def _missing(table: Table, columns: GradeColumns, given: set[str]) -> list[str]:
    """What there is to say of columns that the file does not have; UserError for one that was asked for."""
    notes = []
    for field, name in (("answer", columns.answer), ("problem", columns.problem)):
        if name is None or name in (known := table.known_columns([name])):
            continue
        if f"columns.{field}" in given:
            raise UserError(
                f"{no_column(f'columns.{field}', name, table.path, known)}; null where there is none"
            )
        if field == "answer":
            near = nearest(name, known - {columns.text})
            notes.append(f"no column {name!r}{near}, so no verdicts: columns.answer names the references")
    return notes


def graded(table: Table, grader: Grader, name: str, columns: GradeColumns) -> Iterator[Graded]:
    """Every row of the table, read and judged."""
    for number, row in enumerate(table.raw_rows()):
        if not isinstance(row, dict) or not isinstance(row.get(columns.text), str):
            why = f"no text in {columns.text!r}" if isinstance(row, dict) else f"{row[0]} ({row[1]})"
            yield Graded(number, "", None, None, None, SKIPPED, f"skipped: {why}")
            continue
        given = None if columns.answer is None else reference_in(row, columns.answer)
        reference = None if isinstance(given, tuple) else given
        unread = ""
        if isinstance(given, tuple):
            unread = f"{given[0]} ({given[1]})"
        elif reference is not None and (why := why_unread(grader, name, reference, "grader")):
            unread = f"the answer is none that the grader reads ({why})"
        same = None if columns.problem is None else row.get(columns.problem)
        # Nothing says of rows without a problem and a reference that they answer one question.
        problem = str(same if same is not None else reference if reference is not None else f"row {number}")
        answer = grader.extract(row[columns.text])
        if unread:
            yield Graded(number, problem, answer, reference, None, NO_VERDICT, f"no verdict: {unread}")
            continue
        if reference is None:
            verdict = UNREAD if answer is None else NO_REFERENCE
            yield Graded(number, problem, answer, None, None, verdict)
            continue
        verdict = UNREAD if answer is None else RIGHT if grader.correct(answer, reference) else WRONG
        yield Graded(number, problem, answer, reference, grader.read_reference(reference), verdict)


def ballots(rows: Sequence[Graded]) -> list[Graded | None]:
    """For each row the one that speaks for its ballot among those of its problem; None for an answer that could not be
    read."""
    found: list[Graded | None] = [None] * len(rows)
    by_problem: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        if row.answer is not None:
            by_problem.setdefault(row.problem, []).append(place)
    for places in by_problem.values():
        by_class: dict[str, list[int]] = {}
        for place, same in zip(
            places, same_answers(rows[place].answer or "" for place in places), strict=True
        ):
            by_class.setdefault(same, []).append(place)
        for members in by_class.values():
            speaks = rows[members[speaker([rows[place].answer or "" for place in members])]]
            for place in members:
                found[place] = speaks
    return found


def summary(rows: Sequence[Graded]) -> str:
    """How many rows there are of each verdict, each row once."""
    counts = Counter(row.verdict for row in rows)
    parts = [
        f"{counts[name]:,} {name}"
        for name in (*_ALWAYS, NO_REFERENCE, SKIPPED)
        if counts[name] or name in _ALWAYS
    ]
    return f"{counted(len(rows), 'row')}: {', '.join(parts)}"


def _about_references(rows: Sequence[Graded], grader: Grader) -> list[str]:
    """What a run says of the references."""
    found = References(grader, labels=False)
    for row in rows:
        if row.verdict not in (SKIPPED, NO_VERDICT):
            found.look(row.row, row.reference)
    return found.notes()


def _print(rows: Sequence[Graded], notes: Sequence[str], console: Console) -> None:
    from rich import box
    from rich.table import Table as Lines

    table = Lines(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("row", "read", "ballot", "reference", "reference read", "verdict"):
        table.add_column(name, overflow="fold")
    for row, ballot in zip(rows, ballots(rows), strict=True):
        verdict = "-" if row.verdict in (NO_REFERENCE, SKIPPED) else row.verdict
        if ballot is not None and {verdict, ballot.verdict} == {RIGHT, WRONG}:
            verdict += f", its ballot {ballot.verdict}"
        said = None if ballot is None else ballot.answer
        cells = (str(row.row), row.answer, said, row.reference, row.reference_read, verdict)
        table.add_row(*(_plain("-" if cell is None else cell) for cell in cells))
    console.print(table)
    noted = [f"row {row.row}: {row.note}" for row in rows if row.note]
    for line in (*noted, *notes, summary(rows)):
        console.print(line, soft_wrap=True)


def _plain(text: str) -> Any:
    from rich.text import Text

    text = str(text)  # an answer knows its ballot, too
    return Text(text if len(text) <= _WIDE else f"{text[: _WIDE - 3]}...")
