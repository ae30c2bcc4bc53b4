"""What a run leaves out, kept and counted: rows of its table that were skipped, and outcomes that are quarantined.

It knows files and columns, nothing of how rows are read. Invariant: every row and outcome that was left out is counted
under a reason, and can be looked up in the run folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestration.problems import Quarantined
from orchestration.runs.folder import write_atomically, writing

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_FILE = "quarantined.jsonl"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many `what` ("row" or "outcome") were left out for one reason; `example` is what is particular to the
    first of them."""

    what: str
    reason: str
    count: int
    example: str


def write_rows(folder: Path, rows: Iterable[Quarantined]) -> None:
    """Replace the folder's list of rows that were skipped (JSON lines: row, reason, detail); none, no file."""
    lines = [
        json.dumps({"row": one.row, "reason": one.reason, "detail": one.detail}, ensure_ascii=False)
        for one in rows
    ]
    file = folder / ROWS_FILE
    with writing(folder):
        if lines:
            write_atomically(file, "\n".join(lines) + "\n")
        else:
            file.unlink(missing_ok=True)


def read_rows(folder: Path) -> list[Quarantined]:
    """The rows that were skipped when the run was last started."""
    file = folder / ROWS_FILE
    if not file.is_file():
        return []
    # Not splitlines: a detail may hold other ends of lines.
    rows = (json.loads(line) for line in file.read_text().split("\n") if line)
    return [Quarantined(row["row"], row["reason"], row["detail"]) for row in rows]


def left_out(folder: Path, outcomes: pa.Table) -> list[LeftOut]:
    """Everything that a run left out, by reason, most frequent first; reasons that differ in numbers alone are one."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in read_rows(folder):
        found.setdefault(("row", row.reason), []).append(_in_a_line(row.detail))
    reasons = outcomes.select(["state", "reason"]).to_pylist()
    for outcome in reasons:
        if outcome["state"] == "quarantined":
            reason = _in_a_line(outcome["reason"] or "")
            found.setdefault(("outcome", re.sub(r"\d[\d,]*", "#", reason)), []).append(reason)
    counted = [LeftOut(what, reason, len(all_), all_[0]) for (what, reason), all_ in found.items()]
    return sorted(counted, key=lambda one: (one.what != "row", -one.count, one.reason))


def _in_a_line(text: str) -> str:
    return " ".join(text.split())
