"""A policy replica's exchanges, and its way to verifiers that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

import actors.replicas
from actors.engines.base import ScoreRequest, Scores
from actors.leases import Grant, Lease
from actors.messages import Orders, Report
from actors.replicas import PolicyReplica, RemoteScorer
from actors.work import Models, Prompt, Solution, Strategy
from orchestration.strategies.beam import Beam
from orchestration.strategies.greedy import Greedy
from orchestration.strategies.majority import Majority

from .inprocess import Dead, Verifier, Writer
from .tiny import candidate_cost, make_bench, make_plan, make_task

PLENTY = 1 << 60


def request(length: int = 9) -> ScoreRequest:
    return ScoreRequest(tuple(range(40, 40 + length)), 5, (length,))


@dataclass
class Handle:
    """A verifier's handle that answers call by call as it is told; without a script it answers each request."""

    script: list[Exception | None] = field(default_factory=list)
    calls: list[list[ScoreRequest]] = field(default_factory=list)
    waits: asyncio.Event | None = None

    @property
    def score(self) -> Handle:
        return self

    async def remote(self, requests: list[ScoreRequest]) -> list[Scores | str]:
        self.calls.append(requests)
        failure = self.script.pop(0) if self.script else None
        if self.waits is not None:
            await self.waits.wait()
        if failure is not None:
            raise failure
        return [
            Scores((0.5,), len(r.token_ids)) if len(r.token_ids) < 50 else "ValueError: long"
            for r in requests
        ]


# The way to a verifier


async def test_requests_of_a_moment_travel_as_one_call() -> None:
    handle = Handle()
    scorer = RemoteScorer((handle,), 0)
    answers = await asyncio.gather(*(scorer.score(request(6 + i)) for i in range(5)))
    assert [len(call) for call in handle.calls] == [5]
    assert [answer.computed for answer in answers] == [6, 7, 8, 9, 10]
    await scorer.score(request())
    assert [len(call) for call in handle.calls] == [5, 1]


async def test_a_call_in_flight_does_not_hold_the_next_one_up() -> None:
    handle = Handle(waits=asyncio.Event())
    scorer = RemoteScorer((handle,), 0)
    first = asyncio.create_task(scorer.score(request(6)))
    while not handle.calls:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    second = asyncio.create_task(scorer.score(request(7)))
    while len(handle.calls) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    assert handle.waits is not None
    handle.waits.set()
    assert [answer.computed for answer in await asyncio.gather(first, second)] == [6, 7]


async def test_a_request_at_fault_fails_alone() -> None:
    scorer = RemoteScorer((Handle(),), 0)
    good, bad = await asyncio.gather(
        scorer.score(request(7)), scorer.score(request(60)), return_exceptions=True
    )
    assert isinstance(good, Scores)
    assert isinstance(bad, RuntimeError)
    assert str(bad) == "ValueError: long"


async def test_a_real_verifier_says_which_request_is_at_fault(verifier: Path) -> None:
    replica = Verifier(verifier).replica
    good, long, nonsense = await replica.score([request(), request(130), ScoreRequest((40, 41), 1, (1,))])
    assert isinstance(good, Scores)
    assert isinstance(long, str)
    assert "exceed the verifier's context of 128" in long
    assert isinstance(nonsense, str)


async def test_another_verifier_is_asked_where_one_fails() -> None:
    first, second = Handle([Dead("killed")]), Handle()
    scorer = RemoteScorer((first, second), 0)
    assert (await scorer.score(request(8))).computed == 8
    assert (len(first.calls), len(second.calls)) == (1, 1)
    assert (await scorer.score(request(9))).computed == 9
    assert (len(first.calls), len(second.calls)) == (2, 1), "at home again, where the prefixes are"


