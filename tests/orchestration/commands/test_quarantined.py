"""A strategy that fails, as a user meets it: what terminal, folder and exit code say, and how it is tried again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actors.store.failures import FAILURES_FILE
from orchestration.commands.main import main
from orchestration.runs.run import Run
from tests.support import own_targets
from tests.support.here import without_ray

LETTERS = "02468ace"


def test_a_strategy_that_fails_is_told_and_can_be_tried_again(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, mended = tmp_path / "run", tmp_path / "mended"
    boom = f"{{_target_: {own_targets.__name__}.Boom, n: 2, mended: {mended}, fails_at: '{LETTERS}'}}"
    command = [
        "evaluate",
        *words,
        f"folder={folder}",
        f"strategies=[greedy,majority(n=4),{boom}]",
        "report=table",
    ]
    command.append("dataset.count=12")

    def run(*more: str) -> tuple[int, str]:
        with without_ray():
            code = main([*command, *more])
        return code, capsys.readouterr().out

    code, out = run()
    assert code == 3
    rows = Run(folder).outcomes().to_pylist()
    states = Counter((row["strategy"].partition("(")[0], row["state"]) for row in rows)
    failed = sum(row["strategy"] == "greedy" and row["problem_id"][-1] in LETTERS for row in rows)
    assert 1 < failed < 12
    assert states["greedy", "answered"] == states["majority", "answered"] == 12
    assert states[f"{own_targets.__name__}.Boom", "quarantined"] == failed
    # The traceback once, the reason in the report, and where to read on.
    assert out.count("Traceback (most recent call last)") == 1
    assert out.count("raise ValueError(f") == 1
    assert "ValueError: no idea for" in " ".join(out.split())
    log = (folder / FAILURES_FILE).read_text()
    assert log.count("Traceback (most recent call last)") == 1
    assert (
        f"quarantined {failed} of the outcomes, which have no number: see {folder / 'report' / 'report.md'} and "
        f"{folder / FAILURES_FILE} (tracebacks); retry=quarantined tries them again" in out
    )
    assert "ValueError: no idea for" in (folder / "report" / "report.md").read_text()

    drawn = len(pq.read_table(folder / "samples"))
    code, out = run()
    assert code == 3
    assert (
        f"12 problems are done, but for {failed} outcomes that failed or could not be tried (quarantined)"
        in out
    )
    assert "retry=quarantined tries them again" in out
    assert "Traceback" not in out
    # What is not asked for now is told, and no failure of this command.
    code, out = run("strategies=[greedy]")
    assert code == 0
    assert f"quarantined {failed} of the folder's outcomes that were not asked for now: see " in out
    assert "retry=quarantined" not in out

    mended.touch()
    code, out = run("retry=quarantined")
    assert code == 0
    assert f"trying {failed} quarantined outcomes again" in out
    assert "quarantined" not in out.partition("again")[2]
    assert Run(folder).states() == {"answered": 36}
    assert len(pq.read_table(folder / "samples")) == drawn, "what they had drawn was used"
    code, out = run()
    assert code == 0
    assert "all 12 problems are done" in out
