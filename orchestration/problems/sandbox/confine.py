"""Takes from this process, for good, all that a computation does not need: files but Python's own, the network, other
processes, threads, signals, and memory and time without end.

Three parts of Linux, none of which asks for root or user namespaces: resource limits; Landlock, which leaves a few folders
to be read; seccomp, which lets through the system calls that are named here. It knows nothing of what is run afterwards.
Invariant: either all three hold, or `Unconfined` is raised.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
import sysconfig
from collections.abc import Sequence

MACHINES = ("x86_64", "aarch64")

# By name: the numbers on x86_64 and on aarch64, None where there is no such call. Linux, asm/unistd_64.h and
# asm-generic/unistd.h.
_CALLS: dict[str, tuple[int | None, int | None]] = {
    # what is read: Landlock says where, and `openat` below that it is only read
    "read": (0, 63), "pread64": (17, 67), "readv": (19, 65), "lseek": (8, 62), "close": (3, 57), "openat": (257, 56),
    "open": (2, None), "stat": (4, None), "fstat": (5, 80), "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78),
    "getdents64": (217, 61), "getcwd": (79, 17), "fcntl": (72, 25), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24),
    # to files that are open already
    "write": (1, 64), "writev": (20, 66), "poll": (7, None), "ppoll": (271, 73), "pselect6": (270, 72), "select": (23, None),
    # memory
    "mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226), "brk": (12, 214), "madvise": (28, 233),
    # itself
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "futex": (202, 98), "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getuid": (102, 174),
    "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "uname": (63, 160), "sysinfo": (99, 179),
    "getrlimit": (97, 163), "getrusage": (98, 165), "times": (100, 153), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "getrandom": (318, 278), "restart_syscall": (219, 128), "exit": (60, 93),
    "exit_group": (231, 94),
    # the clock
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115),
}  # fmt: skip
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_IOCTL, _CLONE3 = (16, 29), (435, 435)
_EPERM, _EACCES, _ENOTTY, _ENOSYS = 1, 13, 25, 38

_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_NO_NEW_PRIVS, _SECCOMP, _FILTER, _DEATH_SIGNAL = 38, 22, 2, 1
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT, _CAPSET = 444, 445, 446, {"x86_64": 126, "aarch64": 91}
# Rights of Landlock's first version: to execute, to write, to read, to list, to remove, and to make files of seven kinds.
_ALL_RIGHTS, _READ_FILE, _READ_FOLDER = (1 << 13) - 1, 1 << 2, 1 << 3
_PATH_BENEATH = 1


class Unconfined(Exception):
    """This machine cannot hold a program: why."""


def confine(processor_seconds: int, memory_bytes: int, packages: Sequence[str] = ()) -> None:
    """Keep this process within its own computation, with so many seconds of a processor and bytes of address space.

    Files can be read in the folders of Python's library, of installed `packages` and of shared libraries, and nowhere else;
    nothing can be written, sent or started. Open files stay open. It ends with the process that started it. Raises
    Unconfined.
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
    rights = ctypes.create_string_buffer(struct.pack("Q", _ALL_RIGHTS))
    rules = _call(libc, "Landlock", _LANDLOCK_CREATE, rights, ctypes.c_size_t(8), 0)
    for path in paths:
        allowed = _READ_FILE | (_READ_FOLDER if os.path.isdir(path) else 0)
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, place))
        _call(libc, "Landlock", _LANDLOCK_ADD, rules, _PATH_BENEATH, rule, 0)
        os.close(place)
    _call(libc, "Landlock", _LANDLOCK_RESTRICT, rules, 0)
    os.close(rules)


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


def program(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter of system calls, as steps of classic BPF (operation, jumps if true and if false, operand): those that are
    named are let through, opening a file only for reading, all others fail."""
    place = MACHINES.index(machine)
    opening = [
        (name, argument) for name, argument in (("openat", 2), ("open", 1)) if _CALLS[name][place] is not None
    ]
    steps = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, _ARCHITECTURES[machine]), (_RETURN, 0, 0, _KILL)]
    steps += [(_LOAD, 0, 0, _NUMBER)]
    for name, argument in opening:
        number = _CALLS[name][place] or 0
        steps += [
            (_EQUAL, 0, 4, number),
            (_LOAD, 0, 0, _FIRST_ARGUMENT + 8 * argument),
            (_SET, 0, 1, _WRITING),
            (_RETURN, 0, 0, _ERROR | _EACCES),
            (_RETURN, 0, 0, _ALLOW),
        ]
    # Python asks of each file whether it is a terminal; the C library takes the older call where this one is not there.
    for number, error in ((_IOCTL[place], _ENOTTY), (_CLONE3[place], _ENOSYS)):
        steps += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERROR | error)]
    for name, numbers in _CALLS.items():
        if numbers[place] is not None and name not in dict(opening):
            steps += [(_EQUAL, 0, 1, numbers[place] or 0), (_RETURN, 0, 0, _ALLOW)]
    return [*steps, (_RETURN, 0, 0, _ERROR | _EPERM)]


def _prctl(libc: ctypes.CDLL, option: int, *arguments: int) -> None:
    values = [ctypes.c_ulong(one) for one in (*arguments, 0, 0, 0, 0)[:4]]
    if libc.prctl(option, *values) != 0:
        raise Unconfined(f"prctl({option}) fails: {os.strerror(ctypes.get_errno())}")


def _call(libc: ctypes.CDLL, name: str, *arguments: object) -> int:
    result = int(libc.syscall(*(ctypes.c_long(one) if isinstance(one, int) else one for one in arguments)))
    if result < 0:
        raise Unconfined(f"the kernel refuses {name}: {os.strerror(ctypes.get_errno())}")
    return result
