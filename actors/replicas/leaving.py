"""How a replica's process ends where its engine cannot go on, and how whatever it started ends with it.

An engine has processes of its own (vLLM's core, and a worker for each GPU below that), and Ray ends no more than the first
of them. Invariant: nothing of an engine outlives its replica, however that one ends, killed from outside included.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

_AFTER_THE_END = 'exec 3<&0; (read _ <&3; kill -9 -"$1") &'
"""For a shell: `read` ends with the pipe, whose other end this process alone holds. The shell in the background is no
child of this process, for Ray kills those."""


def take_along() -> None:
    """End all that this process starts from now on as it ends itself: it leads a process group, which is killed then."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    reader, writer = os.pipe()
    # A process that was forked would hold it open.
    os.register_at_fork(after_in_child=partial(_close, [writer]))
    words = ["/bin/sh", "-c", _AFTER_THE_END, "sh", str(os.getpid())]
    subprocess.run(words, stdin=reader, stdout=subprocess.DEVNULL, process_group=0, check=True)
    os.close(reader)


def _close(files: list[int]) -> None:
    """Close them once: in a fork of a fork the number may be another file's."""
    while files:
        os.close(files.pop())


def leave(why: str) -> None:
    """End this process, so that a fresh one takes its place, and with it what it took along.

    Going on would fail every task that comes; leaving in good order (Ray's `exit_actor`) would be for good.
    """
    print(f"this replica makes way for a new one: {why}", file=sys.stderr, flush=True)
    os._exit(1)
