"""Replicas, tasks and writers that fail: nothing is lost, and what was spent on it is on the books."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import actors.replicas.solver
import actors.scheduling.scheduler
from actors.errors import ServiceLost, UserError
from actors.messages import Orders, Report
from actors.strategy import Models, Prompt, Solution, Strategy
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from tests.support.cells import MakeCell, books, outcomes_by_key, rows_of, tasks
from tests.support.inprocess import Dead, Replica
from tests.support.tiny import candidate_cost


async def arrives_never(replica: Replica, orders: Orders) -> Report:
    raise Dead("the call did not arrive")


async def answer_is_lost(replica: Replica, orders: Orders) -> Report:
    await replica.through(orders)
    raise Dead("the answer was lost")


async def dies_at_once(replica: Replica, orders: Orders) -> Report:
    working = asyncio.create_task(replica.through(orders))
    await asyncio.sleep(0.01)
    working.cancel()
    await replica.die()
    raise Dead("killed")


def once_at(number: int, fault: Callable[[Replica, Orders], Any]) -> Callable[[Replica, Orders], Any]:
    """Interfere with the `number`-th exchange that has leases on it."""
    seen = 0

    async def maybe(replica: Replica, orders: Orders) -> Report | None:
        nonlocal seen
        seen += bool(orders.leases)
        if seen == number and orders.leases:
            report: Report = await fault(replica, orders)
            return report
        return None

    return maybe


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("fault", [arrives_never, answer_is_lost, dies_at_once])
async def test_an_exchange_that_fails_loses_nothing(
    cell: MakeCell, tmp_path: Path, undisturbed: dict[str, Any], fault: Any, number: int
) -> None:
    async with cell(replicas=2, max_sequences=8) as one:
        first, second = one.replicas.values()
        first.fault = once_at(number, fault)
        progress = await one.run(tasks(12))
        assert first.starts + second.starts == 2 + (fault is dies_at_once)
        lost = {(loss.task_id, loss.attempt) for loss in one.writer.losses}
    assert outcomes_by_key(tmp_path / "run") == undisturbed
    assert lost
    assert all(attempt == 1 for _, attempt in lost)
    assert progress.outcomes == progress.answered == 48
    assert progress.reserved == 0
    ledger = rows_of(tmp_path / "run", "ledger")
    assert {(r["task_id"], r["attempt"]) for r in ledger if r["kind"] == "lost"} == lost
    assert {(r["task_id"], r["attempt"]) for r in ledger if r["kind"] in ("kept", "pruned")} == {
        (task.id, 1 + ((task.id, 1) in lost)) for task in tasks(12)
    }
    assert {r["reason"].split(":")[0] for r in ledger if r["kind"] == "lost"} == {"Dead"}


async def test_a_lost_lease_is_charged_its_grant_under_a_budget(cell: MakeCell, tmp_path: Path) -> None:
    async with cell(replicas=1) as priced:
        price = candidate_cost(priced.bench)
    async with cell("budget", replicas=1, budget=1_000 * price) as one:
        one.replicas["policy-0"].fault = once_at(1, arrives_never)
        progress = await one.run(tasks(3, Greedy()))
    assert progress.answered == 3
    assert progress.wasted == books(tmp_path / "budget")["wasted"] == 3 * price


@pytest.fixture
def quick_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors.replicas.solver, "EXCHANGE_S", 0.2)


@pytest.mark.usefixtures("quick_heartbeat")
async def test_a_replica_that_hangs_is_restarted(
    cell: MakeCell, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    async def hangs(replica: Replica, orders: Orders) -> Report:
        await asyncio.Event().wait()
        raise AssertionError

    async with cell(replicas=1, deadline=3.0) as one:
        only = one.replicas["policy-0"]
        only.fault = once_at(1, hangs)
        progress = await one.run(tasks(12))
        assert (only.restarts, only.starts) == (1, 2)
        assert one.writer.losses
        assert all(loss.reason.startswith("TimeoutError") for loss in one.writer.losses)
    assert outcomes_by_key(tmp_path / "run") == undisturbed
    assert progress.answered == 48


@pytest.mark.usefixtures("quick_heartbeat")
async def test_an_engine_that_stands_still_is_restarted(
    cell: MakeCell, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    """The replica answers every exchange, but its engine draws no token although it has requests."""
    release = threading.Event()

    async def stands_still(replica: Replica, orders: Orders) -> Report | None:
        assert replica.inner is not None
        replica.inner._engine._thread.submit(release.wait, 30)
        replica.fault = None
        return None

    async with cell(replicas=1, deadline=3.0) as one:
        only = one.replicas["policy-0"]
        only.fault = stands_still
        die = only.die

        async def killed() -> None:
            release.set()
            await die()

        only.die = killed  # type: ignore[method-assign]
        progress = await one.run(tasks(12))
        assert (only.restarts, only.starts) == (1, 2)
        assert all("no new token" in loss.reason for loss in one.writer.losses)
    assert outcomes_by_key(tmp_path / "run") == undisturbed
    assert progress.answered == 48


async def test_late_results_are_acknowledged_and_count_once(
    cell: MakeCell, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    """The replica was only slow, its leases were taken back, and then it reports them all the same."""
    late: list[tuple[int, int]] = []
    acknowledged: list[int] = []

    async def overtaken(replica: Replica, orders: Orders) -> Report | None:
        acknowledged.extend(orders.acknowledged)
        if replica.exchanges == 2 and orders.leases:
            report = await replica.through(orders)
            while not report.finished:
                report = await replica.through(Orders((), (), (), orders.holds))
            late.extend((one.lease, one.attempt) for one in report.finished)
            raise Dead("too late")
        return None

    async with cell(replicas=1) as one:
        one.replicas["policy-0"].fault = overtaken
        progress = await one.run(tasks(12))
        inner = one.replicas["policy-0"].inner
        assert inner is not None
    assert late
    assert {lease for lease, _ in late} <= set(acknowledged)
    assert outcomes_by_key(tmp_path / "run") == undisturbed
    assert progress.outcomes == 48
    spent = [
        row["task_id"]
        for row in rows_of(tmp_path / "run", "ledger")
        if row["kind"] == "kept" and row["purpose"] == "policy"
    ]
    assert sorted(spent) == sorted(task.id for task in tasks(12))


async def test_what_a_writer_forgot_is_done_again(
    cell: MakeCell, tmp_path: Path, undisturbed: dict[str, Any]
) -> None:
    """A replica's record is reported, but the writer does not hold it."""
    async with cell(replicas=1) as one:
        stage = one.writer.writer.stage
        forgotten: list[int] = []

        def forgetful(lease: int, task: str, *record: Any) -> None:
            if task == "task-5" and not forgotten:
                forgotten.append(lease)
            else:
                stage(lease, task, *record)

        one.writer.writer.stage = forgetful  # type: ignore[method-assign]
        progress = await one.run(tasks(12))
        assert [(w.task_id, w.attempt, w.reason) for w in one.writer.losses] == [
            ("task-5", 1, "the run writer lost its record")
        ]
        assert one.writer.losses[0].flops > 0
    assert outcomes_by_key(tmp_path / "run") == undisturbed
    assert progress.answered == 48


