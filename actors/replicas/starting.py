"""The start of a replica: a mistake raises at once; a trouble that passes leaves the process, and a fresh one tries again.

It knows nothing of Ray but this: a constructor that raises is never run again, one whose process ends is. Invariant: each
start ends in a replica that is up, in an error that says why there will be none, or with the process; a trouble that never
passes is told in its own words after `Attempt.last`.
"""

from __future__ import annotations

import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from actors.engines import start_clock
from actors.engines.troubles import kind_of
from actors.errors import UserError
from actors.replicas.leaving import leave
from actors.scheduling.starts import Attempt


@contextmanager
def starting(
    replica: str,
    attempt: Attempt,
    startup: float,
    failed: Callable[[str], None],
    *,
    leave: Callable[[str], None] = leave,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Around all that a constructor builds. `startup`: seconds that it may take; `failed` tells why it did not come up,
    before another start.

    A mistake, and an error of which nothing is known, are told at once where no replica of the role has ever come up in this
    run: nothing has been spent, and whoever writes a verifier wants to see it. Where one has, settings, files and code were
    right, and whatever it is is tried again: a network disk may be away, memory not free yet.
    """
    if attempt.too_late(startup):
        tries = replace(attempt, number=attempt.number - 1)
        raise UserError(
            _given_up(replica, tries, attempt.why or "its process ended as it loaded; its log says where")
        )
    # Here, and not by the one that failed: that would hold its memory meanwhile.
    pause(attempt.pause)
    try:
        with start_clock.limit(startup, sys.__stderr__ or sys.stderr):
            yield
    except Exception as error:
        kind = kind_of(error)
        if kind != "trouble" and not attempt.proven:
            raise
        if attempt.last(startup):
            raise UserError(_given_up(replica, attempt, words(error))) from error
        traceback.print_exc()
        failed(words(error))
        leave(f"{words(error)}; start {attempt.number} of {replica} is followed by another")


def words(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:400].rstrip(": ")


def _given_up(replica: str, attempt: Attempt, why: str) -> str:
    tries, where = f"{attempt.number} starts in {attempt.seconds:.0f} s", socket.gethostname()
    return f"{replica} does not come up on {where} ({tries}): {why}"
