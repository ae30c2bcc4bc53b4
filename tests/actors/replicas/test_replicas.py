"""Exchanges of a policy replica, and replicas whose engine fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import actors.replicas.solver
import actors.replicas.verifier
from actors.engines.base import GenerateRequest, Generation, ScoreRequest, Scores
from actors.engines.identity import tokenizer_hash
from actors.engines.model_config import model_hash
from actors.errors import UserError
from actors.ledger import Purse
from actors.messages import Grant, Lease, Limit, Orders, Report, States
from actors.replicas.solver import SolverReplica
from actors.strategy import Models, Prompt, Solution, Strategy
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.search.beam import Beam
from tests.support.inprocess import Verifier, Writer
from tests.support.tiny import EOS_IDS, candidate_cost, make_bench, make_plan, make_task

PLENTY = 1 << 60


def request(length: int = 9) -> ScoreRequest:
    return ScoreRequest(tuple(range(40, 40 + length)), 5, (length,))


async def test_a_real_verifier_says_which_request_is_at_fault(verifier: Path) -> None:
    replica = Verifier(make_plan(verifier)).replica
    good, long, nonsense = await replica.score([request(), request(130), ScoreRequest((40, 41), 1, (1,))])
    assert isinstance(good, Scores)
    assert isinstance(long, str)
    assert "exceed the verifier's context of 128" in long
    assert isinstance(nonsense, str)


@pytest.mark.parametrize("wrong", ["model", "tokenizer"])
def test_a_replica_that_finds_other_files_than_the_run_was_begun_with_never_works(
    policy: Path, wrong: str
) -> None:
    files = {"model": model_hash(policy), "tokenizer": tokenizer_hash(policy)}
    right = replace(make_plan(policy), files=(files["model"], files["tokenizer"]))
    SolverReplica("policy-0", right, make_bench(policy, None), (), Writer.__new__(Writer))
    files[wrong] = "0" * 32
    plan = replace(right, files=(files["model"], files["tokenizer"]))
    with pytest.raises(UserError, match=r"other files on .*copy one folder to every machine"):
        SolverReplica("policy-0", plan, make_bench(policy, None), (), Writer.__new__(Writer))


async def test_a_verifier_whose_engine_fails_leaves_its_process(
    verifier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []
    monkeypatch.setattr(actors.replicas.verifier, "leave", lambda error: left.append(str(error)))
    replica = Verifier(make_plan(verifier)).replica
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
async def replica(
    tmp_path: Path, policy: Path, verifier: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SolverReplica]:
    """One whose heartbeat is so slow that whatever is told is told before it."""
    monkeypatch.setattr(actors.replicas.solver, "EXCHANGE_S", 200.0)
    writer = Writer(tmp_path)
    plan = make_plan(policy, max_sequences=8)
    made = SolverReplica(
        "policy-0", plan, make_bench(policy, verifier), (Verifier(make_plan(verifier)),), writer
    )
    yield made
    await made.exchange(Orders((), (), (), ()))
    await made._engine.close()
    writer.writer.close()


def lease(number: int, strategy: Strategy, grant: int = PLENTY) -> Lease:
    return Lease(number, 1, make_task(number, (strategy,)), grant)


async def exchange(
    replica: SolverReplica,
    *leases: Lease,
    grants: tuple[Grant, ...] = (),
    acks: tuple[int, ...] = (),
    holds: tuple[int, ...] | None = None,
    limits: tuple[Limit, ...] = (),
) -> Report:
    """One exchange, before its heartbeat."""
    held = tuple(one.id for one in leases) if holds is None else holds
    return await asyncio.wait_for(replica.exchange(Orders(leases, grants, acks, held, limits=limits)), 60)


async def finish(replica: SolverReplica, one: Lease) -> Report:
    report = await exchange(replica, one)
    while not report.finished:
        report = await exchange(replica, holds=(one.id,))
    return report


async def test_a_replica_without_work_answers_at_once(replica: SolverReplica) -> None:
    report = await asyncio.wait_for(replica.exchange(Orders((), (), (), ())), 60)
    assert (report.finished, report.accounts, report.sequences_wanted) == ((), (), 16)
    await asyncio.wait_for(replica.exchange(Orders((), (), (7,), ())), 60)


async def test_what_is_finished_is_repeated_until_it_is_acknowledged(replica: SolverReplica) -> None:
    report = await finish(replica, lease(1, Greedy()))
    [finished] = report.finished
    assert (finished.lease, finished.attempt, finished.task_id, finished.error) == (1, 1, "task-1", "")
    assert finished.spent == finished.outcomes[0].spent.paper > 0
    assert report.accounts == ()
    assert (await exchange(replica)).finished == (finished,)
    assert (await exchange(replica, acks=(1,))).finished == ()


async def test_what_the_scheduler_does_not_count_on_is_dropped(
    replica: SolverReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors.replicas.solver, "EXCHANGE_S", 0.2)
    await exchange(replica, lease(1, Waiting()))
    assert list(replica._work) == [1]
    report = await exchange(replica, holds=())
    assert (report.accounts, report.finished, replica._work, replica._purses) == ((), (), {}, {})
    assert report.sequences_wanted == 16


async def test_a_purse_that_is_empty_again_is_told_at_once(replica: SolverReplica) -> None:
    """Each refill is exactly what was asked, so that a tree comes back for each of its rounds."""
    price = candidate_cost(replica._bench)
    report = await exchange(replica, lease(1, Beam(4, 2), grant=price))
    refills = 0
    while not report.finished:
        [account] = report.accounts
        assert account.spent + account.reserved <= price * (refills + 1) * 4
        grants = (Grant(1, account.granted + account.lacking),) if account.lacking else ()
        refills += bool(grants)
        report = await exchange(replica, grants=grants, holds=(1,))
    assert refills > 1
    assert report.finished[0].outcomes[0].state == "answered"


async def test_a_replica_computes_up_to_its_limit_and_asks_for_more_before(replica: SolverReplica) -> None:
    """What it has really done is never above what is charged if it dies now."""
    costs = replica._bench.costs
    token = costs["policy"].paper(1)
    limit = 10 * token
    one = replace(lease(1, BestOfN(4)), limit=limit)
    report = await exchange(replica, one)
    raised = 0
    while not report.finished:
        [account] = report.accounts
        assert account.limit == limit
        drawn = replica._engine.counters().tokens_out * token
        # As it is now: the engine may have gone on since it told.
        if (purse := replica._purses.get(1)) is not None:
            scored = sum(f for (purpose, _), f in purse._books.items() if purpose == "verifier")
            assert drawn <= drawn + scored <= purse.used
        assert drawn <= limit
        limit, raised = max(account.wanted, limit) + 8 * token, raised + 1
        report = await exchange(replica, holds=(1,), limits=(Limit(1, limit),))
    [finished] = report.finished
    assert finished.error == ""
    assert raised >= finished.spent // (16 * token)
    unlimited = await finish(replica, replace(lease(2, BestOfN(4)), task=one.task))
    assert unlimited.finished[-1].outcomes[0].answer == finished.outcomes[0].answer


async def test_whoever_may_not_go_on_is_dropped_and_holds_nobody_up(replica: SolverReplica) -> None:
    price = replica._bench.costs["policy"].paper(1)
    stopped = replace(lease(1, Majority(4)), limit=6 * price)
    await exchange(replica, stopped)
    report = await finish(replica, lease(2, Greedy()))
    assert [one.lease for one in report.finished] == [2]


async def test_neither_an_empty_purse_nor_a_stand_waits_for_the_heartbeat(replica: SolverReplica) -> None:
    """Beside a task that runs on, the two seconds of an exchange would be added to each of a tree's rounds."""
    price = candidate_cost(replica._bench)
    waiting = lease(9, Waiting())
    report = await exchange(replica, lease(1, Majority(16), grant=price), waiting)
    rounds = 0
    while not report.finished:
        account = next(one for one in report.accounts if one.lease == 1)
        # Granted only once it has come to a stand, as at the end of a budget.
        grants = (Grant(1, account.granted + price),) if account.lacking and not account.reserved else ()
        rounds += bool(grants)
        report = await exchange(replica, grants=grants, holds=(1, 9))
    assert rounds > 1
    assert report.finished[0].outcomes[0].generations == 16


