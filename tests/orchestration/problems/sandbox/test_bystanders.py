"""What a hostile program tries on processes beside it: signals, files that it holds, sockets."""

from __future__ import annotations

import platform
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestration.problems.sandbox.confine import ruleset
from orchestration.problems.sandbox.run import Verdict
from tests.orchestration.problems.sandbox.hostile import FOLDER, judged
from tests.support.kernel import needs_sandbox

pytestmark = needs_sandbox


def test_signal_to_its_parent_is_not_sent() -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: got.append(number))
    try:
        verdict = judged(
            "import os, signal, ctypes\n"
            "def f():\n"
            "    mine = os.getppid()\n"
            "    sent = [tried(os.kill, one, signal.SIGUSR1) for one in (mine, 0, -1, 1)]\n"
            "    libc = ctypes.CDLL(None)\n"
            "    return sent, libc.syscall(200, mine, 10), libc.syscall(234, mine, mine, 10)\n",
            "assert f() == (['PermissionError'] * 4, -1, -1), f()",
        )
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert verdict == Verdict(passed=True)
    assert got == []


def test_pair_of_sockets_reaches_its_own_ends_alone(tmp_path: Path) -> None:
    place = str(tmp_path / "place")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(place)
        listener.settimeout(0.1)
        verdict = judged(
            "import socket\n"
            "def own():\n"
            "    first, second = socket.socketpair()\n"
            "    first.setblocking(False), first.send(b'x')\n"
            f"    return second.recv(1), tried(first.sendto, b'x', {place!r}), tried(first.connect, {place!r}),\\\n"
            "        tried(first.bind, '\\0here'), tried(socket.send_fds, first, [b'x'], [0]), tried(first.sendmsg, [b'x'])\n"
            "def other(): return [tried(socket.socketpair, *one) for one in\n"
            "    [(socket.AF_UNIX, socket.SOCK_DGRAM), (socket.AF_UNIX, socket.SOCK_SEQPACKET), (socket.AF_INET,)]]\n",
            "assert own() == (b'x', *['PermissionError'] * 5), own()",
            "assert other() == ['PermissionError'] * 3, other()",
        )
        assert verdict == Verdict(passed=True)
        with pytest.raises(TimeoutError):
            listener.recv(1)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the same user that has nothing to do with the sandbox."""
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        yield process
        process.kill()


def test_owner_of_a_file_gets_no_signal(bystander: subprocess.Popen[bytes]) -> None:
    # F_SETOWN, F_SETSIG and O_ASYNC, or what they are in ioctl: the kernel signals whom a pipe is said to be owned by.
    program = f"""
import fcntl, os, struct
whom = struct.pack("i", {bystander.pid})
tries = [(fcntl.F_SETOWN, {bystander.pid}), (15, struct.pack("i", 1) + whom), (10, 9)]
orders = [(0x8901, whom), (0x8902, whom), (0x5452, struct.pack("i", 1))]
def f(x):
    said = []
    for fd in range(3, 64):
        try: flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        except OSError: continue
        said += [tried(fcntl.fcntl, fd, *one) for one in tries] + [tried(fcntl.fcntl, fd, fcntl.F_SETFL, flags | os.O_ASYNC)]
        said += [tried(fcntl.ioctl, fd, *one) for one in orders]
    return said
