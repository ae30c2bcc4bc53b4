"""What was left out, counted by reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from orchestration.problems import Quarantined
from orchestration.report.tables import left_out_cells
from orchestration.runs.quarantine import MOST, ROWS_FILE, LeftOut, left_out, read_rows, write_rows


def outcomes(*reasons: tuple[str, str | None]) -> list[pa.RecordBatch]:
    schema = pa.schema([(name, pa.string()) for name in ("problem_id", "state", "reason")])
    rows = [{"problem_id": f"p{i}", "state": s, "reason": r} for i, (s, r) in enumerate(reasons)]
    return pa.Table.from_pylist(rows, schema=schema).to_batches(max_chunksize=4)


ROWS = [
    Quarantined(3, "no question", "'q' is empty"),
    Quarantined(7, "not JSON", 'line\nwith \u2028 \u00e9 | "all"'),
    Quarantined(9, "no question", "'q' is missing"),
]


def test_rows_come_back_as_they_were_and_a_new_start_replaces_them(tmp_path: Path) -> None:
    assert read_rows(tmp_path) == []
    write_rows(tmp_path, ROWS)
    assert read_rows(tmp_path) == ROWS
    assert [json.loads(line)["row"] for line in (tmp_path / ROWS_FILE).open()] == [3, 7, 9]
    write_rows(tmp_path, ROWS[:1])
    assert read_rows(tmp_path) == ROWS[:1]
    write_rows(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_reasons_that_differ_in_numbers_alone_are_one(tmp_path: Path) -> None:
    write_rows(tmp_path, ROWS)
    table = outcomes(
        ("answered", ""),
        ("quarantined", "prompt of 5,000 tokens exceeds the policy's context of 4,096"),
        ("quarantined", "lost 3 times, last:\n  ActorDiedError"),
        ("unaffordable", "the budget ended before the first candidate"),
        ("quarantined", "prompt of 4,200 tokens exceeds the policy's context of 4,096"),
        ("quarantined", None),
    )
    found = left_out(tmp_path, table, np.ones(6, dtype=bool))
    lost = "lost 3 times, last: ActorDiedError"
    assert found == [
        LeftOut("row", "no question", 2, "'q' is empty", "3"),
        LeftOut("row", "not JSON", 1, 'line with \u00e9 | "all"', "7"),
        LeftOut(
            "outcome",
            "prompt of # tokens exceeds the policy's context of #",
            2,
            "prompt of 5,000 tokens exceeds the policy's context of 4,096",
            "p1",
        ),
        LeftOut("outcome", "", 1, "", "p5"),
        # Where all say the same, it is said.
        LeftOut("outcome", lost, 1, lost, "p2"),
    ]
    assert [cells[1:3] for cells in left_out_cells(found)][2:] == [
        [found[2].reason, f"p1: {found[2].example}"],
        ["", "p5"],
        [lost, "p2"],
    ]
    # Nothing is lost: every row and every quarantined outcome is counted.
    assert sum(one.count for one in found) == len(ROWS) + 4
    # But what was made again is told by its newest row.
    newest = np.array([True, False, True, True, True, True])
    assert sum(one.count for one in left_out(tmp_path, table, newest)) == len(ROWS) + 3


def test_reasons_of_which_each_is_another_are_told_by_what_was_raised(tmp_path: Path) -> None:
    """As many as there are problems: the first of them each by itself, the others together."""
    words = [f"{first}{second}" for first in "abcdefgh" for second in "abcdefgh"]
    table = outcomes(*[("quarantined", f"KeyError: '{word}'") for word in words], ("quarantined", "odd"))
    found = left_out(tmp_path, table, np.ones(len(words) + 1, dtype=bool))
    assert len(found) == MOST + 2
    assert found[0] == LeftOut(
        "outcome", "KeyError: ...", len(words) - MOST, f"KeyError: '{words[MOST]}'", f"p{MOST}"
    )
    assert {one.count for one in found[1:]} == {1}
    assert sum(one.count for one in found) == len(words) + 1
