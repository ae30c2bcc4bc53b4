"""How a run stands, for whoever looks from outside: `status.json` in its folder, written by its driver, read by anyone.

It knows files, locks and processes, nothing of Ray or of how outcomes are made. Invariant: a status is a word on the run and
never a part of it: one that cannot be written stops nothing, and one that says "running" is believed only as far as the
folder's lock and the process bear it out.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from actors.errors import UserError
from actors.strategy import Role
from actors.work import Load, Progress, Tally
from orchestration.runs.folder import read_record, write_atomically
from orchestration.runs.gauge import Gauge, Pass, Reading, Speed, Totals

STATUS_FORMAT = 2

_OLDER = (1,)
"""Formats whose word counts for nothing: how the run stands is told from the rest of its folder."""

WRITE_INTERVAL_S = 1.0
"""Seconds between two writes, at least."""

SILENT_AFTER_S = 60.0
"""Seconds without a write after which a run that cannot be looked at more closely is held to be silent."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
"""What makes a terminal write in colours; Ray puts it into its errors."""

State = Literal["running", "finished", "stopped", "failed"]
Standing = Literal["never started", "running", "silent", "killed", "finished", "stopped", "failed"]
Lock = Literal["held", "free", "unknown"]


@dataclass(frozen=True, slots=True)
class Status:
    """The contents of status.json: what its driver last wrote.

    `started` and `written` are in seconds since 1970, by the clock of `host`. `process` tells the driver from a later one of
    its pid (None where the system does not say). `command` is what goes on with the run, as a shell takes it ("" where a
    program started it). `replicas` are those asked for, by role. `reason` is one line, of a failed run. `reading` is None
    until the scheduler has said something.
    """

    state: State
    reason: str
    host: str
    pid: int
    process: int | None
    command: str
    started: float
    written: float
    unit: str
    replicas: dict[Role, int]
    totals: Totals
    reading: Reading | None


class StatusWriter:
    """Keeps a run's status.json while it is in use; how it is left says how the run ended."""

    def __init__(
        self, folder: Path, totals: Totals, unit: str, replicas: dict[Role, int], command: str = ""
    ) -> None:
        self._file = folder / "status.json"
        self._gauge = Gauge(totals.outcomes_left)
        self._next = 0.0
        pid, now = os.getpid(), time.time()
        self._status = Status(
            state="running",
            reason="",
            host=socket.gethostname(),
            pid=pid,
            process=process_mark(pid),
            command=command,
            started=now,
            written=now,
            unit=unit,
            replicas=replicas,
            totals=totals,
            reading=None,
        )

    def __enter__(self) -> StatusWriter:
        self._write()
        return self

    def update(self, progress: Progress) -> None:
        """Take the newest progress; it is written at most once a second."""
        self._status = replace(self._status, reading=self._gauge.observe(progress))
        if time.monotonic() >= self._next:
            self._write()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        state: State = "failed"
        if error is None:
            state = "finished"
        elif isinstance(error, KeyboardInterrupt):
            state = "stopped"
        reason = line_of(error) if state == "failed" and error is not None else ""
        self._status = replace(self._status, state=state, reason=reason)
        self._write()

    def _write(self) -> None:
        self._next = time.monotonic() + WRITE_INTERVAL_S
        self._status = replace(self._status, written=time.time())
        text = json.dumps({"format": STATUS_FORMAT} | asdict(self._status), indent=2, ensure_ascii=False)
        try:
            write_atomically(self._file, text + "\n", durable=False)
        except OSError:
            # A full disk is the run's own affair, which says so where it counts.
            return


