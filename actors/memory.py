"""How this process's memory allocator and garbage collector behave.

It knows nothing of tensors. Invariant: it changes speed and resident size only, never results.
"""

from __future__ import annotations

import ctypes
import gc
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory instead of giving each large block back to the system; True if it agreed.

    CPU tensors of some megabytes otherwise cost a map, page faults and an unmap each time, about a threefold
    loss in training and sampling of small models. Call it before the first large allocation. The process's
    resident size then stays at its peak. Elsewhere than on glibc it does nothing and returns False.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mallopt.restype = ctypes.c_int
    # The threshold is a C int: its largest value, not the environment variable's size_t.
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def spare_what_is_loaded() -> None:
    """Have the garbage collector leave alone all that is there by now. Call it once a process has loaded its models.

    With torch, transformers and vLLM there are 700,000 objects, and each full collection goes through them all: four tenths
    of a second, every two seconds of a busy search, in which nothing is asked of the engine.
    """
    gc.collect()
    gc.freeze()
