"""The life of a run folder in fixed steps, and a disk that counts what it is asked for and may give out at any point.

`LIFE` has two writers, one after the other: leases, refills, losses, a task given up, segments that fill up with leases open.
`WeakDisk` stands between a run writer and the file system of its process. As a program it lets processes live and die, one
for each line that it is given: [folder, first step, operation, loss, progress file]; it answers each with an exit code.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

import actors.store.writer
from actors.messages import Commit, GivenUp
from actors.store.schema import RUN_FORMAT, TABLES
from actors.store.writer import RunWriter
from tests.support.folders import hold, lost, outcome, settled, stage

SEGMENT_BYTES = 3_500
"""Less than two tasks' records."""


@dataclass(frozen=True)
class Step:
    """What is asked of a writer: to open the folder, to commit (what settles is staged before), or to close it."""

    kind: Literal["open", "commit", "close"]
    commit: Commit = field(default_factory=Commit)

    @property
    def what(self) -> str:
        """What it comes to in the log: the kinds of records that it commits."""
        return f"{self.kind} {[one.name for one in fields(Commit) if getattr(self.commit, one.name)]}"


def _commit(**what: Any) -> Step:
    return Step("commit", Commit(**what))


GAVE_UP = GivenUp("t3", (outcome("t3", "greedy", "quarantined"), outcome("t3", "majority", "quarantined")))

LIFE = (
    Step("open"),
    _commit(holds=(hold(1, "t0", 50), hold(2, "t1", 60), hold(3, "t2", 70))),
    _commit(holds=(hold(2, "t1", 65),)),
    _commit(holds=(hold(4, "t3", 80),), settled=(settled("t0", 40, lease=1),)),
    _commit(holds=(hold(5, "t2", 72, attempt=2),), losses=(lost("t2", 69, lease=3),)),
    _commit(settled=(settled("t1", 61, lease=2),), losses=(lost("t3", 80, lease=4),), given_up=(GAVE_UP,)),
    _commit(holds=(hold(5, "t2", 75, attempt=2), hold(6, "t4", 90), hold(7, "t5", 95))),
    _commit(settled=(settled("t4", 88, lease=6),)),
    _commit(settled=(settled("t5", 94, lease=7),)),
    Step("close"),
    # Lease 5 is open: it is charged now. Numbers of leases begin anew.
    Step("open"),
    _commit(holds=(hold(1, "t2", 77, attempt=3), hold(2, "t6", 78))),
    _commit(settled=(settled("t2", 76, attempt=3, lease=1), settled("t6", 74, lease=2))),
    _commit(holds=(hold(3, "t7", 79),)),
    _commit(holds=(hold(3, "t7", 82),)),
    Step("close"),
)

TASKS = [f"t{number}" for number in range(8)]


class FirstAnswer:
    """Every answer is right."""

    def correct(self, answer: str | None, reference: str) -> bool:
        return answer == reference


def make_folder(folder: Path) -> Path:
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"format": RUN_FORMAT}))
    return folder


def take(folder: Path, writer: RunWriter | None, step: Step) -> RunWriter | None:
    """Ask a folder's writer for one step; the writer there is after it."""
    if step.kind == "open":
        opened = RunWriter(folder, FirstAnswer())
        opened.label(dict.fromkeys(TASKS, "4"))
        return opened
    assert writer is not None
    if step.kind == "close":
        writer.close()
        return None
    for one in step.commit.settled:
        stage(writer, one.task_id, one.lease)
    assert writer.commit(step.commit) == []
    return writer


def once_each(kinds: Iterable[tuple[int, str]]) -> list[int]:
    """Of numbered operations one of each kind: in turn the first of its kind, the second, and so on, so that each round of a
    life gives some."""
    places: dict[str, list[int]] = {}
    for at, kind in kinds:
        places.setdefault(kind, []).append(at)
    return sorted(found[turn % len(found)] for turn, found in enumerate(places.values()))


Loss = Literal["nothing", "contents", "half", "names"]
"""What a disk loses of whatever was not synced when the power went: nothing (the process alone died), all contents, their
second half, or what happened to names (files made, renamed, removed): to those of parts where there are such, which is worse
than to all, and else to those of the log."""


