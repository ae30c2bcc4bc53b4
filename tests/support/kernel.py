"""Whether this machine's kernel has what the sandbox of programs takes.

It asks the kernel and not the sandbox: where the kernel has it and the sandbox refuses, tests fail.
"""

from __future__ import annotations

import ctypes
import platform
import sys

import pytest

_LANDLOCK_CREATE, _ASK_VERSION = 444, 1


def _why_not() -> str:
    """What is missing; empty where nothing is."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return f"the sandbox takes Linux on x86_64 or aarch64, not {sys.platform} on {platform.machine()}"
    call = ctypes.CDLL(None, use_errno=True).syscall
    if call(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), _ASK_VERSION) < 1:
        return f"this kernel ({platform.release()}) has no Landlock, or it is turned off"
    return ""


_WHY = _why_not()

needs_sandbox = pytest.mark.skipif(bool(_WHY), reason=_WHY)
