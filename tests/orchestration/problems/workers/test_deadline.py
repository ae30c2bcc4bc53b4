"""Helper processes: a call ends in time, a dead helper is replaced, none outlives its caller."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestration.problems.workers.deadline import DeadlinePool

MODULE = """
import os, time
from orchestration.problems.workers.deadline import serve

serve({
    "echo": lambda text: text,
    "pid": lambda: os.getpid(),
    "die": lambda: os._exit(3),
    "sleep": lambda: time.sleep(60),
    "fail": lambda: 1 / 0,
})
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "helper_under_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "helper_under_test"


def test_whatever_a_call_does_the_next_one_is_answered(module: str) -> None:
    pool = DeadlinePool(module, workers=1, deadline=2.0)
    for trouble in ("fail", "die", "sleep", "no such function"):
        started = time.monotonic()
        assert pool.call(trouble) is None
        assert time.monotonic() - started < 15
        assert pool.call("echo", "still é here") == "still é here"


def test_a_failure_keeps_its_process_and_a_deadline_does_not(module: str) -> None:
    pool = DeadlinePool(module, workers=1, deadline=1.0)
    first = pool.call("pid")
    pool.call("fail")
    assert pool.call("pid") == first
    pool.call("sleep")
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
    pid = int(result.stdout)
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return  # ended, and merely not yet collected by this machine's init
        time.sleep(0.1)
    pytest.fail("the helper outlived its caller")


def test_a_module_that_cannot_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no_such_module_anywhere"):
        DeadlinePool("no_such_module_anywhere", 1, 1.0).call("echo", "x")
