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

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from orchestration.problems import Quarantined
from orchestration.runs.folder import write_atomically, writing

ROWS_FILE = "quarantined.jsonl"

MOST = 20
"""Reasons that are told apart by more than what was raised."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many `what` ("row" or "outcome") were left out for one reason; `example` is what is particular to the
    first of them, and `place` where it stands: the number of a row, the problem of an outcome."""

    what: str
    reason: str
    count: int
    example: str
    place: str


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


def left_out(folder: Path, outcomes: Iterable[pa.RecordBatch], counts: NDArray[np.bool_]) -> list[LeftOut]:
    """Everything that a run left out, by reason, most frequent first; reasons that differ in numbers alone are one.

    `outcomes` are the rows of that table, with `problem_id`, `state` and `reason`; `counts` says of each whether it is the
    newest of its outcome.
    """
    found: dict[tuple[str, str], _Reason] = {}
    for row in read_rows(folder):
        same = found.setdefault(("row", row.reason), _Reason(row.reason))
        same.add(row.reason, _in_a_line(row.detail), str(row.row))
    start = 0
    for batch in outcomes:
        newest = pa.array(counts[start : start + len(batch)], pa.bool_())
        start += len(batch)
        gone = batch.filter(pc.and_(newest, pc.equal(batch["state"], "quarantined")))
        for problem, text in zip(gone["problem_id"].to_pylist(), gone["reason"].to_pylist(), strict=True):
            reason = _in_a_line(text or "")
            general = re.sub(r"\d[\d,]*", "#", reason)
            if ("outcome", general) not in found and len(found) >= MOST:
                # Texts that name the problem are as many as there are problems: what was raised is told of them.
                general = f"{general.partition(':')[0]}: ..."
            found.setdefault(("outcome", general), _Reason(general)).add(reason, reason, problem)
    counted = [LeftOut(what, one.text, one.count, one.example, one.place) for (what, _), one in found.items()]
    return sorted(counted, key=lambda one: (one.what != "row", -one.count, one.reason))


@dataclass(slots=True)
class _Reason:
    """A reason by what its texts have in common: the text itself where they are all one."""

    general: str
    text: str = ""
    example: str = ""
    place: str = ""
    count: int = 0

    def add(self, text: str, example: str, place: str) -> None:
        if not self.count:
            self.text, self.example, self.place = text, example, place
        elif self.text != text:
            self.text = self.general
        self.count += 1


def _in_a_line(text: str) -> str:
    return " ".join(text.split())
