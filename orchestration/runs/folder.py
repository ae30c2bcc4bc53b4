"""Whether a folder may hold a run: its run.json, what else is there, and whether it may be written.

It knows names and permissions, nothing of outcomes. Invariant: a folder that was not made by flopwise, or by a flopwise
that wrote it otherwise, is refused before a file of it is touched.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors.errors import UserError, nearest
from actors.store.schema import RUN_FORMAT, TABLES

# What a start that was killed may leave behind before it has written run.json.
_BEGUN = ("config.yaml", "quarantined.jsonl")

_NEEDED = ("identity", "settings", "seeds", "strategies", "budget_flops")


def known_record(folder: Path) -> dict[str, Any] | None:
    """run.json of a run that is to be gone on with, None for a new one.

    Raises UserError where it is damaged or of another version, where the folder holds other things than a run, and where
    it may not be written.
    """
    _check_place(folder)
    if not (folder / "run.json").exists():
        if folder.is_dir():
            _check_empty(folder)
        return None
    record = read_record(folder, "folder")
    missing = [name for name in _NEEDED if name not in record]
    if missing:
        raise _damaged(folder, "folder", f"it lacks {', '.join(missing)}")
    return record


def read_record(folder: Path, field: str) -> dict[str, Any]:
    """run.json of a run that is read; UserError, by `field`, where there is none, and where it is damaged or of another
    version."""
    if not (folder / "run.json").exists():
        siblings = [str(path.parent) for path in folder.parent.glob("*/run.json")]
        raise UserError.of(field, str(folder), f"no run there{nearest(str(folder), siblings)}")
    try:
        record = json.loads((folder / "run.json").read_text())
    except ValueError as error:
        raise _damaged(folder, field, str(error)) from None
    except OSError as error:
        raise UserError.of(field, str(folder), f"its run.json cannot be read ({error.strerror})") from None
    if not isinstance(record, dict):
        raise _damaged(folder, field, "it is not a JSON object")
    if record.get("format") != RUN_FORMAT:
        versions = record.get("versions")
        writer = versions.get("flopwise") if isinstance(versions, dict) else None
        mend = f"use the flopwise that wrote it{f' ({writer})' if writer else ''}"
        if field == "folder":
            mend += ", or choose another folder=..."
        formats = f"its format is {record.get('format')}, this version reads {RUN_FORMAT}"
        raise UserError.of(field, str(folder), f"{formats}: {mend}")
    return record


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what the file system refuses while a run folder is written into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError.of("folder", str(folder), _refusal(error)) from None


def _refusal(error: OSError) -> str:
    why = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{why}: make room; the same command goes on where it stopped"
    return f"{why}: choose a folder that you may write, folder=..."


def _damaged(folder: Path, field: str, why: str) -> UserError:
    mend = "put a copy of it back" + (", or choose another folder=..." if field == "folder" else "")
    return UserError.of(field, str(folder), f"its run.json is damaged ({why}): {mend}")


def _check_place(folder: Path) -> None:
    """Raise UserError unless this can be a folder, and may be written. A folder is made for a moment where it is to be: some
    places refuse what their permissions allow."""
    place = folder
    with writing(folder):
        while not place.exists() and not place.is_symlink() and place != place.parent:
            place = place.parent
    if not place.is_dir():
        kind = "a file" if place.exists() else "a link that leads nowhere"
        raise UserError.of("folder", str(folder), f"{place} is {kind}: choose another folder=...")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError.of(
            "folder", str(folder), _refusal(PermissionError(errno.EACCES, "Permission denied"))
        )
    # With .. in it a trial would be made elsewhere.
    if place != folder and ".." not in folder.parts:
        with writing(folder), tempfile.TemporaryDirectory(prefix=".flopwise-", dir=place) as trial:
            Path(trial, folder.relative_to(place)).mkdir(parents=True)


def _check_empty(folder: Path) -> None:
    with writing(folder):
        names = sorted(path.name for path in folder.iterdir())
    others = [name for name in names if name not in _BEGUN and not name.startswith(".")]
    if others:
        shown = ", ".join(others[:3]) + (f" and {len(others) - 3:,} more" if len(others) > 3 else "")
        mend = (
            f"it is not a run (there is no run.json) and holds other files ({shown}): choose a new or empty folder, e.g. "
            f"folder={folder / 'run'}"
        )
        raise UserError.of("folder", str(folder), mend)


def clear(folder: Path, *, whole: bool) -> None:
    """Remove what a start that made no outcome left in a run folder: the problems that it stored, or its `whole` run but for
    run.json and config.yaml, which are replaced. Whoever calls holds the folder's lock."""
    with writing(folder):
        for name in (*TABLES, "problems", "log", "report") if whole else ("problems",):
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
        if whole:
            (folder / "status.json").unlink(missing_ok=True)


def write_atomically(path: Path, text: str, *, durable: bool = True) -> None:
    """Replace a small file so that a reader, or a crash, sees the old text or the new one; one that is not `durable` may be
    lost with the power.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)


def shortened(value: Any, longest: int = 100) -> str:
    """A value for people, as JSON, without the middle where that is `longest` letters or more."""
    text = json.dumps(value, ensure_ascii=False)
    # What tells two paths or calls apart often stands at the end.
    tail = 2 * longest // 5
    return text if len(text) <= longest else f"{text[: longest - tail - 3]}...{text[-tail:]}"