def read_status(folder: Path) -> Status | None:
    """What the folder's status.json says, None where there is none or an older version wrote it. UserError for one that
    cannot be read."""
    file = folder / "status.json"
    try:
        data: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        raise UserError.of("status", str(file), "it is not JSON; the next start writes it again") from None
    if (written := data.pop("format", None)) in _OLDER:
        return None
    if written != STATUS_FORMAT:
        mend = f"this version reads format {STATUS_FORMAT} alone; the next start writes it again"
        raise UserError.of("status", str(file), mend)
    try:
        passes = tuple(Pass(**one) for one in data["totals"]["passes"])
        totals = Totals(**data["totals"] | {"passes": passes})
        return Status(**data | {"totals": totals, "reading": _reading(data["reading"])})
    except (KeyError, TypeError, ValueError) as error:
        mend = f"it is not of this version ({error}); the next start writes it again"
        raise UserError.of("status", str(file), mend) from None


def says_finished(folder: Path) -> bool:
    """Whether the folder's status.json can be read and says that its run has finished."""
    try:
        status = read_status(folder)
    except UserError:
        return False
    return status is not None and status.state == "finished"


def _reading(data: dict[str, Any] | None) -> Reading | None:
    if data is None:
        return None
    oldest = tuple((name, age) for name, age in data["progress"]["oldest"])
    down = tuple(data["progress"]["replicas_down"])
    load = {role: Load(**one) for role, one in data["progress"]["load"].items()}
    # A status of before there were any says none.
    tallies = {text: Tally(**one) for text, one in data["progress"].get("tallies", {}).items()}
    read = {"load": load, "oldest": oldest, "replicas_down": down, "tallies": tallies}
    progress = Progress(**data["progress"] | read)
    speed = {role: Speed(**one) for role, one in data["speed"].items()}
    return Reading(**data | {"progress": progress, "speed": speed})


def standing(folder: Path, status: Status | None, now: float) -> Standing:
    """How the run of a folder stands, whatever its last words were. `status` is what `read_status` says, `now` in seconds
    since 1970.

    A driver of this machine is looked for by its process and the folder's lock, another machine's by the age of its status.
    """
    if status is None:
        recorded = _recorded(folder)
        if recorded != "running":
            return recorded
        return "running" if lock_of(folder) == "held" else "killed"
    if status.state != "running":
        return status.state
    if lock_of(folder) == "held":
        return "running" if alive(status) or now - status.written < SILENT_AFTER_S else "silent"
    if is_here(status):
        # No lock yet while Ray starts, none any more while the last word is written.
        return "running" if alive(status) else "killed"
    return "running" if now - status.written < SILENT_AFTER_S else "silent"


def _recorded(folder: Path) -> Standing:
    if not (folder / "run.json").exists():
        return "never started"
    state: Standing = read_record(folder, "run")["state"]
    return state


def is_here(status: Status) -> bool:
    """Whether the driver was started on this machine."""
    return status.host == socket.gethostname()


def alive(status: Status) -> bool:
    """Whether the driver that wrote the status is a process of this machine now."""
    if not is_here(status):
        return False
    try:
        os.kill(status.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # Another user's, and there.
    return process_mark(status.pid) == status.process


def process_mark(pid: int) -> int | None:
    """The moment a process started, in the kernel's ticks since boot: with the pid it names one process. None where the
    system has no /proc, and for one that has ended and waits for its parent.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def lock_of(folder: Path) -> Lock:
    """Whether a writer holds the folder. A shared lock is tried and given back at once; who wants to write meanwhile
    tries again.
    """
    try:
        with (folder / "lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return "free"
    except BlockingIOError:
        return "held"
    except OSError:
        return "unknown"
    return "free"


def line_of(error: BaseException) -> str:
    """An error in one line for people: what was the matter in the end, without the way there."""
    if isinstance(error, UserError):
        return str(error)
    # Ray wraps what another process raised, and tells its whole traceback as text.
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException) and cause is not error:
        return line_of(cause)
    lines = [line.strip() for line in _COLOURS.sub("", str(error)).splitlines() if line.strip()]
    name = type(error).__name__
    text = f"{name}: {lines[0]}" if lines else name
    if len(lines) > 1 and "creation task" in lines[0]:
        # Of an actor's constructor Ray tells the traceback: what was raised stands at its end.
        text = f"{text.partition(',')[0]}: {lines[-1]}"
    return text if len(text) <= 300 else f"{text[:297]}..."