async def test_a_refused_purse_ends_with_what_there_is(replica: SolverReplica) -> None:
    price = candidate_cost(replica._bench)
    report = await exchange(replica, lease(1, Majority(4), grant=price))
    while not report.accounts[0].lacking or report.accounts[0].reserved:
        report = await exchange(replica, holds=(1,))
    report = await exchange(replica, grants=(Grant(1, None),), holds=(1,))
    [outcome] = report.finished[0].outcomes
    assert (outcome.state, 1 <= outcome.generations < 4) == ("answered", True)
    assert report.finished[0].spent <= price


async def test_a_grant_for_a_lease_that_ended_is_nobodys(replica: SolverReplica) -> None:
    await finish(replica, lease(1, Greedy()))
    report = await exchange(replica, grants=(Grant(1, 5),))
    assert report.accounts == ()


async def test_a_replica_whose_engine_fails_leaves_its_process(
    replica: SolverReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: an engine that is broken for good fails task after task, and all of them end as quarantined."""
    left: list[str] = []
    monkeypatch.setattr(actors.replicas.solver, "leave", lambda error: left.append(str(error)))
    monkeypatch.setattr(replica._engine, "_step", broken)
    await finish(replica, lease(1, Majority(2)))
    assert left == ["engine step failed: RuntimeError('CUDA error: device-side assert triggered')"]


async def test_a_strategy_that_fails_leaves_the_replica_alone(
    replica: SolverReplica, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True, slots=True)
    class Broken(Waiting):
        async def solve(self, prompt: Prompt, models: Models) -> Solution:
            raise RuntimeError("scores outside [0, 1]")

    left: list[str] = []
    monkeypatch.setattr(actors.replicas.solver, "leave", lambda error: left.append(str(error)))
    report = await finish(replica, lease(1, Broken()))
    [outcome] = report.finished[0].outcomes
    assert (outcome.state, outcome.reason) == ("quarantined", "RuntimeError: scores outside [0, 1]")
    assert not left
    assert (await finish(replica, lease(2, Greedy()))).finished[-1].error == ""


async def test_a_limit_that_was_told_to_come_near_is_told_again_once_it_is_reached(policy: Path) -> None:
    """What was given by then may be less than what is asked for now."""
    replica = SolverReplica(
        "policy-0", make_plan(policy), make_bench(policy, None), (), Writer.__new__(Writer)
    )
    purse = replica._purses[1] = Purse(1_000, limit=100)
    orders = Orders((), (), (), (1,))
    await purse.reserve(60)
    assert replica._has_news()
    await replica.exchange(orders)
    assert not replica._has_news()
    waiting = asyncio.create_task(purse.reserve(50))
    await asyncio.sleep(0)
    assert replica._has_news()
    [account] = (await replica.exchange(orders)).accounts
    assert (account.limit, account.wanted) == (100, 110)
    assert not replica._has_news(), "once"
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert not replica._has_news(), "nor of its end"
    await replica._engine.close()


async def test_a_draw_for_others_ends_where_its_texts_do_by_the_replicas_own_tables(policy: Path) -> None:
    bench = make_bench(policy, None)
    bench = replace(bench, reader=replace(bench.reader, delimiter="\n\n", stop=(" w4",)))
    replica = SolverReplica("reviser-0", make_plan(policy), bench, (), Writer.__new__(Writer), role="reviser")
    finishes = set()
    for seed in range(12):
        # The delimiter has begun.
        watches = replica._reader.watches((40, 16), one_step=True)
        asked = GenerateRequest((0, 3, 40, 16), 20, seed, watches=watches)
        here = await replica._engine.generate(asked)
        states: States = tuple((one.finish, one.state) for one in watches)
        there = await replica.draw(replace(asked, watches=()), states)
        assert isinstance(there, Generation)
        assert (there.token_ids, there.finish) == (here.token_ids, here.finish)
        finishes.add((there.finish, there.token_ids[-1] in EOS_IDS))
    assert {("stop", False), ("eos", False)} <= finishes
    await replica._engine.close()
