"""The main job on vLLM, in small, through the command: its answers, what an extension draws, what it leaves behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from orchestration.commands.main import main
from orchestration.runs import Run
from orchestration.status import process_mark
from tests.faults.job import Command, LogTail, Watch

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

PROBLEMS = 10
FIRST = ("greedy", "majority(n=4)", "beam(n=4,width=2)")


def words(folder: Path, *strategies: str) -> list[str]:
    return [
        "evaluate",
        f"folder={folder}",
        f"dataset.count={PROBLEMS}",
        f"strategies=[{','.join(strategies)}]",
        "report=table",
        "policy.engine=vllm",
    ]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Command]]:
    commands: list[Command] = []
    yield commands
    for command in commands:
        command.clear()


def test_the_main_job_in_small(
    tmp_path: Path, started: list[Command], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    cores: dict[int, str | None] = {}

    def run(*strategies: str) -> None:
        started.append(command := Command(words(folder, *strategies), tmp_path / f"command-{len(started)}"))
        watch = Watch(command, LogTail(folder))

        def ended() -> bool:
            for pid, title in watch.titles.items():
                if "EngineCore" in title:
                    cores.setdefault(pid, process_mark(pid))
            return command.code is not None

        watch.until(ended, "its end", 420)
        assert command.code == 0, command.said

    run(*FIRST)
    outcomes = Run(folder).outcomes().to_pylist()
    assert len(outcomes) == PROBLEMS * len(FIRST)
    assert {row["state"] for row in outcomes} == {"answered"}
    for name in {row["strategy"] for row in outcomes}:
        mine = [row["correct"] for row in outcomes if row["strategy"] == name]
        assert len(mine) == PROBLEMS
        assert sum(mine) > 0, name
    whole = f"SELECT problem_id, place, token_ids FROM '{folder}/samples/*.parquet' WHERE start = 0 AND len(place) = 1"
    before = Counter(map(str, duckdb.sql(whole).fetchall()))

    run(*FIRST, "majority(n=8)")
    assert len(Run(folder).outcomes()) == PROBLEMS * (len(FIRST) + 1)
    assert Run(folder).info["sessions"][-1]["outcomes"] == PROBLEMS
    after = Counter(map(str, duckdb.sql(whole).fetchall()))
    assert before <= after, "what was drawn is kept"
    assert after.total() - before.total() == 4 * PROBLEMS, "and not drawn again"

    assert cores
    assert [pid for pid, mark in cores.items() if mark is not None and process_mark(pid) == mark] == []
    assert main([*words(folder, *FIRST), "policy.engine=local"]) == 2
    assert 'another set-up (engine was "vllm" and is "local")' in capsys.readouterr().err
