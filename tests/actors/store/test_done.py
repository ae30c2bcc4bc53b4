"""What a resume is told of a folder's outcomes is what a plain reading of all their rows says."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.store import done
from actors.store.done import Done, Ended, holds_outcomes, read_done, read_states
from actors.store.rows import outcome_row
from actors.store.schema import OUTCOMES
from actors.work import NO_CANDIDATE, NOT_ALL, State
from tests.support.folders import done_keys, outcome
from tests.support.log_files import logged

ENDS: list[tuple[State, str | None, Ended]] = [
    ("answered", "", Ended.whole),
    ("answered", None, Ended.whole),
    ("answered", NOT_ALL, Ended.short),
    ("unaffordable", NO_CANDIDATE, Ended.unpaid),
    ("quarantined", "lost 3 times", Ended.quarantined),
    ("quarantined", None, Ended.quarantined),
]


def row(number: int, end: int) -> dict[str, Any]:
    state, reason, _ = ENDS[end]
    return outcome_row(outcome(f"p{number}", state=state), correct=None) | {"reason": reason}


def folder_of(folder: Path, *parts: list[dict[str, Any]], log: list[dict[str, Any]]) -> Path:
    (folder / "outcomes").mkdir(parents=True)
    for number, rows in enumerate(parts, start=1):
        file = folder / "outcomes" / f"part-{number:06d}.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=OUTCOMES), file, row_group_size=4)
    logged(folder, len(parts) + 1, {"outcomes": log})
    return folder


def test_the_newest_row_of_each_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(done, "BATCH", 3)
    first = [row(number, number % len(ENDS)) for number in range(12)]
    second = [row(number, (number + 1) % len(ENDS)) for number in range(6, 15)]
    log = [row(14, 0), row(15, 2), row(3, 5), row(15, 4)]
    folder = folder_of(tmp_path / "run", first, second, log=log)
    newest = {one["key"]: one for one in (*first, *second, *log)}
    assert newest.keys() == done_keys(folder).keys()
    expected = {
        key: next(how for state, reason, how in ENDS if (state, reason) == (one["state"], one["reason"]))
        for key, one in newest.items()
    }
    found = read_done(folder)
    assert {key: found.ended(key) for key in expected} == expected
    assert found.counts() == Counter(expected.values())
    assert found.ended("p99/greedy") is None
    assert "p99/greedy" not in found
    assert all(key in found for key in expected)
    assert {key for key in expected if found.answered(key)} == {
        key for key, one in newest.items() if one["state"] == "answered"
    }
    # Who asks for some of them again keeps how they ended.
    for again in ((Ended.unpaid,), (Ended.quarantined,), (Ended.unpaid, Ended.quarantined)):
        some = found.without(*again)
        assert {key for key in expected if key in some} == {
            k for k, how in expected.items() if how not in again
        }
        assert {key: some.ended(key) for key in expected} == expected
    assert read_states(folder) == Counter(one["state"] for one in newest.values())


def test_a_folder_without_an_outcome(tmp_path: Path) -> None:
    assert not holds_outcomes(tmp_path)
    folder = folder_of(tmp_path / "run", [], log=[])
    assert not holds_outcomes(folder)
    assert read_done(folder).counts() == Counter()
    assert read_states(folder) == {}
    logged(folder, 3, {"outcomes": [row(1, 4)]})
    assert holds_outcomes(folder)
    assert holds_outcomes(folder_of(tmp_path / "other", [row(1, 4)], log=[]))


def test_an_outcome_takes_some_tens_of_bytes() -> None:
    """A dict of keys and reasons takes 200 and more."""
    tracemalloc.start()
    found = Done()
    for number in range(2 << 15):
        found.note(f"{number:032x}", Ended.whole)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 40 * (2 << 15)
