"""What the commands that learn from stored samples share: how they begin, checks of numbers, and where their tables and
figures go.

It knows no command. Invariant: what may not be written is one line with the way out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from actors.errors import UserError, nearest
from orchestration.commands.arguments import options_of, place_and_settings
from orchestration.commands.helptext import help_of

if TYPE_CHECKING:
    from orchestration.report.tables import Cells

    Table = tuple[str, Sequence[str], Cells]
    """Its title, head and cells."""


def asked_of(words: Sequence[str], command: str) -> tuple[str, list[str]] | None:
    """The run that a command is asked of, and its settings; None where help was asked for, which is printed."""
    options, rest = options_of(words, ("--help",))
    if "--help" in options:
        print(help_of(command))
        return None
    shown = command.replace("_", "-")
    return place_and_settings(rest, f"name one run, as in: flopwise {shown} runs/calibrate")


def check_least(name: str, value: float, least: float) -> None:
    """Raise UserError for a number that is too small."""
    if value < least:
        raise UserError.of(name, value, f"it must be at least {least}")


def check_amounts(name: str, values: Sequence[float]) -> None:
    """Raise UserError for an amount that is none."""
    for value in values:
        if value <= 0:
            raise UserError.of(name, value, "each must be above 0")


def check_word(name: str, value: str, known: Sequence[str]) -> None:
    """Raise UserError for a word that is none of those known."""
    if value not in known:
        raise UserError.of(name, value, f"choose one of {', '.join(known)}{nearest(value, known)}")


def in_folder(out: str | None, usual: Path) -> Path:
    """Where tables and figures go."""
    return usual if out is None else Path(out)


@contextmanager
def written(folder: Path) -> Iterator[None]:
    """Make a folder, and turn what the file system refuses into a UserError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        mend = f"{error.strerror or error}: choose a folder that you may write, out=..."
        raise UserError.of("out", str(folder), mend) from None


def write_page(
    path: Path,
    title: str,
    tables: Sequence[Table],
    notes: Sequence[str],
    figures: Sequence[Path],
) -> list[Path]:
    """Write tables, what is to be known to read them, and figures as a page; return all that was written."""
    from orchestration.report.tables import markdown_table
    from orchestration.runs.folder import write_atomically

    parts = [f"# {title}", *notes]
    for name, head, cells in tables:
        parts += [f"## {name}", markdown_table(head, cells)]
    shown = [one for one in figures if one.suffix == ".png"] or figures
    parts += [f"![{one.stem.replace('_', ' ')}]({one.name})" for one in shown]
    write_atomically(path, "\n\n".join(parts) + "\n")
    return [path, *figures]
