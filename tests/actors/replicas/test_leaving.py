"""Processes that are really started, two deep as vLLM's are, and what is left of them once their replica has ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

REPLICA = """
import os, signal, subprocess, sys, time
from actors.replicas.leaving import leave, take_along

take_along()
below = f"import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
worker = subprocess.Popen([sys.executable, "-c", below], stdout=subprocess.PIPE, text=True)
forked = os.fork()
if not forked:
    # It has what this process had open.
    os.close(1)
    time.sleep(60)
print(worker.pid, worker.stdout.readline().strip(), forked, flush=True)
sys.stdin.readline()
leave("the device is lost")
"""


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Replica:
    """A process with a child, a grandchild and a fork."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", REPLICA],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.below = [int(pid) for pid in self.process.stdout.readline().split()]
        assert len(self.below) == 3
        assert all(map(alive, self.below))

    def left(self) -> list[int]:
        """Whoever is there still, once they have had a while."""
        self.process.wait(20)
        until = time.monotonic() + 20
        while (left := [pid for pid in self.below if alive(pid)]) and time.monotonic() < until:
            time.sleep(0.02)
        return left


@pytest.fixture
def replica() -> Iterator[Replica]:
    one = Replica()
    yield one
    one.process.kill()
    one.process.communicate()
    for pid in one.below:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_who_leaves_its_process_leaves_nobody_behind(replica: Replica) -> None:
    assert replica.process.stdin is not None
    assert replica.process.stderr is not None
    replica.process.stdin.write("\n")
    replica.process.stdin.flush()
    assert replica.left() == []
    assert replica.process.returncode == 1
    assert "makes way for a new one: the device is lost" in replica.process.stderr.readline()


def test_who_is_killed_from_outside_leaves_nobody_behind(replica: Replica) -> None:
    replica.process.kill()
    assert replica.left() == []


def test_a_signal_to_the_group_that_started_it_reaches_it_not(replica: Replica) -> None:
    assert os.getpgid(replica.process.pid) == replica.process.pid != os.getpgrp()
