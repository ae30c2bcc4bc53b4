"""A log that was torn, damaged or touched by others; and one writer a folder."""

from __future__ import annotations

import io
import json
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.errors import UserError
from actors.store.digests import DigestMap
from actors.store.done import read_done
from actors.store.library import SampleLibrary
from actors.store.log import FolderLock, read_books, read_segment
from actors.store.schema import RUN_FORMAT
from actors.store.writer import RunWriter
from orchestration.problems import Problem
from orchestration.runs.problem_store import ProblemStore, stored_problems
from orchestration.runs.run import Run
from tests.support.folders import column, die, done_keys, opened, settle


def logged(folder: Path, tasks: str) -> Path:
    """A folder whose writer died with these tasks in its log, one commit each; the log's path."""
    writer = RunWriter(folder, None)
    for task in tasks:
        settle(writer, task, flops=10)
    die(writer)
    [segment] = (folder / "log").iterdir()
    return segment


def test_a_torn_last_line_was_never_written(tmp_path: Path) -> None:
    whole = logged(tmp_path / "whole", "abc").read_bytes()
    last = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    for cut in (last, last + 1, last + 8, last + 9, (last + len(whole)) // 2, len(whole) - 1):
        folder = tmp_path / f"cut-{cut}"
        segment = logged(folder, "abc")
        segment.write_bytes(whole[:cut])
        kept = {f"{task}/{kind}" for task in "ab" for kind in ("greedy", "majority")}
        assert set(done_keys(folder)) == kept
        with opened(folder) as writer:
            assert (writer.books().spent, writer.books().wasted) == (20, 0)
            assert set(done_keys(folder)) == kept
            settle(writer, "c", flops=10)
        assert sorted(set(column(folder, "outcomes", "problem_id"))) == ["a", "b", "c"]
        assert read_books(folder) == (30, 0)


def test_a_last_line_of_garbage_was_never_written(tmp_path: Path) -> None:
    """Blocks may reach the disk out of order: the newline is there, what precedes it is not."""
    segment = logged(tmp_path, "ab")
    whole = segment.read_bytes()
    last = whole.rindex(b"\n", 0, len(whole) - 1) + 1
    segment.write_bytes(whole[:last] + b"\0" * (len(whole) - last - 1) + b"\n")
    assert len(list(read_segment(segment))) == 1
    assert set(done_keys(tmp_path)) == {"a/greedy", "a/majority"}


def test_a_log_that_grows_as_it_is_read_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap: a line was there by half when its end was looked for; that more follows now makes it no broken one."""
    segment = logged(tmp_path, "abc")
    whole = segment.read_bytes()
    cut = len(whole) - 5

    class Growing(io.BytesIO):
        def __next__(self) -> bytes:
            text = super().__next__()
            if not text.endswith(b"\n"):
                self.write(whole[cut:])
                self.seek(cut)
            return text

    records = len(list(read_segment(segment)))
    monkeypatch.setattr(Path, "open", lambda *_: Growing(whole[:cut]))
    assert len(list(read_segment(segment))) == records - 1


@pytest.mark.parametrize("offset", [0, 4, 8, 40, -2])
def test_damage_before_the_end_is_said_and_not_guessed_around(tmp_path: Path, offset: int) -> None:
    segment = logged(tmp_path, "abc")
    content = bytearray(segment.read_bytes())
    first, second = content.index(b"\n") + 1, content.index(b"\n", content.index(b"\n") + 1) + 1
    at = first + offset if offset >= 0 else second + offset
    content[at] ^= 1
    segment.write_bytes(content)
    with pytest.raises(UserError, match=rf"{re.escape(str(segment))}.*line 2 is damaged"):
        read_done(tmp_path)
    with pytest.raises(UserError, match="line 2 is damaged"):
        RunWriter(tmp_path, None)
    assert segment.read_bytes() == bytes(content)


# Files that are not the writer's


FOREIGN = (
    "log/segment-x.jsonl",
    "log/segment-000001 (copy).jsonl",
    "log/segment-1.jsonl",
    "log/.segment-000001.jsonl.swp",
    "log/segment-000001.jsonl~",
    "log/notes.txt",
    "outcomes/part-foo.parquet",
    "outcomes/part-foo-000003.parquet",
    "outcomes/part-0000001.parquet",
    "outcomes/part-\u0661\u0661\u0661\u0661\u0661\u0661.parquet",
    "outcomes/mine.tmp",
    "candidates/part-000001.parquet.bak",
    "samples/part-000001-old.parquet",
    "problems/part-foo.parquet",
    "problems/notes.txt",
)


def run_folder(folder: Path) -> Path:
    """A run with one task in a part, and one in the log of a writer that died."""
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"format": RUN_FORMAT}))
    ProblemStore(folder, DigestMap()).store([(Problem("a", "1 + 1 = ?", "2"), (1, 5))])
    with opened(folder) as writer:
        settle(writer, "a")
    writer = RunWriter(folder, None)
    settle(writer, "b")
    die(writer)
    return folder


def test_files_of_others_are_let_be(tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "run")
    for name in FOREIGN:
        (folder / name).write_bytes(b"not ours\n")
    done = {f"{task}/{kind}" for task in "ab" for kind in ("greedy", "majority")}
    assert set(done_keys(folder)) == done
    run = Run(folder)
    assert set(run.outcomes()["key"].to_pylist()) == set(run.candidates()["key"].to_pylist()) == done
    assert {one.outcome["key"] for one in run.results()} == done
    assert run.problems()["problem_id"].to_pylist() == ["a"]
    assert read_books(folder) == (2, 0)
    with opened(folder) as writer:
        settle(writer, "c")
    assert len(SampleLibrary([folder])) == 3
    ProblemStore(folder, stored_problems(folder)).store([(Problem("c", "1 + 2 = ?", "3"), (1, 5))])
    assert Run(folder).problems()["problem_id"].to_pylist() == ["a", "c"]
    for name in FOREIGN:
        assert (folder / name).read_bytes() == b"not ours\n"
    assert sorted(path.name for path in (folder / "outcomes").glob("part-00000?.parquet")) == [
        f"part-00000{number}.parquet" for number in (1, 2, 3)
    ]


READERS: dict[str, list[Callable[[Path], object]]] = {
    "outcomes": [
        read_done,
        lambda folder: Run(folder).outcomes(),
        lambda folder: list(Run(folder).results()),
    ],
    "candidates": [lambda folder: Run(folder).candidates(), lambda folder: list(Run(folder).results())],
    "ledger": [read_books, lambda folder: RunWriter(folder, None)],
    "samples": [lambda folder: SampleLibrary([folder])],
    "scores": [lambda folder: SampleLibrary([folder])],
    "problems": [lambda folder: Run(folder).problems(), stored_problems],
}


@pytest.mark.parametrize("content", [b"", b"PAR1 and not much else", b"another table"])
@pytest.mark.parametrize("table", READERS)
def test_a_part_that_cannot_be_read_is_named(tmp_path: Path, table: str, content: bytes) -> None:
    folder = run_folder(tmp_path / "run")
    part = folder / table / "part-000001.parquet"
    if content == b"another table":
        # Of the same columns' names, as a later version might have them.
        names = ["key", "purpose", "problem_id", "question", "strategy", "task_id", "index", "flops"]
        pq.write_table(pa.table({name: [{"a": 1}] for name in names}), part)
    else:
        part.write_bytes(content)
    for reader in READERS[table]:
        with pytest.raises(
            UserError, match=rf"{re.escape(str(folder / table))}.*put a copy of it back"
        ) as error:
            reader(folder)
        assert "\n" not in str(error.value)
    FolderLock(folder, patience=0.0).release()


# One writer a folder


def test_a_second_writer_is_refused_and_told_who_writes(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, None)
    with pytest.raises(UserError) as refusal:
        FolderLock(tmp_path, patience=0.0)
    message = str(refusal.value)
    assert str(tmp_path) in message
    assert f"pid {os.getpid()} on {socket.gethostname()}" in message
    assert "\n" not in message
    writer.close()
    FolderLock(tmp_path, patience=0.0).release()