class WeakDisk:
    """Counts operations that change the disk, and calls `fail` in place of (where it is a write: in the middle of) number
    `at`; one that stays full also in place of every later one that needs room.

    `kinds` has for each what it was done to and after what; of the log, where each record is another, also the `step`.
    """

    def __init__(self, folder: Path, at: int, fail: Callable[[], None], *, stays_full: bool = False) -> None:
        self.folder, self.at, self._fail, self._stays_full = folder, at, fail, stays_full
        self.step = ""
        self.done: list[str] = []
        self.kinds: list[str] = []
        self.weak: list[set[Loss]] = []
        self._where = ""
        self._synced = {path.stat().st_ino: path.stat().st_size for path in self._files()}
        self._undo: list[tuple[int, Path, Callable[[], None]]] = []

    def install(self, patch: Callable[[Any, str, Any], None]) -> None:
        """Stand in the way of the run writer, by `patch(owner, name, value)`."""
        write = pq.write_table
        rename, unlink, opened = Path.rename, Path.unlink, Path.open

        def fsync(handle: int) -> None:
            # This machine stays on: to note it is enough, and much faster.
            self._now("fsync")
            status = os.fstat(handle)
            if stat.S_ISDIR(status.st_mode):
                self._undo = [one for one in self._undo if one[0] != status.st_ino]
            else:
                self._synced[status.st_ino] = status.st_size

        def write_table(table: Any, path: Path, **options: Any) -> None:
            self._where = path.parent.name
            if self._due("write_table"):
                write(table, path, **options)
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
                self._fail()
            self._name(path, lambda: unlink(path, missing_ok=True))
            write(table, path, **options)
            self._synced.pop(path.stat().st_ino, None)

        def renamed(path: Path, target: Path) -> Path:
            self._where = path.parent.name
            self._now("rename")
            old = target.read_bytes() if target.exists() else None

            def back() -> None:
                rename(target, path)
                if old is not None:
                    target.write_bytes(old)

            self._name(path, back)
            return rename(path, target)

        def unlinked(path: Path, missing_ok: bool = False) -> None:
            self._where = path.parent.name
            self._now("unlink")
            content = path.read_bytes()
            self._name(path, lambda: path.write_bytes(content))
            unlink(path)

        def opened_(path: Path, mode: str = "r", **options: Any) -> Any:
            if mode != "ab":
                return opened(path, mode, **options)
            self._where = path.parent.name
            self._now("open")
            self._name(path, lambda: unlink(path, missing_ok=True))
            file = opened(path, mode, **options)
            # The number of a file that is gone is given again.
            self._synced.pop(path.stat().st_ino, None)
            return _WeakFile(file, self)

        patch(os, "fsync", fsync)
        patch(pq, "write_table", write_table)
        patch(Path, "rename", renamed)
        patch(Path, "unlink", unlinked)
        patch(Path, "open", opened_)

    def _name(self, path: Path, undo: Callable[[], None]) -> None:
        self._undo.append((path.parent.stat().st_ino, path.parent, undo))

    def _due(self, operation: str) -> bool:
        before = self.done[-1] if self.done else ""
        at = "" if self._where in TABLES else f" at {self.step}"
        self.kinds.append(f"{operation} in {self._where} after {before}{at}")
        self.done.append(operation)
        self.weak.append(set(self._can_lose()))
        lasts = self._stays_full and 0 < self.at < len(self.done) and operation not in ("rename", "unlink")
        return len(self.done) == self.at or lasts

    def _now(self, operation: str) -> None:
        if self._due(operation):
            self._fail()

    def _files(self) -> Iterator[Path]:
        for name in ("log", *actors.store.writer.TABLES):
            yield from (path for path in (self.folder / name).glob("*-*") if path.is_file())

    def _unsynced(self) -> list[tuple[Path, int, int]]:
        """Files with contents that may be lost: synced and whole sizes."""
        sizes = [
            (path, self._synced.get(path.stat().st_ino, 0), path.stat().st_size) for path in self._files()
        ]
        return [one for one in sizes if one[1] < one[2]]

    def _can_lose(self) -> Iterator[Loss]:
        yield "nothing"
        if self._unsynced():
            yield "contents"
            yield "half"
        if self._undo:
            yield "names"

    def lose(self, what: Loss) -> None:
        """Leave on the disk what is there after the power went."""
        if what in ("contents", "half"):
            for path, synced, size in self._unsynced():
                os.truncate(path, synced if what == "contents" else (synced + size) // 2)
        elif what == "names":
            of_parts = any(path.name != "log" for _, path, _ in self._undo)
            for _, path, undo in reversed(self._undo):
                if (path.name != "log") == of_parts:
                    undo()


class _WeakFile:
    """A segment of the log on a weak disk. Every other write is a short one: a file may take less than it is given."""

    def __init__(self, file: Any, disk: WeakDisk) -> None:
        self._file, self._disk, self._short = file, disk, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: Any) -> int:
        if self._disk._due("write"):
            self._file.write(data[: len(data) // 2])
            self._disk._fail()
        self._short = not self._short
        taken: int = self._file.write(data[: len(data) // 2 + 1] if self._short else data)
        return taken


def live_and_die(folder: Path, first: int, at: int, loss: Loss, progress: Path) -> None:
    """The whole of a process: live from step `first` until operation `at` (0: to the end), and be gone; `progress` gets what
    was begun and ended. With 0, what each operation was and what could have been lost before it is written to
    `progress`.json."""
    actors.store.writer.SEGMENT_BYTES = SEGMENT_BYTES
    notes = os.open(progress, os.O_WRONLY | os.O_CREAT)

    def die() -> None:
        disk.lose(loss)
        os._exit(9)

    disk = WeakDisk(folder, at, die)
    disk.install(setattr)
    writer: RunWriter | None = None
    for step in LIFE[first:]:
        disk.step = step.what
        os.write(notes, b"begin\n")
        writer = take(folder, writer, step)
        os.write(notes, b"end\n")
    if at == 0:
        # Not by a way that is counted.
        with open(f"{progress}.json", "w") as file:
            weak = [sorted(losses) for losses in disk.weak]
            json.dump(list(zip(disk.done, disk.kinds, weak, strict=True)), file)


def main() -> None:
    for text in sys.stdin:
        folder, first, at, loss, progress = json.loads(text)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                live_and_die(Path(folder), first, at, loss, Path(progress))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
