"""The processes under a process, by what they say they are: what a test needs to kill one of Ray's actors."""

from __future__ import annotations

import os
from pathlib import Path


def descendants(root: int) -> dict[int, str]:
    """Process ids under `root`, with their command lines."""
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
