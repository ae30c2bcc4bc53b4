"""Takes from this process, for good, all that a computation does not need: files but Python's own, the network, other
processes, threads, signals, and memory and time without end.

Three parts of Linux, none of which asks for root or user namespaces: resource limits; Landlock, which leaves a few folders
to be read; seccomp, which lets through the system calls that `calls` names. It knows nothing of what is run afterwards. No
part of them hides a name: that a file or a process is there, its size, times and owner can be told of any, what is in it
cannot. Invariant: either all three hold, or `Unconfined` is raised.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
import sysconfig
from collections.abc import Sequence

from .calls import MACHINES, program

_NO_NEW_PRIVS, _SECCOMP, _FILTER, _DEATH_SIGNAL = 38, 22, 2, 1
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT, _CAPSET = 444, 445, 446, {"x86_64": 126, "aarch64": 91}
_ASK_VERSION, _PATH_BENEATH, _NO_LOG = 1, 1, 1
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3


class Unconfined(Exception):
    """This machine cannot hold a program: why."""


def confine(processor_seconds: int, memory_bytes: int, packages: Sequence[str] = ()) -> None:
    """Keep this process within its own computation, with so many seconds of a processor and bytes of address space.

    Files can be read in the folders of Python's library, of installed `packages` and of shared libraries, and nowhere else;
    nothing can be written, sent or started, and no other process signalled. Open files stay open. It ends with the process
    that started it. Raises Unconfined.
    """
    if sys.platform != "linux" or platform.machine() not in MACHINES:
        raise Unconfined(
            f"it is {sys.platform} on {platform.machine()}, and it takes Linux on {' or '.join(MACHINES)}"
        )
    libc = ctypes.CDLL(None, use_errno=True)
    _limit(processor_seconds, memory_bytes)
    _prctl(libc, _DEATH_SIGNAL, 9)
    _prctl(libc, _NO_NEW_PRIVS, 1)
    _landlock(libc, readable_paths(packages))
    # Root's own rights, which go past limits and owners.
    header, none = (
        ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0)),
        ctypes.create_string_buffer(24),
    )
    _call(libc, "capset", _CAPSET[platform.machine()], header, none)
    _seccomp(libc)


def _limit(processor_seconds: int, memory_bytes: int) -> None:
    import resource

    limits = {
        # One value for both: past the lower of two there would be a signal that a program can ignore.
        resource.RLIMIT_CPU: processor_seconds,
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 1,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_MEMLOCK: 0,
    }
    for kind, most in limits.items():
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _landlock(libc: ctypes.CDLL, paths: Sequence[str]) -> None:
    version = _call(libc, "Landlock", _LANDLOCK_CREATE, 0, 0, _ASK_VERSION)
    rights = ruleset(version)
    rules = _call(libc, "Landlock", _LANDLOCK_CREATE, rights, ctypes.c_size_t(len(rights)), 0)
    for path in paths:
        allowed = _READ_FILE | (_READ_FOLDER if os.path.isdir(path) else 0)
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, place))
        _call(libc, "Landlock", _LANDLOCK_ADD, rules, _PATH_BENEATH, rule, 0)
        os.close(place)
    # What is refused goes to the system's log from version 7 on, which a program could fill.
    _call(libc, "Landlock", _LANDLOCK_RESTRICT, rules, _NO_LOG if version >= 7 else 0)
    os.close(rules)


def ruleset(version: int) -> bytes:
    """All that a version of Landlock can take: 64-bit words for files, for the network from version 4 on, and from 6 on for
    sockets without a file and signals to who is not confined with it."""
    # The first 13 rights: to execute, write, read, list, remove, and make files of seven kinds.
    files = (1 << 13) - 1
    for since, right in ((2, 13), (3, 14), (5, 15)):  # to link elsewhere, to cut off, to control devices
        files |= (version >= since) << right
    words = [files]
    if version >= 4:
        words += [0b11]
    if version >= 6:
        words += [0b11]
    return struct.pack(f"={len(words)}Q", *words)


def readable_paths(packages: Sequence[str]) -> list[str]:
    """What a program may read: libraries, and where time zones and random numbers come from."""
    names = [*packages, *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))]
    names += [
        os.path.join(prefix, folder)
        for prefix in (sys.base_prefix, sys.base_exec_prefix)
        for folder in ("lib", "lib64")
    ]
    names += [
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/etc/ld.so.cache",
        "/usr/share/zoneinfo",
    ]
    names += ["/dev/urandom"]
    return [name for name in dict.fromkeys(names) if os.path.exists(name)]


def _seccomp(libc: ctypes.CDLL) -> None:
    machine = platform.machine()
    steps = program(machine)
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    described = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    _prctl(libc, _SECCOMP, _FILTER, ctypes.addressof(described))


def _prctl(libc: ctypes.CDLL, option: int, *arguments: int) -> None:
    values = [ctypes.c_ulong(one) for one in (*arguments, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *values) != 0:
        raise Unconfined(f"prctl({option}) fails: {os.strerror(ctypes.get_errno())}")


def _call(libc: ctypes.CDLL, name: str, *arguments: object) -> int:
    result = int(libc.syscall(*(ctypes.c_long(one) if isinstance(one, int) else one for one in arguments)))
    if result < 0:
        raise Unconfined(f"the kernel refuses {name}: {os.strerror(ctypes.get_errno())}")
    return result
