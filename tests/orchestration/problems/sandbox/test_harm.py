"""What a hostile program tries in the sandbox, and that the harm did not happen."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.problems.sandbox.run import Verdict, why_not
from tests.orchestration.problems.sandbox.hostile import FOLDER, judged
from tests.support.kernel import needs_sandbox
from tests.support.processes import processes

pytestmark = needs_sandbox


def left_over() -> list[str]:
    """Command lines of sandboxed processes that are there: children of this process, or of none that lives."""
    return [
        title
        for parent, title in processes().values()
        if "from sandbox." in title and parent in (1, os.getpid())
    ]


def test_fork_bomb_has_no_second_process() -> None:
    verdict = judged(
        "import os, ctypes, threading\n"
        "def bomb():\n"
        "    libc = ctypes.CDLL(None)\n"
        "    forked = [libc.fork(), libc.vfork(), libc.syscall(57), libc.syscall(220), libc.syscall(435)]\n"
        "    forked = [one for one in forked if one >= 0]\n"
        "    def start(): threading.Thread(target=bomb).start()\n"
        "    return [forked, tried(os.fork), tried(start), tried(os.execv, '/bin/true', ['true'])]\n",
        "assert bomb() == [[], 'PermissionError', 'RuntimeError', 'PermissionError'], bomb()",
    )
    assert verdict == Verdict(passed=True)
    assert left_over() == []


@pytest.mark.parametrize("program", ["while True: pass", "def f():\n    while True: pass"])
def test_endless_loop_ends_with_its_processor_time(program: str) -> None:
    verdict = judged(program, "f()", seconds=1)
    assert verdict == Verdict(why="Over: the program ended before its tests did")
    assert left_over() == []


def test_sleep_ends_with_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestration.problems.sandbox.run._SPARE_S", -4.0)
    verdict = judged("import time\ndef f(): time.sleep(10_000)", "f()", seconds=1)
    assert verdict.why == "it had no verdict after 2 s"
    assert left_over() == []


def test_ten_gigabytes_are_not_there() -> None:
    program = (
        "import mmap\n"
        "def f(): return [tried(bytearray, 10 * 2**30), tried(mmap.mmap, -1, 10 * 2**30), tried(list, range(10**9))]\n"
    )
    verdict = judged(program, "for one in f(): assert one in ('MemoryError', 'OSError'), one", seconds=20)
    assert verdict == Verdict(passed=True)


def test_socket_reaches_nobody() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.1)
        port = listener.getsockname()[1]
        verdict = judged(
            "import socket, ctypes\n"
            f"def f(): return [tried(socket.create_connection, ('127.0.0.1', {port})), ctypes.CDLL(None).socket(1, 1, 0)]\n",
            "assert f() == ['PermissionError', -1], f()",
        )
        assert verdict == Verdict(passed=True)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_nothing_outside_is_written_changed_or_removed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("kept")
    before = kept.stat()
    verdict = judged(
        "import os\n"
        f"kept, new = {str(kept)!r}, {str(tmp_path / 'new')!r}\n"
        "def f(): return [tried(open, new, 'w'), tried(open, kept, 'a'), tried(os.open, kept, os.O_RDONLY | os.O_TRUNC),\n"
        "    tried(os.truncate, kept, 0), tried(os.unlink, kept), tried(os.rename, kept, new), tried(os.link, kept, new),\n"
        "    tried(os.mkdir, new), tried(os.chmod, kept, 0o777), tried(os.utime, kept), tried(os.mkfifo, new)]\n",
        "assert set(f()) == {'PermissionError'}, f()",
    )
    assert verdict == Verdict(passed=True)
    assert list(tmp_path.iterdir()) == [kept]
    assert kept.read_text() == "kept"
    assert kept.stat() == before or kept.stat().st_mtime_ns == before.st_mtime_ns


def test_symlink_leads_out_of_no_folder(tmp_path: Path) -> None:
    secret, inside = tmp_path / "secret", tmp_path / "packages"
    secret.write_text("a secret")
    inside.mkdir()
    (inside / "fine").write_text("fine")
    (inside / "link").symlink_to(secret)
    code = (
        f"import sys, os; sys.path.insert(0, {str(FOLDER)!r}); from sandbox.confine import confine\n"
        f"confine(5, 2**30, [{str(inside)!r}])\n"
        f"print(open({str(inside / 'fine')!r}).read())\n"
        f"for act in (lambda: open({str(inside / 'link')!r}), lambda: os.symlink('/etc', {str(inside / 'new')!r})):\n"
        "    try: print(act())\n"
        "    except PermissionError as error: print('refused')\n"
    )
    found = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["fine", "refused", "refused"]
    assert not (inside / "new").exists()


def test_contents_and_links_outside_are_not_read(tmp_path: Path) -> None:
    secret, link = tmp_path / "secret", tmp_path / "link"
    secret.write_text("a secret")
    link.symlink_to("somewhere secret")
    verdict = judged(
        "import os, pathlib\n"
        f"secret, link = {str(secret)!r}, {str(link)!r}\n"
        "def f(): return [tried(open, secret), tried(os.listdir, os.path.dirname(secret)), tried(os.readlink, link),\n"
        "    tried(os.open, secret, os.O_PATH), tried(pathlib.Path(link).readlink), tried(os.getxattr, secret, 'user.a')]\n"
        # What the docs say can be told.
        "def g(): return os.stat(secret).st_size, os.path.lexists(link), os.path.exists(secret + 's')\n",
        "assert f() == ['PermissionError'] * 6, f()",
        "assert g() == (8, True, False), g()",
    )
    assert verdict == Verdict(passed=True)


def test_disk_is_not_filled(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    verdict = judged(
        "import os, tempfile\n"
        f"def fill(place): open(os.path.join(place, 'full'), 'wb').write(bytes(2**20) * 500)\n"
        "def out():\n"
        "    for _ in range(1000): os.write(1, bytes(2**20))\n"
        f"def f(): return [tried(fill, one) for one in ({str(tmp_path)!r}, '/tmp', '/dev/shm', '/var/tmp', '.')]\n"
        "def g(): return [tried(tempfile.mkstemp), tried(os.memfd_create, 'full')]\n",
        "assert set(f()) == {'PermissionError'}, f()",
        "assert g() == ['FileNotFoundError', 'PermissionError'], g()",
        "out()",
    )
    assert verdict == Verdict(passed=True)
    assert list(tmp_path.iterdir()) == []
    assert abs(os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize - free) < 400 * 2**20


def test_environment_of_its_parents_stays_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "very secret")
    verdict = judged(
        "import os\n"
        "def all_of():\n"
        "    found = [repr(dict(os.environ))]\n"
        "    for one in ('self', os.getpid(), os.getppid(), 1):\n"
        "        for name in ('environ', 'cmdline', 'mem', 'maps', 'fd/0'):\n"
        "            try: found.append(open(f'/proc/{one}/{name}', 'rb').read(1000).decode(errors='replace'))\n"
        "            except OSError as error: found.append(type(error).__name__)\n"
        "    return found\n",
        "first, *others = all_of()",
        "assert 'SECRET' not in first and 'HOME' not in first, first",
        "assert set(others) == {'PermissionError'}, others",
    )
    assert verdict == Verdict(passed=True)


def test_limits_cannot_be_raised() -> None:
    verdict = judged(
        "import resource as r\n"
        "names = ['RLIMIT_CPU', 'RLIMIT_AS', 'RLIMIT_FSIZE', 'RLIMIT_NPROC']\n"
        "def f(): return [tried(r.setrlimit, getattr(r, one), (r.RLIM_INFINITY,) * 2) for one in names]\n",
        "for one in f(): assert one in ('ValueError', 'PermissionError'), one",
    )
    assert verdict == Verdict(passed=True)


def test_machine_without_landlock_runs_nothing(tmp_path: Path) -> None:
    # A kernel that knows it not, as this one is made to seem by a filter of our own.
    written = tmp_path / "written"
    code = f"""
import ctypes, struct, sys
sys.path.insert(0, {str(FOLDER.parent.parent)!r})
from orchestration.problems.sandbox import confine
from orchestration.problems.sandbox.run import Limits, run, why_not
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, 444), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in steps))
described = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
confine._prctl(libc, 38, 1)
confine._prctl(libc, 22, 2, ctypes.addressof(described))
print(run({{"program": ["open({str(written)!r}, 'w')"], "tests": ["pass"]}}, Limits()).refused)
print(why_not())
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["the kernel refuses Landlock: Function not implemented"] * 2
    assert not written.exists()


def test_this_machine_holds_programs() -> None:
    assert why_not() == ""
