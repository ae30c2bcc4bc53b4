"""What was left out, counted by reason."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa

from orchestration.problems import Quarantined
from orchestration.runs.quarantine import ROWS_FILE, LeftOut, left_out, read_rows, write_rows


def outcomes(*reasons: tuple[str, str | None]) -> pa.Table:
    schema = pa.schema([("state", pa.string()), ("reason", pa.string())])
    return pa.Table.from_pylist([{"state": s, "reason": r} for s, r in reasons], schema=schema)


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
    found = left_out(tmp_path, table)
    assert [(one.what, one.count, one.example) for one in found] == [
        ("row", 2, "'q' is empty"),
        ("row", 1, 'line with \u00e9 | "all"'),
        ("outcome", 2, "prompt of 5,000 tokens exceeds the policy's context of 4,096"),
        ("outcome", 1, ""),
        ("outcome", 1, "lost 3 times, last: ActorDiedError"),
    ]
    assert found[2] == LeftOut(
        "outcome", "prompt of # tokens exceeds the policy's context of #", 2, found[2].example
    )
    # Nothing is lost: every row and every quarantined outcome is counted.
    assert sum(one.count for one in found) == len(ROWS) + 4
