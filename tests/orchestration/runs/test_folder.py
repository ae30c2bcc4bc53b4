"""Which folders may hold a run."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from actors.errors import UserError
from actors.store.schema import RUN_FORMAT
from orchestration.runs.folder import known_record, writing
from tests.support.unprivileged import unprivileged

RECORD = {
    "format": RUN_FORMAT,
    "identity": {},
    "settings": {},
    "seeds": [0],
    "strategies": [],
    "budget_flops": None,
}


def test_new_folders_and_those_of_a_start_that_was_killed(tmp_path: Path) -> None:
    assert known_record(tmp_path / "a" / "b" / "c") is None
    assert not (tmp_path / "a").exists()
    assert known_record(tmp_path) is None
    for name in ("config.yaml", ".config.yaml.tmp", ".run.json.tmp", "quarantined.jsonl", ".gitkeep"):
        (tmp_path / name).write_text("")
    assert known_record(tmp_path) is None
    (tmp_path / "run.json").write_text(json.dumps(RECORD))
    (tmp_path / "mine.txt").write_text("")
    assert known_record(tmp_path) == RECORD


def test_tables_without_a_record_are_no_run(tmp_path: Path) -> None:
    for name in ("outcomes", "candidates", "ledger", "log"):
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match=r"\(candidates, ledger, log and 1 more\)"):
        known_record(tmp_path)


@pytest.mark.parametrize("missing", [name for name in RECORD if name != "format"])
def test_a_record_has_what_is_gone_on_with(missing: str, tmp_path: Path) -> None:
    rest = {name: value for name, value in RECORD.items() if name != missing}
    (tmp_path / "run.json").write_text(json.dumps(rest))
    with pytest.raises(UserError, match=f"it lacks {missing}"):
        known_record(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "\x00\x00"])
def test_a_damaged_record(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"its run\.json is damaged"):
        known_record(tmp_path)
    (tmp_path / "run.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"its run\.json is damaged"):
        known_record(tmp_path)


def begin(folder: Path) -> None:
    known_record(folder)
    with writing(folder):
        folder.mkdir(parents=True)


def test_permissions(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    (locked / "run.json").write_text(json.dumps(RECORD))
    (locked / "run.json").chmod(0)
    with unprivileged(), pytest.raises(UserError, match=r"run\.json cannot be read \(Permission denied\)"):
        known_record(locked)
    locked.chmod(0o555)
    with unprivileged(), pytest.raises(UserError, match="Permission denied: choose a folder"):
        begin(locked / "new" / "run")


def test_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match="link is a link that leads nowhere"):
        known_record(tmp_path / "link")


@pytest.mark.parametrize(
    ("code", "mend"),
    [
        (errno.ENOSPC, "No space left on device: make room; the same command goes on where it stopped"),
        (errno.EROFS, "Read-only file system: choose a folder that you may write, folder=..."),
    ],
)
def test_what_the_file_system_refuses_is_a_users_mistake(code: int, mend: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^folder = '.*': {mend}$"), writing(tmp_path):
        raise OSError(code, os.strerror(code))
