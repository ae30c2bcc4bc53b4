"""A verifier of a user's own that does not come up at first, and whose work holds its event loop."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from actors.engines.base import ScoreRequest, Scores


class Troubled:
    """Notes its starts in a folder, and meets a passing trouble at so many of them; scores once the folder says `enough`."""

    def __init__(self, notes: str, fails: int) -> None:
        self._notes = Path(notes)
        with (self._notes / "starts").open("a") as file:
            file.write(f"{os.getpid()}\n")
        if len((self._notes / "starts").read_text().splitlines()) <= fails:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), notes)

    async def score(self, request: ScoreRequest) -> Scores:
        (self._notes / "scoring").touch()
        while not (self._notes / "enough").exists():
            time.sleep(0.01)  # noqa: ASYNC251
        return Scores((0.5,) * len(request.step_ends), 0)
