"""Starts a program and its tests in the sandbox, waits for a verdict, and ends both.

It knows nothing of answers and references. Invariant: when it returns, neither process is there.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).resolve().parent

_START = (
    "import os, sys; os.environ.pop('PYTHONHOME'); sys.path.insert(0, {0!r}); from sandbox.{1} import main; "
    "sys.path.remove({0!r}); main(*{2!r}, {3!r})"
)
_WALL = 6
"""Seconds of the clock for each of the processor: a program may sleep, but not for ever."""

_SPARE_S = 20.0
"""Of the clock, for two interpreters to start in."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may take: seconds of a processor (its tests twice as many) and bytes of address space."""

    processor_seconds: int = 5
    memory_bytes: int = 2**30


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether all tests passed, and why not. `refused`: nothing was run, for this machine cannot confine it. `stalled`: the
    machine gave it no time."""

    passed: bool = False
    why: str = ""
    refused: str = ""
    stalled: bool = False


def run(job: dict[str, Any], limits: Limits) -> Verdict:
    """Judge a program by its tests (`harness.judge` says what `job` holds)."""
    packages = sorted({os.path.realpath(sysconfig.get_path(name)) for name in ("purelib", "platlib")})
    given = {
        "processor_seconds": limits.processor_seconds,
        "memory_bytes": limits.memory_bytes,
        "packages": packages,
    }
    ends: list[int] = []
    try:
        for _ in range(4):
            ends += os.pipe()
        (
            job_read,
            job_write,
            verdict_read,
            verdict_write,
            asked_read,
            asked_write,
            answers_read,
            answers_write,
        ) = ends
        with (
            _process("program", [asked_read, answers_write], given) as program,
            _process("harness", [job_read, verdict_write, asked_write, answers_read], given) as harness,
        ):
            try:
                for end in (job_read, verdict_write, asked_read, asked_write, answers_read, answers_write):
                    os.close(end)
                    ends.remove(end)
                return _verdict(job, job_write, verdict_read, ends, limits, (program.pid, harness.pid))
            finally:
                program.kill()
                harness.kill()
    finally:
        for end in ends:
            os.close(end)


def _verdict(
    job: dict[str, Any],
    job_write: int,
    verdict_read: int,
    ends: list[int],
    limits: Limits,
    pids: tuple[int, ...],
) -> Verdict:
    with open(job_write, "wb") as file:
        ends.remove(job_write)
        try:
            file.write(json.dumps(job).encode())
            file.flush()
        except BrokenPipeError:
            pass  # it says why, or is gone
    ends.remove(verdict_read)
    wall = _WALL * limits.processor_seconds + _SPARE_S
    with open(verdict_read, "rb") as file:
        if not wait([file.fileno()], wall):
            stalled = sum(map(_waited, pids)) > wall / 2
            return Verdict(why=f"it had no verdict after {wall:g} s", stalled=stalled)
        said = file.read()
    return (
        Verdict(**json.loads(said))
        if said
        else Verdict(why="its tests ended without a verdict, out of time or memory")
    )


def _waited(pid: int) -> float:
    """Seconds for which a process was ready to run and had no processor; 0 where the kernel does not say."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _process(module: str, ends: list[int], limits: dict[str, Any]) -> subprocess.Popen[bytes]:
    # By its folder alone: the package around it loads what no program is to find.
    code = _START.format(str(_FOLDER.parent), module, ends, limits)
    # By names that are no links, for inside no link can be read.
    home = ":".join(map(os.path.realpath, (sys.base_prefix, sys.base_exec_prefix)))
    return subprocess.Popen(
        # Without site, which runs what .pth files say: a confined process puts the packages on its path itself.
        [sys.executable, "-s", "-P", "-S", "-B", "-c", code],
        pass_fds=ends,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
        # Nothing of ours, whatever secrets it holds. One order of sets, and one thread for those who would start more.
        env={
            "PYTHONHOME": home,
            "PYTHONHASHSEED": "0",
            "LC_ALL": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        },
    )


@functools.cache
def why_not() -> str:
    """Why this machine cannot run programs, found by running one; "" where it can."""
    found = run({"program": ["def one(): return 1"], "tests": ["assert one() == 1"]}, Limits())
    return "" if found.passed else found.refused or found.why