async def test_the_only_verifier_is_waited_for_as_long_as_it_may_take_to_start() -> None:
    """Trap: a verifier that restarts fails each call at once, and a handful of tries is over before it is back."""
    now = 0.0
    naps: list[float] = []

    async def nap(seconds: float) -> None:
        nonlocal now
        now += seconds
        naps.append(seconds)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(actors.replicas, "asyncio", _Clock(asyncio, nap))
        patch.setattr(actors.replicas, "time", _Time(lambda: now))
        handle = Handle([Dead("restarting")] * 100)
        assert (await RemoteScorer((handle,), 0).score(request(8))).computed == 8
        assert 100 < now < 250
        assert max(naps) == 2.0
        hopeless = Handle([Dead("restarting")] * 10_000)
        now = 0.0
        with pytest.raises(RuntimeError, match=r"no verifier answers: Dead\('restarting'\)"):
            await RemoteScorer((hopeless,), 0).score(request(8))
        assert 600 < now < 610


class _Clock:
    """asyncio with another sleep."""

    def __init__(self, real: Any, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._real, self.sleep = real, sleep

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Time:
    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.monotonic = monotonic


async def test_verifiers_that_are_dead_for_good_are_not_waited_for() -> None:
    handles = (Handle([ActorDiedError()] * 9), Handle([ActorDiedError()] * 9))
    with pytest.raises(RuntimeError, match="no verifier answers"):
        await asyncio.wait_for(RemoteScorer(handles, 1).score(request()), 5)
    assert [len(handle.calls) for handle in handles] == [1, 1]


async def test_a_verifier_that_hangs_is_left_for_another() -> None:
    first, second = Handle(waits=asyncio.Event()), Handle()
    scorer = RemoteScorer((first, second), 0, deadline=0.05)
    assert (await asyncio.wait_for(scorer.score(request(8)), 5)).computed == 8


async def test_who_is_cancelled_is_not_asked_for_again() -> None:
    handle = Handle([Dead("killed")])
    scorer = RemoteScorer((handle,), 0)
    one, two = (asyncio.create_task(scorer.score(request(6 + i))) for i in range(2))
    while not handle.calls:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    one.cancel()
    assert (await two).computed == 7
    assert [[len(r.token_ids) for r in call] for call in handle.calls] == [[6, 7], [7]]


async def test_a_verifier_whose_engine_fails_leaves_its_process(
    verifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []
    monkeypatch.setattr(actors.replicas, "_leave", lambda error: left.append(str(error)))
    replica = Verifier(verifier).replica
    await replica.score([request(130)])
    assert not left, "a request at fault is no failure of the engine"
    monkeypatch.setattr(replica._engine, "_score_all", broken)
    await replica.score([request()])
    assert left == ["scoring failed: RuntimeError('CUDA error: device-side assert triggered')"]


def broken(*_: object) -> None:
    raise RuntimeError("CUDA error: device-side assert triggered")


# Exchanges


@dataclass(frozen=True, slots=True)
class Waiting:
    """Waits for ever."""

    text = "waiting"
    uses_verifier = False
    sequences = 1

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.fixture
async def replica(tmp_path: Path, policy: Path, verifier: Path) -> AsyncIterator[PolicyReplica]:
    writer = Writer(tmp_path)
    plan = make_plan(policy, max_sequences=8)
    made = PolicyReplica("policy-0", plan, make_bench(policy, verifier), (Verifier(verifier),), writer)
    yield made
    await made.exchange(Orders((), (), (), ()))
    await made._engine.close()
    writer.writer.close()


def lease(number: int, strategy: Strategy, grant: int = PLENTY) -> Lease:
    return Lease(number, 1, make_task(number, (strategy,)), grant)


async def exchange(
    replica: PolicyReplica,
    *leases: Lease,
    grants: tuple[Grant, ...] = (),
    acks: tuple[int, ...] = (),
    holds: tuple[int, ...] | None = None,
) -> Report:
    """One exchange, well before its heartbeat."""
    held = tuple(one.id for one in leases) if holds is None else holds
    return await asyncio.wait_for(replica.exchange(Orders(leases, grants, acks, held)), 1.5)


async def finish(replica: PolicyReplica, one: Lease) -> Report:
    report = await exchange(replica, one)
    while not report.finished:
        report = await exchange(replica, holds=(one.id,))
    return report


async def test_a_replica_without_work_answers_at_once(replica: PolicyReplica) -> None:
    report = await asyncio.wait_for(replica.exchange(Orders((), (), (), ())), 0.1)
    assert (report.finished, report.accounts, report.sequences_wanted) == ((), (), 12)
    await asyncio.wait_for(replica.exchange(Orders((), (), (7,), ())), 0.1)


async def test_what_is_finished_is_repeated_until_it_is_acknowledged(replica: PolicyReplica) -> None:
    report = await finish(replica, lease(1, Greedy()))
    [finished] = report.finished
    assert (finished.lease, finished.attempt, finished.task_id, finished.error) == (1, 1, "task-1", "")
    assert finished.spent == finished.outcomes[0].spent.paper > 0
    assert report.accounts == ()
    assert (await exchange(replica)).finished == (finished,)
    assert (await exchange(replica, acks=(1,))).finished == ()


async def test_what_the_scheduler_does_not_count_on_is_dropped(replica: PolicyReplica) -> None:
    await asyncio.wait_for(replica.exchange(Orders((lease(1, Waiting()),), (), (), (1,))), 3)
    assert list(replica._work) == [1]
    report = await exchange(replica, holds=())
    assert (report.accounts, report.finished, replica._work, replica._purses) == ((), (), {}, {})
    assert report.sequences_wanted == 12


async def test_a_purse_that_is_empty_again_is_told_at_once(replica: PolicyReplica) -> None:
    """Each refill is exactly what was asked, so that a tree comes back for each of its rounds."""
    price = candidate_cost(replica._bench)
    report = await exchange(replica, lease(1, Beam(4, 2), grant=price))
    refills = 0
    while not report.finished:
        [account] = report.accounts
        assert account.spent + account.reserved <= price * (refills + 1) * 4
        grants = (Grant(1, account.lacking),) if account.lacking else ()
        refills += bool(grants)
        report = await exchange(replica, grants=grants, holds=(1,))
    assert refills > 1
    assert report.finished[0].outcomes[0].state == "answered"


async def test_a_refused_purse_ends_with_what_there_is(replica: PolicyReplica) -> None:
    price = candidate_cost(replica._bench)
    report = await exchange(replica, lease(1, Majority(4), grant=price))
    while not report.accounts[0].lacking or report.accounts[0].reserved:
        report = await exchange(replica, holds=(1,))
    report = await exchange(replica, grants=(Grant(1, None),), holds=(1,))
    [outcome] = report.finished[0].outcomes
    assert (outcome.state, 1 <= outcome.generations < 4) == ("answered", True)
    assert report.finished[0].spent <= price


async def test_a_grant_for_a_lease_that_ended_is_nobodys(replica: PolicyReplica) -> None:
    await finish(replica, lease(1, Greedy()))
    report = await exchange(replica, grants=(Grant(1, 5),))
    assert report.accounts == ()


async def test_a_replica_whose_engine_fails_leaves_its_process(
    replica: PolicyReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: an engine that is broken for good fails task after task, and all of them end as quarantined."""
    left: list[str] = []
    monkeypatch.setattr(actors.replicas, "_leave", lambda error: left.append(str(error)))
    monkeypatch.setattr(replica._engine, "_step", broken)
    await finish(replica, lease(1, Majority(2)))
    assert left == ["engine step failed: RuntimeError('CUDA error: device-side assert triggered')"]


async def test_a_strategy_that_fails_leaves_the_replica_alone(
    replica: PolicyReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True, slots=True)
    class Broken(Waiting):
        async def solve(self, prompt: Prompt, models: Models) -> Solution:
            raise RuntimeError("scores outside [0, 1]")

    left: list[str] = []
    monkeypatch.setattr(actors.replicas, "_leave", lambda error: left.append(str(error)))
    report = await finish(replica, lease(1, Broken()))
    assert report.finished[0].error == "RuntimeError: scores outside [0, 1]"
    assert not left
    assert (await finish(replica, lease(2, Greedy()))).finished[-1].error == ""
