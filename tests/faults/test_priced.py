"""A process of a run under one price is killed: every problem ends, the budget holds and is used, and what was decided stays.

Which prompt gets what is another question after a death than without one: what it cost is missing. So it is held against
what is true of any run under a price, and not against a run that nothing befell.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from orchestration.runs.run import Run
from orchestration.runs.status import lock_of
from tests.faults.job import Command, LogTail, Watch
from tests.faults.reading import rows
from tests.faults.trials import CLASSES, GONE, Kind, Moment, wait_for

PROBLEMS = 150
BUDGET = PROBLEMS * 400_000_000
"""Some three samples with their scores for each problem, so that there is something to choose."""


class Priced:
    """Problems at one price, for two policy replicas and a verifier on two cores."""

    outcomes = PROBLEMS

    def words(self, folder: Path) -> list[str]:
        return [
            "evaluate",
            f"folder={folder}",
            f"dataset.count={PROBLEMS}",
            f"budget.flops={BUDGET}",
            "report=table",
            "cluster.policy.replicas=2",
            "cluster.policy.cpus=0.75",
            "cluster.verifier.cpus=0.5",
        ]


@pytest.mark.faults
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["driver", "scheduler", "policy", "verifier"])
def test_killed_under_a_price(kind: Kind, share: float, tmp_path: Path) -> None:
    job, folder = Priced(), tmp_path / "run"
    first = Command(job.words(folder), tmp_path / "first")
    second: Command | None = None
    try:
        watch = Watch(first, LogTail(folder))
        victim = wait_for(kind, Moment(share, 0.0, 0), watch, job.outcomes)
        assert first.code is None, "it ended before it was killed"
        if kind == "driver":
            first.kill()
            watch.until(lambda: lock_of(folder) == "free", "the lock to be free", GONE)
        else:
            assert watch.processes(CLASSES[kind])
            os.kill(victim, signal.SIGKILL)
            watch.until(lambda: first.code is not None, "the end of the run")
            assert first.code == 0
        second = Command(job.words(folder), tmp_path / "second")
        assert second.wait(240) == 0
        check(folder)
        if kind != "driver":
            assert f"all {PROBLEMS} problems are done" in second.said
    except AssertionError as error:
        said = "\n\n".join(one.lines for one in (first, second) if one is not None)
        pytest.fail(f"{kind} killed after {share:.0%} of the outcomes: {error}\n\n{said}", pytrace=False)
    finally:
        for command in (first, second):
            if command is not None:
                assert "Traceback" not in command.said
                # Ray would let it go, and the actor could not be started again.
                assert "constructor arguments in the object store" not in command.said
                command.clear()


def check(folder: Path) -> None:
    """What is true of any run under a price that has ended."""
    outcomes = Run(folder).outcomes().to_pylist()
    assert len({row["problem_id"] for row in outcomes}) == len(outcomes) == PROBLEMS
    states = {row["state"] for row in outcomes}
    assert states <= {"answered", "unaffordable"}, states
    spent = sum(int(row["flops"]) for row in rows(folder, "ledger"))
    assert spent <= BUDGET
    assert spent >= 0.9 * BUDGET, f"{spent:.2e} of {BUDGET:.2e} FLOPs were spent"
    for key, tellings in decided(folder).items():
        for before, after in itertools.pairwise(tellings):
            again = [row for row in after if row["repeated"]]
            # A stop is taken back where budget is left; what was done is not.
            assert [_said(row) for row in again] == [_said(row) for row in before[: len(again)]], key


def decided(folder: Path) -> dict[str, list[list[dict[str, Any]]]]:
    """The decisions of each outcome, each time that it was made."""
    found: dict[str, list[list[dict[str, Any]]]] = defaultdict(list)
    for row in rows(folder, "decisions"):
        if row["index"] == 0:
            found[row["key"]].append([])
        found[row["key"]][-1].append(row)
    return found


def _said(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("index", "stage", "cell", "price", "option"))