@dataclass(frozen=True, slots=True)
class Poison:
    """Fails at one problem, after it has drawn a sample there; greedy elsewhere."""

    problem: str
    inner: Strategy = Greedy()  # noqa: RUF009  (frozen)

    text = "poison"
    uses_verifier = False
    sequences = 1

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        solution = await self.inner.solve(prompt, models)
        if prompt.id == self.problem:
            raise ValueError("this one is poisonous")
        return solution


async def test_a_strategy_that_fails_costs_itself_alone(cell: MakeCell, tmp_path: Path) -> None:
    async with cell(replicas=2) as one:
        progress = await one.run(tasks(10, Poison("p4"), Majority(2)))
        assert one.writer.losses == [], "nobody's work is done again for it"
    assert (progress.answered, progress.quarantined, progress.outcomes) == (19, 1, 20)
    assert progress.wasted == books(tmp_path / "run")["wasted"] > 0, "what it spent came to nothing"
    for row in rows_of(tmp_path / "run", "outcomes"):
        failed = (row["problem_id"], row["strategy"]) == ("p4", "poison")
        assert (row["state"] == "quarantined") == failed
        assert row["reason"] == ("ValueError: this one is poisonous" if failed else "")


async def test_what_kills_its_replica_is_quarantined_and_its_neighbours_live(
    cell: MakeCell, tmp_path: Path
) -> None:
    async def poisoned(replica: Replica, orders: Orders) -> Report | None:
        if any(lease.task.id == "task-4" for lease in orders.leases):
            return await dies_at_once(replica, orders)
        return None

    async with cell(replicas=2, max_sequences=16) as one:
        for replica in one.replicas.values():
            replica.fault = poisoned
        progress = await one.run(tasks(30, Greedy()))
    states = {row["problem_id"]: row["state"] for row in rows_of(tmp_path / "run", "outcomes")}
    assert len(states) == 30
    assert {name for name, state in states.items() if state != "answered"} == {"p4"}
    assert states["p4"] == "quarantined"
    assert progress.quarantined == 1


