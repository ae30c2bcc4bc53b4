"""Whose checkpoints a folder holds, so that an interrupted training goes on as itself or not at all.

It knows nothing of what is trained. Invariant: checkpoints of one training are never resumed by another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.trainer_utils import get_last_checkpoint

from actors.errors import UserError

_NOTE = "owner.json"


def claim(checkpoints: Path, owner: Mapping[str, Any]) -> None:
    """Note in the folder who trains here: settings and whatever else decides the result, as JSON values.

    Raises UserError, with what differs, where another training was interrupted here.
    """
    note = checkpoints / _NOTE
    mine = json.loads(json.dumps(owner))
    if note.is_file():
        theirs = json.loads(note.read_text())
        differing = sorted(key for key in {*mine, *theirs} if mine.get(key) != theirs.get(key))
        if differing:
            mend = (
                f"a training with other {', '.join(differing)} was interrupted here: remove the folder or choose another "
                "output"
            )
            raise UserError.of("train.output", str(checkpoints), mend)
    elif checkpoints.is_dir() and any(checkpoints.iterdir()):
        mend = "it holds checkpoints of nobody knows what: remove the folder or choose another output"
        raise UserError.of("train.output", str(checkpoints), mend)
    checkpoints.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(mine, indent=2) + "\n")


def last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint in a folder, as a Trainer takes it; None where there is none."""
    return get_last_checkpoint(str(folder)) if folder.is_dir() else None
