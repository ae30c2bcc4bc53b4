"""What Linux tells of waiting for a processor, read from files as it writes them, and once from the kernel itself."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from actors.replicas.starvation import Starvation


def waits(proc: Path, pid: int, thread: int, seconds: float, children: str = "") -> None:
    folder = proc / str(pid) / "task" / str(thread)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "schedstat").write_text(f"123 {int(seconds * 1e9)} 45\n")
    (folder / "children").write_text(children)


def test_the_thread_that_waited_longest_counts_look_by_look(tmp_path: Path) -> None:
    waits(tmp_path, 1, 1, 5.0)
    waits(tmp_path, 1, 2, 7.0)
    starvation = Starvation(tmp_path, 1, every=0.0)
    assert starvation.look() == 0.0
    waits(tmp_path, 1, 1, 8.0)
    waits(tmp_path, 1, 2, 8.0)
    assert starvation.look() == 3.0
    waits(tmp_path, 1, 2, 10.0)
    assert starvation.look() == 5.0


def test_processes_of_an_engines_own_count_too(tmp_path: Path) -> None:
    waits(tmp_path, 1, 1, 0.0, "2 ")
    waits(tmp_path, 2, 2, 0.0, "3 ")
    waits(tmp_path, 3, 4, 1.0)
    starvation = Starvation(tmp_path, 1, every=0.0)
    waits(tmp_path, 3, 4, 3.5)
    assert starvation.look() == 2.5


def test_where_nothing_is_told_nothing_has_starved(tmp_path: Path) -> None:
    assert Starvation(tmp_path, 1).look() == 0.0


def test_who_asks_again_at_once_is_told_what_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: hundreds of calls that ask a busy process how it is leave it no time for anything else."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    waits(tmp_path, 1, 1, 0.0)
    starvation = Starvation(tmp_path, 1, every=1.0)
    waits(tmp_path, 1, 1, 4.0)
    assert starvation.look() == 0.0
    now += 1.1
    assert starvation.look() == 4.0
    waits(tmp_path, 1, 1, 9.0)
    now += 0.5
    assert starvation.look() == 4.0


def test_this_kernel_tells() -> None:
    assert list(Starvation()._read()), os.uname()
