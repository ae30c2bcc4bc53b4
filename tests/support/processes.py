"""The processes under a process, by what they say they are, and waiting for what they do: what a test needs to kill one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def processes() -> dict[int, tuple[int, str]]:
    """All processes, with their parents and command lines."""
    found: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (OSError, IndexError):
            continue
        found[int(folder.name)] = (parent, title)
    return found


def descendants(root: int) -> dict[int, str]:
    """Process ids under `root`, with their command lines."""
    found = processes()
    below: dict[int, str] = {}
    ring = {root}
    while ring:
        ring = {pid for pid, (parent, _) in found.items() if parent in ring}
        below |= {pid: found[pid][1] for pid in ring}
    return below


def actors(kind: str, root: int | None = None) -> list[int]:
    """Processes of actors of class `kind` under `root` (this process), as Ray titles them; the oldest first."""
    mine = descendants(os.getpid() if root is None else root)
    return sorted(pid for pid, title in mine.items() if title.startswith(f"ray::{kind}"))


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 200) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.05)
