"""status.json: what is written while a run goes on, what is read back, and how far it is believed."""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from actors.errors import UserError
from actors.store.log import FolderLock
from actors.store.schema import RUN_FORMAT
from actors.work import Tally
from orchestration.runs.status import (
    SILENT_AFTER_S,
    line_of,
    lock_of,
    process_mark,
    read_status,
    says_finished,
    standing,
)
from tests.support.places import ROOT
from tests.support.standing import TOTALS, at, read, writer


def test_what_is_written_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 100.0)
    assert read_status(tmp_path) is None
    more = {"budget": 10**12, "waiting_for": "policy-1", "tallies": {"greedy": Tally(4, 3, 2, 1)}}
    with writer(tmp_path) as run:
        first = read(tmp_path)
        assert (first.state, first.host, first.pid) == ("running", socket.gethostname(), os.getpid())
        assert (first.totals, first.reading) == (TOTALS, None)
        run.update(at(3, 4, **more))
        # Once a second: the newest waits for the next write.
        assert read(tmp_path) == first
    last = read(tmp_path)
    assert last.state == "finished"
    assert last.reading is not None
    assert last.reading.progress == at(3, 4, **more)
    assert last.written >= first.written >= first.started
    # A public file: other programs read it by these names.
    data = json.loads((tmp_path / "status.json").read_text())
    assert data["format"] == 2
    assert data["reading"]["progress"]["oldest"] == [["p1", 41.0], ["p2", 12.0]]
    assert data["replicas"] == {"policy": 2, "verifier": 1}
    assert data["command"] == "flopwise evaluate 'a b'"


def test_writes_are_a_second_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    seen: list[int] = []
    with writer(tmp_path) as run:
        for tick in range(13):
            run.update(at(tick / 4, tick))
            reading = read(tmp_path).reading
            seen.append(-1 if reading is None else reading.progress.outcomes)
            clock[0] += 0.25
    assert seen == [-1, -1, -1, -1, 4, 4, 4, 4, 8, 8, 8, 8, 12]


def test_how_a_run_is_left_says_how_it_ended(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writer(tmp_path):
        raise KeyboardInterrupt
    assert (read(tmp_path).state, read(tmp_path).reason) == ("stopped", "")
    assert not says_finished(tmp_path)
    with pytest.raises(OSError, match="space"), writer(tmp_path):
        raise OSError(28, "No space left on device\nand more lines")
    assert (read(tmp_path).state, read(tmp_path).reason) == (
        "failed",
        "OSError: [Errno 28] No space left on device",
    )
    with writer(tmp_path):
        pass
    assert says_finished(tmp_path)


def test_a_status_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    with writer(tmp_path / "nowhere") as run:
        run.update(at(1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"format": 99}', "reads format 2 alone; the next start writes it again"),
        ('{"format": 2, "state": "running"}', "not of this version"),
    ],
)
def test_a_status_of_another_kind_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_status(tmp_path)
    assert not says_finished(tmp_path)


def test_the_word_of_an_older_version_counts_for_nothing(tmp_path: Path) -> None:
    """How its run stands is told from the rest of the folder."""
    (tmp_path / "status.json").write_text('{"format": 1, "state": "finished"}')
    assert read_status(tmp_path) is None
    assert not says_finished(tmp_path)


def test_an_error_in_one_line() -> None:
    class Wrapped(Exception):
        """As Ray wraps what another process raised."""

        def __init__(self, cause: Exception) -> None:
            super().__init__("Traceback:\n  a\n  b")
            self.cause = cause

    class ActorDiedError(Exception):
        """As Ray tells of a constructor that raised."""

    assert line_of(UserError("folder = 'x': choose another")) == "folder = 'x': choose another"
    assert line_of(Wrapped(Wrapped(ValueError("bad")))) == "ValueError: bad"
    assert line_of(RuntimeError()) == "RuntimeError"
    assert len(line_of(RuntimeError("x" * 1000))) == 300
    of_a_constructor = (
        "The actor died because of an error raised in its creation task, \x1b[36mray::_VerifierActor.__init__()\x1b[39m "
        '(pid=7)\n  File "mine.py", line 3, in __init__\n    raise ValueError(path)\nValueError: no such head'
    )
    assert line_of(ActorDiedError(of_a_constructor)) == (
        "ActorDiedError: The actor died because of an error raised in its creation task: ValueError: no such head"
    )


