"""failures.log of a run folder: what strategies failed of, for people: each place in the code once, with its traceback.

Which outcomes failed stands in `outcomes`; this says where to look. It knows texts alone. Invariant: it holds a thousand
failures of one kind as one, and what cannot be written here stops nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from actors.messages import Failure

FAILURES_FILE = "failures.log"

MOST = 200
"""Places that one start writes down: code that is made anew for each problem has as many as there are problems."""


class FailureLog:
    """Appends to a run folder's failures.log."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FAILURES_FILE
        self._seen: set[str] = set()

    def note(self, failures: Iterable[Failure]) -> None:
        """Write down those that no failure before was like."""
        for failure in failures:
            if failure.place in self._seen or len(self._seen) >= MOST:
                continue
            self._seen.add(failure.place)
            when = time.strftime("%Y-%m-%d %H:%M:%S")
            head = f"{when}  {failure.strategy} failed, first at problem {failure.problem_id} (seed {failure.seed})"
            with suppress(OSError), self._file.open("a", encoding="utf-8", errors="replace") as log:
                log.write(f"{head}\n{failure.trace}\n\n")
