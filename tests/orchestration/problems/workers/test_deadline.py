"""Helper processes: a call ends in its time of the processor, a dead helper is replaced, none outlives its caller."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.errors import ServiceLost
from orchestration.problems.workers import deadline
from orchestration.problems.workers.deadline import DeadlinePool, NoAnswer, Stalled
from orchestration.runs.status import process_mark
from tests.support.processes import wait_for

MODULE = """
import os, time
from pathlib import Path
from orchestration.problems.workers.deadline import serve

while Path(__file__).with_name("late").exists():
    time.sleep(0.01)

def tried(file):
    with open(file, "a") as tries:
        tries.write("x")
    return Path(file).stat().st_size

serve({
    "echo": lambda text: text,
    "pid": lambda: os.getpid(),
    "die": lambda file: tried(file) and os._exit(3),
    "die once": lambda file: os._exit(3) if tried(file) == 1 else "alive",
    "stall once": lambda file: time.sleep(60) if tried(file) == 1 else "moving",
    "sleep": lambda seconds: time.sleep(float(seconds)) or "slept",
    "compute": lambda file: tried(file) and 9 ** 9 ** 8,
    "fail": lambda: 1 / 0,
})
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "helper_under_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "helper_under_test"


def test_whatever_a_call_does_the_next_one_is_answered(module: str, tmp_path: Path) -> None:
    pool = DeadlinePool(module, workers=1, deadline=0.2)
    for trouble in ("fail", "no such function"):
        assert pool.call(trouble) is None
        assert pool.call("echo", "still é here") == "still é here"
    for trouble in ("die", "compute"):
        with pytest.raises(NoAnswer):
            pool.call(trouble, str(tmp_path / trouble))
        assert pool.call("echo", "still é here") == "still é here"
    # What the machine may be to blame for is tried again; what used up its time is not.
    assert [(tmp_path / trouble).read_text() for trouble in ("die", "compute")] == ["xx", "x"]


def test_a_call_has_time_of_the_processor_and_not_of_the_clock(module: str, tmp_path: Path) -> None:
    """Asleep, as a process that a loaded machine does not run, it is answered; at work it is ended, though it never comes
    back to Python."""
    pool = DeadlinePool(module, workers=1, deadline=0.2)
    assert pool.call("sleep", "0.6") == "slept"
    with pytest.raises(NoAnswer, match=r"used up its 0\.2 s of a processor"):
        pool.call("compute", str(tmp_path / "tries"))


def test_a_call_whose_helper_died_or_stalled_is_made_again(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = DeadlinePool(module, workers=1, deadline=5.0)
    assert pool.call("die once", str(tmp_path / "died")) == "alive"
    short = DeadlinePool(module, workers=1, deadline=5.0, wall=0.7)
    # A helper has the time that it was started with: only the one that takes its place has more.
    assert short.call("echo", "x") == "x"
    monkeypatch.setattr(short, "_wall", 60.0)
    assert short.call("stall once", str(tmp_path / "stalled")) == "moving"
    with pytest.raises(Stalled) as stalled:
        DeadlinePool(module, workers=1, deadline=5.0, wall=0.7).call("sleep", "60")
    assert isinstance(stalled.value, ServiceLost), "nobody who asked is to blame"


def test_a_helper_that_does_not_start_in_time_is_a_lost_service(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = DeadlinePool(module, workers=1, deadline=5.0)
    (tmp_path / "late").touch()
    with monkeypatch.context() as patch:
        patch.setattr(deadline, "_START_SECONDS", 0.1)
        with pytest.raises(ServiceLost, match="did not start within"):
            pool.call("echo", "x")
    (tmp_path / "late").unlink()
    assert pool.call("echo", "x") == "x"


def test_a_failure_keeps_its_process_and_a_deadline_does_not(module: str, tmp_path: Path) -> None:
    pool = DeadlinePool(module, workers=1, deadline=0.2)
    first = pool.call("pid")
    pool.call("fail")
    assert pool.call("pid") == first
    with pytest.raises(NoAnswer):
        pool.call("compute", str(tmp_path / "tries"))
    assert pool.call("pid") not in (first, None)
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


def test_a_helper_ends_with_its_caller(module: str, tmp_path: Path) -> None:
    script = (
        f"import sys, os; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from orchestration.problems.workers.deadline import DeadlinePool\n"
        f"pool = DeadlinePool({module!r}, 1, 5.0)\n"
        "print(pool.call('pid'), flush=True)\n"
        "os._exit(0)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    wait_for(lambda: process_mark(int(result.stdout)) is None, "the helper to end with its caller", 60)


def test_a_module_that_cannot_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no_such_module_anywhere"):
        DeadlinePool("no_such_module_anywhere", 1, 1.0).call("echo", "x")
