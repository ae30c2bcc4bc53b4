"""What became of a run's candidates, counted as it goes on: the same in its outcomes, its progress and its candidates."""

from __future__ import annotations

from pathlib import Path

from actors.work import Tally
from tests.support.cells import MakeCell, rows_of, tasks


async def test_candidates_are_counted_by_how_they_ended(cell: MakeCell, tmp_path: Path) -> None:
    async with cell() as one:
        progress = await one.run(tasks(6))
    candidates, counted = rows_of(tmp_path / "run", "candidates"), rows_of(tmp_path / "run", "outcomes")
    told: dict[str, Tally] = {}
    for row in candidates:
        searched = row["strategy"].startswith(("beam", "lookahead", "dvts", "rebase"))
        ended = row["finish_reason"] != "stop"
        told[row["strategy"]] = told.get(row["strategy"], Tally()) + Tally(
            ended=ended,
            unreadable=ended and row["answer"] is None,
            truncated=row["finish_reason"] == "length",
            single_step=searched and ended and len(row["step_tokens"]) < 2,
        )
    assert progress.tallies == told
    for text, tally in told.items():
        mine = [row for row in counted if row["strategy"] == text]
        assert tally.ended == sum(row["ended"] for row in mine)
        assert tally.unreadable == sum(row["unreadable"] for row in mine)
        assert tally.single_step == sum(row["single_step"] for row in mine)
    total = sum(told.values(), Tally())
    assert 0 < total.single_step < total.ended
    assert 0 < total.truncated + total.unreadable
