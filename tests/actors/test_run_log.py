"""A log that was torn, damaged or touched by others; and one writer a folder."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

import pytest

from actors.errors import UserError
from actors.run_log import FolderLock, read_books, read_done, read_segment
from actors.run_writer import RunWriter

from .folders import column, die, opened, settle


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
        assert set(read_done(folder)) == kept
        with opened(folder) as writer:
            assert (writer.books().spent, writer.books().wasted) == (20, 0)
            assert set(read_done(folder)) == kept
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
    assert set(read_done(tmp_path)) == {"a/greedy", "a/majority"}


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
