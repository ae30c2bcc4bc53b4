"""A process of a run under one price is killed: every problem ends, the budget holds and is used, and what was decided stays.

Which prompt gets what is another question after a death than without one: what it cost is missing. So it is held against
what is true of any run under a price, and not against a run that nothing befell.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestration.allocation.value_table import Offer
from orchestration.runs.run import Run
from orchestration.runs.status import lock_of
from tests.faults.job import LONGEST, REVISER, Command, LogTail, Watch
from tests.faults.reading import rows
from tests.faults.trials import CLASSES, GONE, Kind, Moment, wait_for
from tests.support.plans import plan_for


@dataclass(frozen=True, slots=True)
class Priced:
    """Problems at one price, for replicas on two cores; `more` are further words of the command, `least` is the share of the
    budget that is spent at least."""

    problems: int
    budget: int
    more: tuple[str, ...]
    least: float = 0.9

    def words(self, folder: Path) -> list[str]:
        return [
            "evaluate",
            f"folder={folder}",
            f"dataset.count={self.problems}",
            f"budget.flops={self.budget}",
            "report=table",
            "cluster.verifier.cpus=0.5",
            *self.more,
        ]


SAMPLES = Priced(150, 150 * 400_000_000, ("cluster.policy.replicas=2", "cluster.policy.cpus=0.75"))
"""Some three samples with their scores for each problem, so that there is something to choose."""

REVISED = "revision(sequential=3,parallel=2,first=policy)"


def chains(folder: Path) -> Priced:
    """The same of a plan, made of seeds, that may take up samples in chains, which the policy's tasks ask a reviser for."""
    models = ["domain=arithmetic", *REVISER]
    sample = plan_for(
        [*models, "cluster.verifier.cpus=0.5"], folder / "plan.yaml", offer=Offer((1, 2, 4), (REVISED,))
    )
    plan = f"strategies=[\"compute_optimal(plan='{folder / 'plan.yaml'}')\"]"
    # Who has gone on with chains has nothing more to buy, whatever is left.
    return Priced(60, 60 * 4 * sample, (*models, plan, "budget.allocation=global"), least=0.5)


@pytest.mark.faults
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["driver", "scheduler", "policy", "verifier"])
def test_killed_under_a_price(kind: Kind, share: float, tmp_path: Path) -> None:
    strike_priced(kind, share, SAMPLES, tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["driver", "reviser"])
def test_killed_under_a_price_that_may_choose_chains(kind: Kind, tmp_path: Path) -> None:
    strike_priced(kind, 0.5, chains(tmp_path), tmp_path)
    options = {row["option"] for row in rows(tmp_path / "run", "decisions")}
    assert REVISED in options


def strike_priced(kind: Kind, share: float, job: Priced, tmp_path: Path) -> None:
    """A process of this kind is killed after this share of the outcomes."""
    folder = tmp_path / "run"
    first = Command(job.words(folder), tmp_path / "first")
    second: Command | None = None
    try:
        watch = Watch(first, LogTail(folder))
        victim = wait_for(kind, Moment(share, 0.0, 0), watch, job.problems)
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
        assert second.wait(LONGEST) == 0
        check(folder, job)
        if kind != "driver":
            assert f"all {job.problems} problems are done" in second.said
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


def check(folder: Path, job: Priced) -> None:
    """What is true of any run under a price that has ended."""
    outcomes = Run(folder).outcomes().to_pylist()
    assert len({row["problem_id"] for row in outcomes}) == len(outcomes) == job.problems
    states = {row["state"] for row in outcomes}
    assert states <= {"answered", "unaffordable"}, states
    spent = sum(int(row["flops"]) for row in rows(folder, "ledger"))
    assert spent <= job.budget
    assert spent >= job.least * job.budget, f"{spent:.2e} of {job.budget:.2e} FLOPs were spent"
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
