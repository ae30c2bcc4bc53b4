"""How long the start of this process's replica may take: the clock stands while it waits for others or reads files whole.

One for the process, as `faulthandler` is, which keeps the time: it needs neither the interpreter's lock nor an event loop,
and tells where every thread stood. Invariant: without `limit` nothing is ever ended, so that engines can be loaded anywhere.
"""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

_left: float | None = None
_since = 0.0
_file: TextIO | None = None


@contextmanager
def limit(seconds: float, file: TextIO) -> Iterator[None]:
    """End this process (exit code 1) once its start has taken so long; `file` gets what each thread was doing."""
    global _left, _file
    _left, _file = seconds, file
    _go()
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        _left = None


@contextmanager
def standing() -> Iterator[None]:
    """The time of this does not count: a wait for another's turn, the hashing of weights."""
    global _left
    if _left is None:
        yield
        return
    faulthandler.cancel_dump_traceback_later()
    # A start that has used all of its time ends as soon as the clock goes on.
    left = max(0.01, _left - (time.monotonic() - _since))
    _left = None
    try:
        yield
    finally:
        _left = left
        _go()


def _go() -> None:
    global _since
    assert _left is not None
    assert _file is not None
    _since = time.monotonic()
    faulthandler.dump_traceback_later(_left, exit=True, file=_file)
