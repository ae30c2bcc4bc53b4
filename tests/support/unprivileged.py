"""Permissions that count in tests, whoever runs them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

# From linux/capability.h: version 3 of the structures, and the capabilities that override permissions.
_VERSION = 0x20080522
_OVERRIDES = (1 << 1) | (1 << 2)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may write everywhere: take that right from this thread for a while."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    before, less = (ctypes.c_uint32 * 6)(), (ctypes.c_uint32 * 6)()
    assert libc.capget(header, before) == 0
    less[:] = before[:]
    less[0] &= ~_OVERRIDES
    assert libc.capset(header, less) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0
