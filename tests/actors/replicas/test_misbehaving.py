"""Strategies that do what they should not, services that are gone, messages that come twice: nothing hangs, nothing is
spent on no book, and nobody is blamed for another's fault."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

from actors.errors import ServiceLost, UserError
from actors.messages import Orders, Report
from actors.scheduling.scheduler import MAX_UNSERVED
from actors.store.log import parts, read_books
from actors.strategy import Models, Prompt, Solution, Strategy
from actors.work import Task
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.greedy import Greedy
from tests.support.inprocess import Cell, Dead, Replica
from tests.support.tiny import make_task


def outcomes(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ds.dataset(parts(folder, "outcomes")).to_table().to_pylist()
    return rows


def work(count: int, *strategies: Strategy) -> list[Task]:
    return [make_task(number, strategies or (Greedy(),)) for number in range(count)]


@dataclass(frozen=True, slots=True)
class Racing:
    """Answers with the first of many draws, and leaves the others running."""

    text: str = "racing"
    uses_verifier: bool = False
    sequences: int = 16

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        draws = [asyncio.create_task(models.policy.sample((), (i,))) for i in range(16)]
        await asyncio.wait(draws, return_when=asyncio.FIRST_COMPLETED)
        return Solution(None, (), 1, 0)


async def test_what_a_strategy_leaves_running_is_stopped_and_on_the_books(
    tmp_path: Path, policy: Path, verifier: Path
) -> None:
    async with Cell(tmp_path / "run", policy, verifier, replicas=1, max_sequences=64) as cell:
        await cell.run(work(6, Racing()))
        [replica] = cell.replicas.values()
        assert replica.inner is not None
        await asyncio.sleep(0.2)
        drawn = replica.inner._engine.counters().tokens_out
        price = cell.bench.costs["policy"].paper(1)
    spent, wasted = read_books(tmp_path / "run")
    assert drawn * price <= spent + wasted
    assert wasted, "what was aborted may have been drawn, and came to nothing"


async def test_without_a_verifier_the_run_ends_and_no_problem_is_to_blame(
    tmp_path: Path, policy: Path, verifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(*_: object) -> None:
        raise ServiceLost("no verifier answers")

    async with Cell(tmp_path / "run", policy, verifier, replicas=1) as cell:
        with monkeypatch.context() as patch:
            patch.setattr("actors.replicas.remote_scorer.RemoteScorer.score", gone)
            with pytest.raises(
                UserError, match=r"cannot go on: ServiceLost: no verifier answers.*same command"
            ):
                await cell.run(work(3 * MAX_UNSERVED, BestOfN(2)))
        assert not any(loss.blamed for loss in cell.writer.losses)
    assert not parts(tmp_path / "run", "outcomes") or not outcomes(tmp_path / "run")
    async with Cell(tmp_path / "run", policy, verifier, replicas=1) as cell:
        assert (await cell.run(work(3 * MAX_UNSERVED, BestOfN(2)))).answered == 3 * MAX_UNSERVED


async def test_many_tasks_that_kill_their_replica_do_not_end_the_run(
    tmp_path: Path, policy: Path, verifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.scheduling.scheduler.MAX_REPLICA_DEATHS", 3)
    poison = {f"p{number}" for number in range(8)}

    async def dies_of_poison(replica: Replica, orders: Orders) -> Report | None:
        if any(lease.task.prompt.id in poison for lease in orders.leases):
            await replica.die()
            raise Dead("killed")
        return None

    async with Cell(tmp_path / "run", policy, verifier, replicas=1) as cell:
        cell.replicas["policy-0"].fault = dies_of_poison
        real = asyncio.sleep
        monkeypatch.setattr(
            "actors.scheduling.scheduler.asyncio.sleep", lambda seconds: real(min(seconds, 0.01))
        )
        progress = await cell.run(work(14))
    assert (progress.answered, progress.quarantined) == (6, 8)


async def test_what_is_said_twice_counts_once(tmp_path: Path, policy: Path, verifier: Path) -> None:
    async with Cell(tmp_path / "run", policy, verifier, replicas=1) as cell:
        tasks = work(5)
        cell.writer.writer.label(dict.fromkeys((task.id for task in tasks), "4"))
        assert await cell.scheduler.open() == 1
        await cell.scheduler.submit(tasks, 1)
        assert await cell.scheduler.open() == 1, "a call that was lost on its way back is made again"
        await cell.scheduler.submit(tasks, 1)
        await cell.scheduler.close()
        await asyncio.wait_for(asyncio.gather(cell.scheduler.run(), cell.scheduler.run()), 30)
    rows = outcomes(tmp_path / "run")
    assert len(rows) == len({row["key"] for row in rows}) == 5
