"""The main job on vLLM, in small, through the command: its answers, what an extension draws, what it leaves behind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from orchestration.commands.main import main
from orchestration.runs.run import Run
from orchestration.runs.status import process_mark
from tests.faults.job import Command, LogTail, Watch
from tests.support.processes import descendants, wait_for

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

PROBLEMS = 10
FIRST = ("greedy", "majority(n=4)", "beam(n=4,width=2)")


def words(folder: Path, *strategies: str, count: int = PROBLEMS) -> list[str]:
    return [
        "evaluate",
        f"folder={folder}",
        f"dataset.count={count}",
        f"strategies=[{','.join(strategies)}]",
        "report=table",
        "policy.engine=vllm",
        "verifier.engine=vllm",
    ]


class Engines:
    """The processes of vLLM that were seen under commands: what the actors of models have started, by whatever title."""

    def __init__(self) -> None:
        self._seen: dict[int, str | None] = {}

    def look(self, watch: Watch) -> int:
        """Take in the command's last look, and say how many there have been."""
        for actor in (pid for pid, name in watch.names.items() if name.startswith(("policy-", "verifier-"))):
            for pid in descendants(actor):
                self._seen.setdefault(pid, process_mark(pid))
        return len(self._seen)

    def left(self) -> list[int]:
        return [pid for pid, mark in self._seen.items() if mark is not None and process_mark(pid) == mark]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[list[str]], Watch]]:
    """Starts a command whose folder is its first word, and leaves nothing of it behind."""
    commands: list[Command] = []

    def one(words: list[str]) -> Watch:
        commands.append(Command(words, tmp_path / f"command-{len(commands)}"))
        return Watch(commands[-1], LogTail(Path(words[1].removeprefix("folder="))))

    yield one
    for command in commands:
        command.clear()


def test_the_main_job_in_small(
    tmp_path: Path, start: Callable[[list[str]], Watch], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    engines = Engines()

    def run(*strategies: str) -> None:
        watch = start(words(folder, *strategies))
        watch.until(lambda: bool(engines.look(watch)) and watch.command.code is not None, "its end", 420)
        assert watch.command.code == 0, watch.command.said

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

    wait_for(lambda: not engines.left(), "vLLM's processes to end", 60)
    assert main([*words(folder, *FIRST), "policy.engine=local"]) == 2
    said = capsys.readouterr().err
    assert re.search(r'another set-up \(policy.engine was "vllm \d+\.\d+ cpu" and is "local cpu"\)', said), (
        said
    )


def test_at_ctrl_c_what_is_in_hand_ends_on_vllm_and_nothing_of_it_lives_on(
    tmp_path: Path, start: Callable[[list[str]], Watch]
) -> None:
    """SIGINT goes to the whole group, as from a terminal: vLLM's are not in it, and go on until the last request."""
    folder = tmp_path / "run"
    # More than the 30 seconds that a busy machine may exceed.
    watch, engines = (
        start([*words(folder, "greedy", "best_of_n(n=16)", count=300), "cluster.grace=200"]),
        Engines(),
    )

    def under_way() -> bool:
        # At every look: one look into a list of processes that changes meanwhile may miss some.
        engines.look(watch)
        return len(watch.log.committed) >= 4 or watch.command.code is not None

    watch.until(under_way, "outcomes", 420)
    assert engines.look(watch) >= 2, f"one of each model's actor, under {watch.names} of {watch.titles}"
    assert watch.command.code is None, watch.command.said
    before = len(watch.log.committed)
    watch.command.interrupt()
    watch.until(lambda: watch.command.code is not None, "its end", 300)
    assert watch.command.code == 130, watch.command.said
    assert "finishing what is nearly done" in watch.command.said
    assert before < len(Run(folder).outcomes()) < 600
    assert not watch.log.lost
    assert Run(folder).info["wasted_flops"] == 0
    wait_for(lambda: not engines.left(), "vLLM's processes to end", 60)
