"""The exceptions that mean something to whoever catches them; everything else keeps its traceback.

Each takes one string, so that it crosses processes unharmed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that its reader can mend; the command prints its text alone, without a traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(message)

    @classmethod
    def of(cls, field: str, value: object, mend: str) -> UserError:
        """Name the field, the offending value and what to do about it."""
        return cls(f"{field} = {value!r}: {mend}")


class ServiceLost(Exception):
    """Something that a task needs does not answer (every verifier, the library, the writer): no fault of the task, which is
    to be tried again."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the closest known name, or an empty string."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {matches[0]!r}?)" if matches else ""