"""
    verdict = judged(
        program, "assert f(1)", "assert set(f(2)) == {'PermissionError', 'OSError'}, f(2)", "f(3)"
    )
    assert verdict == Verdict(passed=True)
    with pytest.raises(subprocess.TimeoutExpired):
        bystander.wait(0.3)


def test_no_call_that_signals_or_changes_another_process_is_there(bystander: subprocess.Popen[bytes]) -> None:
    # kill, tkill, tgkill, rt_sigqueueinfo, rt_tgsigqueueinfo, timer_create, mq_open, mq_notify, prctl, ptrace, setpgid,
    # setpriority, sched_setscheduler, sched_setaffinity, prlimit64, kcmp, and from 424 on pidfd_send_signal, io_uring_setup,
    # pidfd_open, pidfd_getfd, process_madvise, process_mrelease. The same on x86_64's second table, by a bit of the number.
    numbers = {
        "x86_64": (62, 200, 234, 129, 297, 222, 240, 244, 157, 101, 109, 141, 144, 203, 302, 312),
        "aarch64": (129, 130, 131, 138, 240, 107, 180, 184, 167, 117, 154, 140, 119, 122, 261, 272),
    }[platform.machine()] + (424, 425, 434, 438, 440, 448)
    verdict = judged(
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def f(number): return libc.syscall(number, {0}, {0}, 9, 9, 0, 0), ctypes.get_errno()\n".replace(
            "{0}", str(bystander.pid)
        ),
        f"for one in {numbers}: assert f(one) == f(one | 1 << 30) == (-1, 1), (one, f(one), f(one | 1 << 30))",
    )
    assert verdict == Verdict(passed=True)
    assert bystander.poll() is None


def test_nobody_waits_for_a_file_that_a_program_holds() -> None:
    # F_SETLEASE makes the kernel stop who opens the file until the holder lets go, or 45 seconds are over.
    verdict = judged(
        "import fcntl, os, signal, this\n"
        "signal.signal(signal.SIGIO, signal.SIG_IGN)\n"
        "end = open(this.__file__)\n"
        "tries = [(fcntl.F_SETLEASE, fcntl.F_WRLCK), (fcntl.F_SETLEASE, fcntl.F_RDLCK), (fcntl.F_NOTIFY, 4),\n"
        "    (fcntl.F_SETPIPE_SZ, 1 << 20), (fcntl.F_ADD_SEALS, 1), (fcntl.F_GETOWN, 0)]\n"
        "def f(): return [*(tried(fcntl.fcntl, end, *one) for one in tries),\n"
        "    tried(fcntl.flock, end, fcntl.LOCK_SH), tried(fcntl.lockf, end, fcntl.LOCK_SH)]\n"
        "def g():\n"
        "    copy = os.dup(end.fileno())\n"
        "    os.set_blocking(copy, False), os.set_inheritable(copy, False)\n"
        "    return os.get_blocking(copy), os.get_inheritable(copy)\n",
        "assert set(f()) == {'PermissionError'}, f()",
        "assert g() == (False, False), g()",
    )
    assert verdict == Verdict(passed=True)


def test_half_of_an_argument_that_the_kernel_leaves_out_hides_nothing(
    bystander: subprocess.Popen[bytes],
) -> None:
    fcntl_number, ioctl_number = {"x86_64": (72, 16), "aarch64": (25, 29)}[platform.machine()]
    verdict = judged(
        "import ctypes\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def f(number, what, value):\n"
        "    said = libc.syscall(*(ctypes.c_ulong(one) for one in (number, 3, what | 7 << 32, value)))\n"
        "    return said, ctypes.get_errno()\n",
        f"assert f({fcntl_number}, 8, {bystander.pid}) == (-1, 1)",
        f"assert f({fcntl_number}, 4, 0o20000 | 7 << 32) == (-1, 1)",
        f"assert f({ioctl_number}, 0x8901, 0) == (-1, 25)",
    )
    assert verdict == Verdict(passed=True)


def test_landlock_alone_keeps_signals_in_where_it_can(bystander: subprocess.Popen[bytes]) -> None:
    code = f"""
import ctypes, fcntl, os, signal, sys, time
sys.path.insert(0, {str(FOLDER)!r})
from sandbox import confine
libc = ctypes.CDLL(None, use_errno=True)
version = confine._call(libc, "Landlock", 444, 0, 0, 1)
if version < 6:
    sys.exit("old")
ends = os.pipe()
confine._prctl(libc, 38, 1)
confine._landlock(libc, [])
for act in (lambda: os.kill({bystander.pid}, 9), lambda: os.kill(os.getppid(), 0)):
    try: print(act())
    except PermissionError: print("refused")
fcntl.fcntl(ends[0], fcntl.F_SETOWN, {bystander.pid})
fcntl.fcntl(ends[0], 10, 9)
fcntl.fcntl(ends[0], fcntl.F_SETFL, os.O_ASYNC)
os.write(ends[1], b"x")
"""
    found = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    if found.stderr.strip() == "old":
        pytest.skip("this kernel's Landlock knows nothing of signals")
    assert found.stdout.split() == ["refused", "refused"], found.stderr
    with pytest.raises(subprocess.TimeoutExpired):
        bystander.wait(0.3)


def test_landlock_is_asked_for_what_its_version_has() -> None:
    assert [len(ruleset(version)) for version in range(1, 9)] == [8, 8, 8, 16, 16, 24, 24, 24]
    files = [int.from_bytes(ruleset(version)[:8], sys.byteorder) for version in range(1, 6)]
    assert files == [0x1FFF, 0x3FFF, 0x7FFF, 0x7FFF, 0xFFFF]
