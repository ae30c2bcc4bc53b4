"""A disk that is full, or breaks, at any kind of a run writer's operations: one line says so, and the folder goes on."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import actors.store.writer
from actors.errors import UserError
from actors.messages import Commit
from actors.store.log import FolderLock
from actors.store.writer import RunWriter
from tests.support.crashing import LIFE, SEGMENT_BYTES, Step, WeakDisk, make_folder, once_each, take
from tests.support.folder_checks import State, after, check_between, go_on, read
from tests.support.folders import column, done_keys, hold, opened, settle

GO_ON = "the same command goes on where it stopped"


NEEDS_ROOM = ("open", "write", "fsync", "write_table")


def undisturbed(folder: Path) -> WeakDisk:
    """The disk of an undisturbed life."""
    writer: RunWriter | None = None
    disk = WeakDisk(make_folder(folder), 0, lambda: None)
    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch.setattr)
        for step in LIFE:
            disk.step = step.what
            writer = take(folder, writer, step)
    return disk


def trouble(folder: Path, at: int, number: int) -> int:
    """Live in a folder whose disk gives out at operation `at` and, where it is full, stays so; the steps that were taken."""

    def fail() -> None:
        raise OSError(number, "whatever this system calls it")

    disk = WeakDisk(make_folder(folder), at, fail, stays_full=number == errno.ENOSPC)
    mend = "make room" if number == errno.ENOSPC else "see that this machine can write there"
    told = f"folder = {str(folder)!r}: {os.strerror(number)}: {mend}; {GO_ON}"
    taken: list[Step] = []
    writer: RunWriter | None = None

    def live() -> None:
        nonlocal writer
        for step in LIFE:
            taken.append(step)
            writer = take(folder, writer, step)

    with pytest.MonkeyPatch.context() as patch:
        disk.install(patch.setattr)
        with pytest.raises(UserError) as first:
            live()
        assert str(first.value) == told
        if taken[-1].kind == "commit":
            assert writer is not None
            with pytest.raises(UserError) as again:
                writer.commit(Commit(holds=(hold(99, "t9", 1),)))
            assert str(again.value) == told
            writer.close()
    return len(taken) - 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["full", "broken"])
def test_trouble_at_any_kind_of_operation_is_one_line_and_the_folder_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Where the disk is full, at each that needs room; where it breaks, at each that renames or removes."""
    monkeypatch.setattr(actors.store.writer, "SEGMENT_BYTES", SEGMENT_BYTES)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    disk = undisturbed(tmp_path / "undisturbed")
    assert {*NEEDS_ROOM, "rename", "unlink"} == set(disk.done)
    for at in once_each(enumerate(disk.kinds, 1)):
        operation = disk.done[at - 1]
        if (operation in NEEDS_ROOM) != (number == errno.ENOSPC):
            continue
        folder = tmp_path / f"{at}-{operation}"
        steps = trouble(folder, at, number)
        FolderLock(folder, patience=0.0).release()
        found = read(folder)
        check_between(found, after(LIFE[:steps], State()), after(LIFE[: steps + 1], State()))
        go_on(folder, found)


SMALL_FILES = """
    import resource, sys
    from pathlib import Path
    import actors.store.writer
    from actors.errors import UserError
    from actors.store.writer import RunWriter
    from tests.support.folders import settle

    folder, limit, actors.store.writer.SEGMENT_BYTES = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    writer = RunWriter(folder, None)
    told = []
    try:
        while True:
            settle(writer, f"t{len(told)}")
            told.append(f"t{len(told)}")
    except UserError as error:
        print(error)
    try:
        settle(writer, "t99")
    except UserError as error:
        print(error)
    writer.close()
    print(*told)
"""


@pytest.mark.parametrize(
    ("limit", "segment"), [(10_000, 1 << 20), (4_000, 3_600)], ids=["in the log", "while a part is made"]
)
def test_a_limit_of_the_system_is_met_in_the_middle(tmp_path: Path, limit: int, segment: int) -> None:
    """Really: the system cuts a write short, and refuses the rest."""
    words = [sys.executable, "-c", textwrap.dedent(SMALL_FILES), str(tmp_path), str(limit), str(segment)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    first, second, told = done.stdout.splitlines()
    assert first == second == f"folder = {str(tmp_path)!r}: File too large: make room; {GO_ON}"
    acknowledged = {f"{task}/{kind}" for task in told.split() for kind in ("greedy", "majority")}
    sizes = [path.stat().st_size for path in (tmp_path / "log").iterdir()]
    whole = limit not in sizes
    assert whole == (len(sizes) == 2), "the log was cut off, or a part of a whole segment"
    found = set(done_keys(tmp_path))
    assert acknowledged <= found
    # Where it was the part, the last task was in the log.
    assert len(found) == len(acknowledged) + 2 * whole
    with opened(tmp_path) as writer:
        assert set(done_keys(tmp_path)) == found
        settle(writer, "more")
    assert sorted(column(tmp_path, "outcomes", "key")) == sorted(found | {"more/greedy", "more/majority"})


LEFT_OVER = """
    import resource, sys
    from pathlib import Path
    from actors.errors import UserError
    from actors.store.writer import RunWriter
    from tests.support.folders import settle

    writer = RunWriter(Path(sys.argv[1]), None)
    settle(writer, "a")
    [segment] = (Path(sys.argv[1]) / "log").iterdir()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (segment.stat().st_size + 100, limits[1]))
    try:
        settle(writer, "b")
    except UserError:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    torn = segment.read_bytes()
    print(torn.endswith(b"\\n"))
    writer.close()
    del writer
    print(segment.read_bytes() == torn)
"""


def test_what_was_left_over_is_not_written_later(tmp_path: Path) -> None:
    """The rest of a line that was cut off must not follow once there is room: the next writer has counted it as lost."""
    words = [sys.executable, "-c", textwrap.dedent(LEFT_OVER), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert (done.stderr, done.stdout.split()) == ("", ["False", "True"])
    with opened(tmp_path):
        assert set(done_keys(tmp_path)) == {"a/greedy", "a/majority"}


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"^folder = '.*/file/run': Not a directory: see that"):
        RunWriter(tmp_path / "file" / "run", None)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "samples").write_text("")
    with pytest.raises(UserError, match=r"^folder = '.*/run': File exists: see that"):
        RunWriter(tmp_path / "run", None)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with opened(folder):
        pass
    for path in (folder, folder / "log"):
        path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="Permission denied: see that this machine can write there"):
            RunWriter(folder, None)
    finally:
        for path in (folder, folder / "log"):
            path.chmod(0o700)
    with opened(folder):
        pass
