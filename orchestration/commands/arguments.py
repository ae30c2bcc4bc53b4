"""What all commands share of a command line: options, the command as a shell takes it, mistakes in one line.

It knows no command. Invariant: an option that does not exist is answered with the nearest one that does.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from actors.errors import UserError, nearest

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 1000


def options_of(words: Sequence[str], known: Sequence[str]) -> tuple[set[str], list[str]]:
    """Split words into --options, checked against `known`, and the rest."""
    options = {"--help" if word == "-h" else word for word in words if word.startswith("-")}
    for option in sorted(options):
        if option not in known:
            raise UserError(f"{option}: no such option{nearest(option, known)}; there are {', '.join(known)}")
    return options, [word for word in words if not word.startswith("-")]


def place_and_settings(words: Sequence[str], mend: str) -> tuple[str, list[str]]:
    """The one word that is no setting, and the settings. Raises UserError, with `mend`, where it is not one."""
    places = [word for word in words if "=" not in word]
    if len(places) != 1:
        raise UserError(mend)
    return places[0], [word for word in words if "=" in word]


def shell(words: Sequence[str]) -> str:
    """The command of these words, quoted so that a shell takes it."""
    return shlex.join(["flopwise", *words])


def terminal() -> Console:
    """Where a command prints. Off a terminal a line is a line and a table has all its columns, unless COLUMNS says how wide
    they may be. What stands in brackets is a text like any other."""
    from rich.console import Console

    wide = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(width=_WIDE if wide else None, markup=False, highlight=False)


def complain(message: str) -> None:
    """Print a mistake in one line."""
    from rich.console import Console
    from rich.text import Text

    # What a library said may have lines of its own.
    line = Text.assemble(("error: ", "bold red"), " ".join(message.split("\n")))
    Console(stderr=True, soft_wrap=True, highlight=False).print(line)
