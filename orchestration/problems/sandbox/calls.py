"""The system calls that a computation may make, as a filter for seccomp.

What a call does can hang on its arguments: by `fcntl` and `ioctl` alone others are signalled, or kept from a file. So of
calls with several uses the uses are named, too. It knows nothing of how a filter is laid on. Invariant: what is not named
here fails.
"""

from __future__ import annotations

from typing import NamedTuple

MACHINES = ("x86_64", "aarch64")

# By name: the numbers on x86_64 and on aarch64, None where there is no such call. Linux, asm/unistd_64.h and
# asm-generic/unistd.h.
CALLS: dict[str, tuple[int | None, int | None]] = {
    # what is read: Landlock says where, and `openat` below that it is only read
    "read": (0, 63), "pread64": (17, 67), "readv": (19, 65), "lseek": (8, 62), "close": (3, 57), "openat": (257, 56),
    "open": (2, None), "stat": (4, None), "fstat": (5, 80), "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "getdents64": (217, 61), "getcwd": (79, 17),
    "fcntl": (72, 25), "ioctl": (16, 29), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24),
    # to files that are open already
    "write": (1, 64), "writev": (20, 66), "poll": (7, None), "ppoll": (271, 73), "pselect6": (270, 72), "select": (23, None),
    # a pair of ends that both are its own, by which an event loop wakes itself
    "socketpair": (53, 199), "sendto": (44, 206), "recvfrom": (45, 207),
    # memory
    "mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226), "brk": (12, 214), "madvise": (28, 233),
    # itself
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "futex": (202, 98), "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getuid": (102, 174),
    "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "uname": (63, 160), "sysinfo": (99, 179),
    "getrlimit": (97, 163), "getrusage": (98, 165), "times": (100, 153), "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123), "getrandom": (318, 278), "restart_syscall": (219, 128), "exit": (60, 93),
    "exit_group": (231, 94), "clone3": (435, 435),
    # the clock
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None),
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115),
}  # fmt: skip
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
EPERM, EACCES, ENOTTY, ENOSYS = 1, 13, 25, 38


class Word(NamedTuple):
    """What one half of an argument has to be: `value`, or to have no bit of `none_of`. Of arguments that the kernel takes for
    an int only the lower half counts."""

    argument: int
    value: int = 0
    none_of: int = 0
    upper: bool = False


class Uses(NamedTuple):
    """The uses of a call that are let through, each the words that all must hold; any other fails with `error`."""

    uses: list[tuple[Word, ...]]
    error: int = EPERM


_NONBLOCK, _CLOSE_ON_EXEC, _NO_TERMINAL = 0o4000, 0o2000000, 0o400
# O_LARGEFILE, O_DIRECTORY, O_NOFOLLOW.
_LARGE_FOLDER_NO_LINK = {"x86_64": 0o700000, "aarch64": 0o540000}
_DUPLICATE, _GET_FLAGS, _SET_FLAGS, _GET_STATUS, _SET_STATUS, _DUPLICATE_CLOSED = 0, 1, 2, 3, 4, 1030
_SET_NONBLOCK = 0x5421
_UNIX, _STREAM = 1, 1
# MADV_NORMAL to MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE: not those that push out pages that others share.
_ADVICE = (0, 1, 2, 3, 4, 8, 14, 15)


def uses_of(machine: str) -> dict[str, Uses]:
    """The calls of which only some uses are let through."""
    all_but = 0xFFFFFFFF
    # Read only: no flag that writes, makes or empties a file, or opens one (O_PATH) where Landlock is not asked.
    reading = all_but & ~(_NONBLOCK | _CLOSE_ON_EXEC | _NO_TERMINAL | _LARGE_FOLDER_NO_LINK[machine])
    # What may be set of an open file: that it does not wait. Not O_ASYNC, by which the kernel sends a signal.
    status = all_but & ~(_NONBLOCK | 0o3 | _LARGE_FOLDER_NO_LINK[machine])
    pair = all_but & ~(_STREAM | _NONBLOCK | _CLOSE_ON_EXEC)
    plain = (_DUPLICATE, _GET_FLAGS, _SET_FLAGS, _GET_STATUS, _DUPLICATE_CLOSED)
    return {
        "openat": Uses([(Word(2, none_of=reading),)], EACCES),
        "open": Uses([(Word(1, none_of=reading),)], EACCES),
        "fcntl": Uses([*((Word(1, one),) for one in plain), (Word(1, _SET_STATUS), Word(2, none_of=status))]),
        # Python asks of each file whether it is a terminal, and is to hear that it is none.
        "ioctl": Uses([(Word(1, _SET_NONBLOCK),)], ENOTTY),
        "socketpair": Uses([(Word(0, _UNIX), Word(1, none_of=pair))]),
        # To the other end, never to an address.
        "sendto": Uses([(Word(4, 0), Word(4, 0, upper=True))]),
        "madvise": Uses([(Word(2, one),) for one in _ADVICE]),
        # The C library takes the older call where this one is not there, and that one is not named.
        "clone3": Uses([], ENOSYS),
    }


_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _SET, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16

Step = tuple[int, int, int, int]


def program(machine: str) -> list[Step]:
    """The filter of system calls, as steps of classic BPF (operation, jumps if true and if false, operand): those that are
    named are let through, of some only the uses that are named, all others fail."""
    place = MACHINES.index(machine)
    limited = uses_of(machine)
    steps: list[Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for name, numbers in CALLS.items():
        number = numbers[place]
        if number is None:
            continue
        then = _uses(limited[name]) if name in limited else [(_RETURN, 0, 0, _ALLOW)]
        steps += [(_EQUAL, 0, len(then), number), *then]
    return [*steps, (_RETURN, 0, 0, _ERROR | EPERM)]


def _uses(limited: Uses) -> list[Step]:
    steps: list[Step] = []
    for use in limited.uses:
        for place, word in enumerate(use):
            # Both machines store the lower half first.
            where = _ARGUMENTS + 8 * word.argument + 4 * word.upper
            # Past what is left of this use, and its return.
            on = 2 * (len(use) - place) - 1
            test = (_SET, on, 0, word.none_of) if word.none_of else (_EQUAL, 0, on, word.value)
            steps += [(_LOAD, 0, 0, where), test]
        steps += [(_RETURN, 0, 0, _ALLOW)]
    return [*steps, (_RETURN, 0, 0, _ERROR | limited.error)]