# How a run stands


def test_nothing_began(tmp_path: Path) -> None:
    assert standing(tmp_path, None, time.time()) == "never started"


def test_the_record_alone_is_believed_but_for_running(tmp_path: Path) -> None:
    record = tmp_path / "run.json"
    for state in ("finished", "stopped", "failed"):
        record.write_text(json.dumps({"format": RUN_FORMAT, "state": state}))
        assert standing(tmp_path, None, time.time()) == state
    record.write_text(json.dumps({"format": RUN_FORMAT, "state": "running"}))
    assert standing(tmp_path, None, time.time()) == "killed"
    lock = FolderLock(tmp_path)
    assert standing(tmp_path, None, time.time()) == "running"
    lock.release()
    record.write_text("{")
    with pytest.raises(UserError, match="damaged"):
        standing(tmp_path, None, time.time())


def test_a_run_of_this_machine_is_running_while_its_process_lives(tmp_path: Path) -> None:
    with writer(tmp_path) as run:
        status = read(tmp_path)
        # Without a lock while Ray starts, then with it; however long ago its last word is.
        assert standing(tmp_path, status, time.time() + 10 * SILENT_AFTER_S) == "running"
        lock = FolderLock(tmp_path)
        assert standing(tmp_path, status, time.time() + 10 * SILENT_AFTER_S) == "running"
        lock.release()
        run.update(at(1))
    assert standing(tmp_path, read(tmp_path), time.time()) == "finished"


def test_a_killed_run_is_told_by_its_free_lock(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from actors.store.log import FolderLock; from tests.orchestration.runs.test_status import writer\n"
        "folder = Path(sys.argv[1]); lock = FolderLock(folder)\n"
        "with writer(folder): print('up', flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    status = read(tmp_path)
    assert standing(tmp_path, status, time.time()) == "running"
    assert lock_of(tmp_path) == "held"
    child.kill()
    # Dead and not yet waited for: the system still knows its pid.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert standing(tmp_path, status, time.time()) == "killed"
    child.wait()
    child.stdout.close()
    assert standing(tmp_path, status, time.time()) == "killed"


def test_another_process_of_the_same_pid_is_not_the_run(tmp_path: Path) -> None:
    with writer(tmp_path):
        status = read(tmp_path)
    assert status.process == process_mark(os.getpid())
    old = replace(status, state="running", process=(status.process or 0) - 1)
    assert standing(tmp_path, old, time.time()) == "killed"


def test_another_machine_is_told_by_the_age_of_its_last_word(tmp_path: Path) -> None:
    with writer(tmp_path):
        status = replace(read(tmp_path), host="elsewhere")
    now = status.written
    assert standing(tmp_path, status, now + SILENT_AFTER_S / 2) == "running"
    # Its pid may be anything here.
    assert standing(tmp_path, status, now + SILENT_AFTER_S * 2) == "silent"
    lock = FolderLock(tmp_path)
    assert standing(tmp_path, status, now + SILENT_AFTER_S / 2) == "running"
    assert standing(tmp_path, status, now + SILENT_AFTER_S * 2) == "silent"
    lock.release()
    assert standing(tmp_path, replace(status, state="finished"), now + SILENT_AFTER_S * 2) == "finished"


def test_looking_at_the_lock_disturbs_nobody(tmp_path: Path) -> None:
    assert lock_of(tmp_path) == "free"
    lock = FolderLock(tmp_path)
    word = (tmp_path / "lock").read_text()
    assert lock_of(tmp_path) == "held"
    assert (tmp_path / "lock").read_text() == word
    lock.release()
    assert lock_of(tmp_path) == "free"
    # The look is over when it returns: a writer finds the folder free at its first try.
    with (tmp_path / "lock").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