async def test_strategies_beside_one_that_lacks_a_service_spend_nothing_more(cell: MakeCell) -> None:
    """Their task is tried again: whatever it still ran would be spent behind the books."""
    stopped = asyncio.Event()
    lacks = [True, False]

    @dataclass(frozen=True, slots=True)
    class Lacking:
        text = "lacking"
        uses_verifier = False
        sequences = 1

        async def solve(self, prompt: Prompt, models: Models) -> Solution:
            if lacks.pop(0):
                raise ServiceLost("no verifier answers")
            return await Greedy().solve(prompt, models)

    @dataclass(frozen=True, slots=True)
    class Slow:
        text = "slow"
        uses_verifier = False
        sequences = 1

        async def solve(self, prompt: Prompt, models: Models) -> Solution:
            if len(lacks) == 2:
                try:
                    await asyncio.Event().wait()
                finally:
                    stopped.set()
            return await Greedy().solve(prompt, models)

    async with cell(replicas=1) as one:
        progress = await one.run(tasks(1, Slow(), Lacking()))
        await asyncio.sleep(0.5)
        inner = one.replicas["policy-0"].inner
        assert inner is not None
        assert inner._engine.counters().tokens_out == progress.of("policy").tokens
        assert [loss.reason for loss in one.writer.losses] == ["ServiceLost: no verifier answers"]
        assert not one.writer.losses[0].blamed
    assert stopped.is_set()
    assert progress.answered == 2


async def test_a_replica_that_never_comes_up_holds_nobody_up(cell: MakeCell) -> None:
    async with cell(replicas=2) as one:
        one.replicas["policy-1"].unready = asyncio.Event()
        progress = await one.run(tasks(6), seconds=20)
    assert progress.answered == 24
    assert progress.waiting_for == "policy-1"
    assert progress.of("policy").replicas == 1


async def test_a_replica_that_cannot_start_is_given_up_at_once(cell: MakeCell) -> None:
    async with cell(replicas=2) as one:
        one.replicas["policy-1"].fails_to_start = Dead("no weights there")
        assert (await one.run(tasks(6))).answered == 24
    async with cell("alone", replicas=1) as one:
        one.replicas["policy-0"].fails_to_start = Dead("no weights there")
        with pytest.raises(Dead, match="no weights there"):
            await one.run(tasks(6), seconds=3)


async def test_tasks_that_no_replica_can_take_any_more_end_the_run_with_what_their_last_one_died_of(
    cell: MakeCell,
) -> None:
    async with cell(replicas=1, revisers=1) as one:
        one.replicas["reviser-0"].fails_to_start = Dead("no weights there")
        progress = await one.run(tasks(3))
    assert progress.answered == 12, "none of them goes to a reviser"
    assert (progress.of("policy").replicas, progress.of("reviser").replicas) == (1, 0)
    async with cell("alone", replicas=1, revisers=1) as one:
        one.replicas["reviser-0"].fails_to_start = Dead("no weights there")
        with pytest.raises(Dead, match="no weights there"):
            await one.run([*tasks(3), replace(tasks(4)[3], home="reviser")], seconds=20)


async def test_a_replica_that_dies_again_and_again_is_given_up(
    cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors.scheduling.scheduler, "MAX_REPLICA_DEATHS", 2)

    async def always(replica: Replica, orders: Orders) -> Report | None:
        return await arrives_never(replica, orders)

    async with cell(replicas=2) as one:
        one.replicas["policy-1"].fault = always
        progress = await one.run(tasks(12))
    assert progress.answered == 48
    async with cell("alone", replicas=1) as one:
        one.replicas["policy-0"].fault = always
        with pytest.raises(Dead, match="did not arrive"):
            await one.run(tasks(3))


async def test_a_writer_that_fails_ends_the_run_with_its_error(cell: MakeCell) -> None:
    async with cell(replicas=2) as one:
        one.writer.fail = OSError(28, "No space left on device")
        with pytest.raises(UserError, match=r"No space left on device.*the same command goes on"):
            await one.run(tasks(6), seconds=30)
