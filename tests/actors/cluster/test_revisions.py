"""Chains and trees of a reviser on Ray, which is killed at two points of them: candidates and books are those of a run in
this process that nothing befell.

One reviser has tasks of its own, and draws whole attempts and steps for tasks that live beside the policy.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.cluster.placement import Cluster, RunPlan
from actors.cluster.ray_start import start_ray
from actors.strategy import Strategy
from actors.work import Progress, Task
from orchestration.strategies.parse import parse
from tests.support.cells import books, outcomes_by_key, rows_of
from tests.support.held import Held, Points
from tests.support.inprocess import Cell
from tests.support.processes import actors, wait_for
from tests.support.tiny import LastDigit, first_come, make_bench, make_plan, make_task

COUNT = 4
"""Problems: a task of chains for each, and one that asks both models."""

CHAINS = ("revision(sequential=4,parallel=2)", "revision(sequential=6,parallel=1,select=majority)")
ASKING = (
    "best_of_n(n=3)",
    "revision(sequential=5,parallel=2,first=policy)",
    "refine(of='beam(n=4,width=2)',best=2,attempts=3)",
    "revision_search(of='best_of_n(n=3)',search='beam(n=4,width=2)',best=2)",
)
EARLY, LATE = 1, 4
"""Draws of each strategy, at which the reviser is killed."""


@pytest.fixture(scope="module", autouse=True)
def cluster_of_this_machine() -> Iterator[None]:
    start_ray(cpus=2)
    yield
    ray.shutdown()


def chains_and_askers(points: Points | None = None) -> list[Task]:
    """The same tasks, whether their strategies wait at some points or not."""

    def made(texts: tuple[str, ...]) -> tuple[Strategy, ...]:
        found = [parse(text) for text in texts]
        return tuple(found if points is None else (Held(one, points) for one in found))

    tasks = [make_task(number, made(ASKING)) for number in range(COUNT)]
    for number in range(COUNT):
        chains = make_task(COUNT + number, made(CHAINS))
        tasks.append(replace(chains, home="reviser"))
    return tasks


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, policy: Path, verifier: Path) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")

    async def run() -> None:
        async with Cell(folder, policy, verifier, replicas=1, revisers=1) as cell:
            await cell.run(chains_and_askers())

    asyncio.run(run())
    return folder


@dataclass
class Disturbed:
    """A run whose reviser is killed while strategies of both kinds wait for its early draws, and again for their late ones.
    It is stopped first: so the calls of those who go on are on their way when it dies."""

    folder: Path
    points: Points
    killed: list[int] = field(default_factory=list)
    progress: Progress | None = None

    def look(self, _: Progress) -> None:
        if len(self.killed) == len(self.points.draws):
            return
        draw = self.points.draws[len(self.killed)]
        there = [pid for pid in actors("_ReviserActor") if pid not in self.killed]
        came = self.points.came(draw)
        if len(there) == 1 and {number_of(one) < COUNT for one in came} == {True, False}:
            self._kill(there[0], draw)

    def _kill(self, pid: int, draw: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        self.points.gate(draw).touch()
        wait_for(
            lambda: any(number_of(one) < COUNT for one in self.points.came(draw, "gone")),
            "who lives beside the policy to go on",
            60,
        )
        # The rest of a draw's way to the other process.
        time.sleep(0.5)
        os.kill(pid, signal.SIGKILL)
        self.killed.append(pid)
        self.points.forget({f"p{number}" for number in range(COUNT, 2 * COUNT)})


def number_of(problem: str) -> int:
    return int(problem.removeprefix("p"))


@pytest.fixture(scope="module")
def disturbed(
    tmp_path_factory: pytest.TempPathFactory, policy: Path, verifier: Path, undisturbed: Path
) -> Disturbed:
    folder = tmp_path_factory.mktemp("disturbed")
    run = Disturbed(folder / "run", Points(folder, (EARLY, LATE)))
    bench = make_bench(policy, verifier, reviser=policy)
    # Room for all that is in hand to be lost at its worst, twice.
    budget = 50 * books(undisturbed)["spent"]
    plan = RunPlan(
        folder=run.folder,
        models={"policy": make_plan(policy), "reviser": make_plan(policy), "verifier": make_plan(verifier)},
        bench=bench,
        allocator=first_come(bench, budget),
        judge=LastDigit(),
        budget=budget,
    )
    with Cluster(plan) as cluster:
        cluster.infos()
        run.progress = cluster.run(((task, "4") for task in chains_and_askers(run.points)), run.look)
    return run


def test_a_reviser_that_is_killed_in_mid_chain_twice_changes_no_candidate(
    disturbed: Disturbed, undisturbed: Path
) -> None:
    assert len(set(disturbed.killed)) == 2
    assert outcomes_by_key(disturbed.folder) == outcomes_by_key(undisturbed)
    progress = disturbed.progress
    assert progress is not None
    assert (progress.answered, progress.quarantined, progress.tasks_open) == (
        COUNT * (len(CHAINS) + len(ASKING)),
        0,
        0,
    )
    before, after = (
        {(row["key"], row["index"]): row["scores"] for row in rows_of(folder, "candidates")}
        for folder in (undisturbed, disturbed.folder)
    )
    assert {place: pytest.approx(scores, abs=1e-5) for place, scores in before.items()} == after


def test_steps_of_a_search_were_drawn_by_a_reviser_elsewhere(disturbed: Disturbed) -> None:
    mine = [row for row in rows_of(disturbed.folder, "outcomes") if row["strategy"] == ASKING[-1]]
    assert len(mine) == COUNT
    # Its samples are those of the strategy beside it.
    assert all(row["policy_tokens"] == 0 < row["reviser_tokens"] for row in mine)
    places = [row["place"] for row in rows_of(disturbed.folder, "samples") if row["start"] > 0]
    assert places, "steps behind others"


def test_what_died_with_it_is_charged_once_and_all_else_is_paid_as_ever(
    disturbed: Disturbed, undisturbed: Path
) -> None:
    ledger, progress = rows_of(disturbed.folder, "ledger"), disturbed.progress
    assert progress is not None
    assert progress.budget is not None
    assert progress.spent + progress.wasted <= progress.budget
    assert (progress.spent, progress.wasted) == tuple(books(disturbed.folder).values())
    assert paid(ledger) == paid(rows_of(undisturbed, "ledger"))
    lost = [row for row in ledger if row["kind"] == "lost"]
    assert progress.wasted == sum(row["flops"] for row in lost)
    homes = {task.id: task.home for task in chains_and_askers()}
    # Leases of chains, and single calls of those whose tasks live elsewhere.
    assert {(homes[row["task_id"]], row["purpose"]) for row in lost} == {
        ("reviser", "unknown"),
        ("policy", "reviser"),
    }
    leases = Counter(row["task_id"] for row in lost if row["purpose"] == "unknown")
    assert set(leases.values()) <= {1, 2}, "once for each death"
    attempts = {(row["task_id"], row["attempt"]) for row in ledger if row["kind"] == "kept"}
    assert len(attempts) == len(homes)
    assert {attempt for task, attempt in attempts if homes[task] == "policy"} == {1}, "their trees go on"
    assert max(attempt for _, attempt in attempts) == 3, "it was killed early and late in a chain"


def paid(ledger: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """FLOPs of what was drawn and is used, by task and model. The verifier's depend on who asks beside whom."""
    found = Counter[tuple[str, str]]()
    for row in ledger:
        if row["kind"] in ("kept", "pruned") and row["purpose"] != "verifier":
            found[row["task_id"], row["purpose"]] += row["flops"]
    return found


def test_no_sample_is_stored_twice(disturbed: Disturbed, undisturbed: Path) -> None:
    before, after = (
        Counter(row["key"] for row in rows_of(folder, "samples"))
        for folder in (undisturbed, disturbed.folder)
    )
    assert after == before
    assert set(after.values()) == {1}
