"""How this process's memory allocator and garbage collector behave, and how much memory there is to have.

It knows nothing of tensors. Invariant: it changes speed and resident size only, never results.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4

_GROUPS = Path("/sys/fs/cgroup")


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory instead of giving each large block back to the system; True if it agreed.

    CPU tensors of some megabytes otherwise cost a map, page faults and an unmap each time, about a threefold
    loss in training and sampling of small models. Call it before the first large allocation. The process's
    resident size then stays at its peak, but for `give_back_freed_memory`. Elsewhere than on glibc it does nothing and
    returns False.
    """
    libc = _glibc()
    if libc is None:
        return False
    mallopt = libc.mallopt
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mallopt.restype = ctypes.c_int
    # The threshold is a C int: its largest value, not the environment variable's size_t.
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def give_back_freed_memory() -> None:
    """Give what glibc has kept of freed memory back to the system; elsewhere nothing is kept."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim.argtypes = (ctypes.c_size_t,)
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        libc = ctypes.CDLL(None)
        libc.mallopt, libc.malloc_trim  # noqa: B018  (another C library may lack them)
    except (OSError, AttributeError):
        return None
    return libc


def machine_memory() -> int:
    """Bytes of memory that processes here may have: the machine's, or those of a container that has less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([whole, *(limit for limit, _ in _limits())])


def free_memory() -> int:
    """Bytes that can still be taken: what the system calls available, within the limits of a container. Half of the machine's
    where nothing tells."""
    left = [max(0, limit - used) for limit, used in _limits()]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        left += [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        left.append(machine_memory() // 2)
    return min(left)


def _limits(groups: Path = _GROUPS, mine: Path = Path("/proc/self/cgroup")) -> Iterator[tuple[int, int]]:
    """Limit and use in bytes of each control group that this process is in; what the page cache holds of files is no use."""
    try:
        lines = mine.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if not kinds:
            root, names = groups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in kinds.split(","):
            root = groups / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        folder = root / path.lstrip("/")
        for one in (folder, *folder.parents):
            if one == groups.parent:
                break
            try:
                limit = int((one / names[0]).read_text())
                used = int((one / names[1]).read_text())
                told = dict(part.split() for part in (one / "memory.stat").read_text().splitlines())
            except (OSError, ValueError):
                # No such group inside of a container, or "max".
                continue
            yield limit, max(0, used - int(told.get(names[2], 0)))


def spare_what_is_loaded() -> None:
    """Have the garbage collector leave alone all that is there by now. Call it once a process has loaded its models.

    With torch, transformers and vLLM there are 700,000 objects, and each full collection goes through them all: four tenths
    of a second, every two seconds of a busy search, in which nothing is asked of the engine.
    """
    gc.collect()
    gc.freeze()
