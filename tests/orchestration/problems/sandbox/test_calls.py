"""The filter of system calls, run here as the kernel would run it, for both machines."""

from __future__ import annotations

import functools
import os
import platform

import pytest

from orchestration.problems.sandbox.calls import (
    CALLS,
    EACCES,
    ENOSYS,
    ENOTTY,
    EPERM,
    MACHINES,
    program,
    uses_of,
)

ALLOWED, KILLED = 0, -1
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


steps_of = functools.cache(program)


def answer(machine: str, number: int, *arguments: int, architecture: int | None = None) -> int:
    """What a call gets: ALLOWED, KILLED or an error."""
    words = [number, architecture or ARCHITECTURES[machine], 0, 0]
    for one in (*arguments, 0, 0, 0, 0, 0, 0)[:6]:
        words += [one & 0xFFFFFFFF, one >> 32]
    steps, place, held = steps_of(machine), 0, 0
    while True:
        what, true, false, value = steps[place]
        place += 1
        match what:
            case 0x20:
                held = words[value // 4]
            case 0x15:
                place += true if held == value else false
            case 0x45:
                place += true if held & value else false
            case 0x06:
                return {0x7FFF0000: ALLOWED, 0x80000000: KILLED}.get(value, value & 0xFFFF)


def number_of(machine: str, name: str) -> int:
    number = CALLS[name][MACHINES.index(machine)]
    assert number is not None
    return number


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_not_named_fails(machine: str) -> None:
    named = {numbers[MACHINES.index(machine)]: name for name, numbers in CALLS.items()}
    limited = uses_of(machine)
    for number in range(600):
        if number not in named:
            assert answer(machine, number) == EPERM
        elif named[number] not in limited:
            assert answer(machine, number, *[(1 << 64) - 1] * 6) == ALLOWED
        # x86_64 has a second table, by this bit.
        assert answer(machine, number | 1 << 30) == EPERM
    assert answer(machine, number_of(machine, "read"), architecture=0x40000003) == KILLED
    assert len(program(machine)) < 4096
    assert all(0 <= jump < 256 for _, *jumps, _ in program(machine) for jump in jumps)


FCNTL = [
    (0, 3, ALLOWED), (1, 0, ALLOWED), (2, 1, ALLOWED), (3, 0, ALLOWED), (1030, 3, ALLOWED),
    (4, 0, ALLOWED), (4, 0o4002, ALLOWED), (4, 0o20000, EPERM), (4, 0o24000, EPERM), (4, 0o2000, EPERM),
    # locks, owners, signals, leases, notices, seals, pipes
    *((what, 0, EPERM) for what in (5, 6, 7, 8, 9, 10, 11, 15, 16, 17, 36, 37, 38)),
    *((what, 0, EPERM) for what in range(1024, 1044) if what != 1030),
]  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES)
def test_open_files_are_copied_and_made_not_to_wait_and_nothing_else(machine: str) -> None:
    number = number_of(machine, "fcntl")
    for what, value, expected in FCNTL:
        assert answer(machine, number, 3, what, value) == expected, (what, value)
        # The kernel reads the lower half of the command.
        assert answer(machine, number, 3, what | 5 << 32, value) == expected, (what, value)


@pytest.mark.parametrize("machine", MACHINES)
def test_other_calls_have_their_harmless_uses(machine: str) -> None:
    def said(name: str, *arguments: int) -> int:
        return answer(machine, number_of(machine, name), *arguments)

    assert said("ioctl", 3, 0x5421) == ALLOWED
    # TCGETS, TIOCSTI, FIOASYNC, FIOSETOWN, SIOCSPGRP
    assert {said("ioctl", 3, one) for one in (0x5401, 0x5412, 0x5452, 0x8901, 0x8902)} == {ENOTTY}
    assert {said("socketpair", 1, kind) for kind in (1, 1 | 0o2000000, 1 | 0o4000)} == {ALLOWED}
    assert {
        said("socketpair", *one) for one in ((1, 2), (1, 3), (1, 5), (2, 1), (16, 1), (1, 2 | 0o2000000))
    } == {EPERM}
    assert said("sendto", 3, 1 << 40, 1, 0, 0, 0) == ALLOWED
    assert {said("sendto", 3, 1 << 40, 1, 0, one, 16) for one in (1, 1 << 32, 1 << 40)} == {EPERM}
    assert {said("madvise", 0, 4096, one) for one in (4, 8, 14)} == {ALLOWED}
    # MADV_COLD, MADV_PAGEOUT, MADV_HWPOISON
    assert {said("madvise", 0, 4096, one) for one in (20, 21, 100)} == {EPERM}
    assert said("clone3") == ENOSYS


def test_files_are_opened_to_be_read() -> None:
    machine = platform.machine()
    if machine not in MACHINES:
        pytest.skip("flags are those of this machine")
    number = number_of(machine, "openat")
    for flags in (
        os.O_RDONLY,
        os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_LARGEFILE,
    ):
        assert answer(machine, number, 3, 0, flags) == ALLOWED
    for flags in (
        os.O_WRONLY,
        os.O_RDWR,
        os.O_CREAT,
        os.O_TRUNC,
        os.O_APPEND,
        os.O_TMPFILE,
        os.O_PATH,
        os.O_ASYNC,
    ):
        assert answer(machine, number, 3, 0, os.O_CLOEXEC | flags) == EACCES
