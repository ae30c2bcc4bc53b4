"""How far a command is that draws nothing and still takes a while: one bar on a terminal, a line every few seconds elsewhere.

It knows words and numbers, nothing of what is done. Invariant: what is shown as done was said to be done.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

_LINE = 5.0
"""Seconds between two lines where there is no terminal."""


class Steps:
    """Shows what it is told of by `tell` until it is left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Any = None
        self._task: Any = None
        self._next = time.monotonic() + _LINE

    def __enter__(self) -> Steps:
        if self._console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task("", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def tell(self, what: str, done: int, of: int) -> None:
        """`done` of so many are over."""
        if self._bar is not None:
            self._bar.update(self._task, description=what, completed=done, total=of)
        elif time.monotonic() >= self._next:
            self._next = time.monotonic() + _LINE
            self._console.print(f"{what}: {done:,} of {of:,}", highlight=False)
