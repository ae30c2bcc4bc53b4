"""The exceptions that mean something to whoever catches them; everything else keeps its traceback.

Each takes one string, so that it crosses processes unharmed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from decimal import Decimal

_LONGEST = 200
"""Letters of a value that a message shows."""


class UserError(Exception):
    """A mistake that its reader can mend; the command prints its text alone, without a traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(message)

    @classmethod
    def of(cls, field: str, value: object, mend: str) -> UserError:
        """Name the field, the offending value and what to do about it."""
        return cls(f"{field} = {_shown(value)}: {mend}")


class ServiceLost(Exception):
    """Something that a task needs does not answer (every verifier, the library, the writer): no fault of the task, which is
    to be tried again."""


def counted(count: float, thing: str) -> str:
    """A number of things in words: "1 problem", "1,000 problems", "0.5 CPUs"."""
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {thing}{'' if count == 1 else 's'}"


def _shown(value: object) -> str:
    """A value as code writes it; a very large number by its power of ten, a long text without its middle."""
    if isinstance(value, int) and abs(value) >= 10**38:
        return f"{Decimal(value):.3g}"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}...{text[-_LONGEST // 2 :]}"


def nearest(word: str, known: Iterable[str], alike: float = 0.5) -> str:
    """Return " (did you mean 'x'?)" for the closest known name, or an empty string where none is so much `alike` (0 to 1)."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=alike)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
