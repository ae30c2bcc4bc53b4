"""A policy engine in a process of its own, and the strategies of the tasks it holds, run next to it.

What asks a second model that draws reaches it on its own replicas, as it does the verifier; and this engine draws for tasks
that are solved elsewhere, among its own. It knows nothing of Ray; `actors.cluster.placement` makes an actor of it.
Invariants: a finished task is staged with the run writer before it is reported, and reported until acknowledged; each
strategy of a task ends on its own (`actors.replicas.solving`), and a task is tried again only for what concerns all of them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import replace
from typing import NamedTuple, Protocol

from actors.engines.base import EngineError, EngineInfo, GenerateRequest, Generation
from actors.engines.plan import ModelPlan
from actors.errors import ServiceLost
from actors.ledger import Purse
from actors.memory import keep_freed_memory
from actors.messages import (
    STOPPED,
    Account,
    Finished,
    Lease,
    Orders,
    Pulse,
    Record,
    ReplicaInfo,
    Report,
    States,
)
from actors.replicas.bench import Bench, TaskBench
from actors.replicas.leaving import leave
from actors.replicas.reader import TokenReader
from actors.replicas.remote_drawer import DrawLink, RemoteDrawer
from actors.replicas.remote_scorer import RemoteScorer, VerifierLink
from actors.replicas.solving import Ended, failed, failure_of, run
from actors.replicas.starvation import Starvation
from actors.store.library import Prior
from actors.store.rows import decision_rows
from actors.strategy import Role, drawn_by
from actors.targets import check_here
from actors.work import Outcome

EXCHANGE_S = 2.0
"""An exchange returns after this long at the latest: it is the heartbeat."""

STAND_S = 0.25
"""The same where every task waits for its purse: a grant may have been made meanwhile, and nothing runs until it is here."""

LOOK_S = 0.1
"""How often a waiting exchange looks at the engine's load, which tells nobody when it falls."""

REQUESTS_GATHER_S = 0.05
"""After the first finish, how long an exchange waits for more to send along."""

HEED_S = 1.0
"""How long the strategies of a task that is over may take to end."""

LOAD = 2.0
"""Sequences in hand per slot: trees that wait for their verifier leave slots to others."""


class StageClient(Protocol):
    """The run writer as a replica sees it."""

    async def stage(self, lease: int, task_id: str, record: Record) -> None: ...


class PriorClient(Protocol):
    """The library of what exists already, as a replica sees it."""

    async def prior(self, problem_id: str) -> Prior: ...


class _Short(NamedTuple):
    """What the purses of all tasks lack, and how many tasks wait for their purse alone."""

    lacking: int
    stuck: int


class SolverReplica:
    """The engine of a model that draws, of this `role`, and the tasks that are solved with it."""

    def __init__(
        self,
        name: str,
        plan: ModelPlan,
        bench: Bench,
        verifiers: tuple[VerifierLink, ...],
        writer: StageClient,
        library: PriorClient | None = None,
        *,
        role: Role = "policy",
        revisers: tuple[DrawLink, ...] = (),
    ) -> None:
        keep_freed_memory()
        # Before anything is loaded or spent: a task whose strategy is not here could not even be read.
        check_here("strategies", bench.strategies)
        from actors.engines.loading import load_policy

        self._name, self._role, self._bench = name, role, bench
        self._writer, self._library = writer, library
        self._starvation = Starvation()
        self._engine = load_policy(plan)
        plan.check(self._engine.info)
        info = self._engine.info
        self._reader = TokenReader(bench.reader, info.eos_ids, info.vocabulary)
        self._wording = bench.family.wording() if bench.family is not None else None
        self._scorer = RemoteScorer(verifiers) if verifiers else None
        self._drawer = RemoteDrawer("reviser", revisers) if revisers else None
        self._work: dict[int, asyncio.Task[None]] = {}
        self._purses: dict[int, Purse] = {}
        # Sequences that each task runs at once, at most.
        self._widths: dict[int, int] = {}
        self._benches: dict[int, TaskBench] = {}
        self._finished: dict[int, Finished] = {}
        self._reported: set[int] = set()
        self._news = asyncio.Event()
        self._told, self._told_short = 0, _Short(0, 0)
        # lease -> the limit that was reported to come near, and whether it was reached
        self._told_low: dict[int, tuple[int, bool]] = {}
        self._life = self._staging = 0
        self._stopping: set[int] = set()

    async def info(self) -> ReplicaInfo:
        return ReplicaInfo(self._name, socket.gethostname(), os.getpid(), self._engine.info)

    async def pulse(self) -> Pulse:
        """Asked beside the work, on another thread."""
        return Pulse(self._engine.counters(), self._starvation.look())

    async def engine(self) -> EngineInfo:
        return self._engine.info

    async def draw(self, request: GenerateRequest, states: States = ()) -> Generation | str:
        """Draw for a task that is solved elsewhere, and paid there; or say what is wrong with the request. `states` are those
        of texts that end it."""
        try:
            return await self._engine.generate(replace(request, watches=self._reader.watching(states)))
        except Exception as error:
            if isinstance(error, EngineError):
                leave(str(error))
            return f"{type(error).__name__}: {error}"

    async def exchange(self, orders: Orders) -> Report:
        """Take orders, and answer when there is something to say, after two seconds at the latest. Raises RuntimeError for
        orders of a scheduler that another has followed."""
        if orders.life < self._life:
            raise RuntimeError(f"orders of scheduler {orders.life}, after those of scheduler {self._life}")
        self._life = orders.life
        for number in orders.acknowledged:
            self._finished.pop(number, None)
            self._reported.discard(number)
        for lease in orders.leases:
            self._start(lease)
        for grant in orders.grants:
            if grant.lease in self._purses:
                self._purses[grant.lease].refill(grant.total)
                if grant.terms is not None:
                    self._benches[grant.lease].terms = grant.terms
        for limit in orders.limits:
            if limit.lease in self._purses:
                self._purses[limit.lease].raise_limit(limit.total)
        # Whoever waited takes what came, before anything is made of what is still lacking.
        await asyncio.sleep(0)
        for number in set(self._work) - set(orders.holds):
            self._drop(number)
        if orders.stop:
            self._stop()
        # What the orders brought is no news any more; what is lacking beyond it is.
        self._told = min(self._told, self._wanted())
        told, short = self._told_short, self._short()
        self._told_short = _Short(min(told.lacking, short.lacking), min(told.stuck, short.stuck))
        started = time.monotonic()
        # Without work there will be no news, and the scheduler may have some at any moment.
        while self._work and not self._has_news():
            stands = self._short().stuck == len(self._work)
            if time.monotonic() - started > (STAND_S if stands else EXCHANGE_S):
                break
            try:
                await asyncio.wait_for(self._news.wait(), LOOK_S)
                await asyncio.sleep(REQUESTS_GATHER_S)
            except TimeoutError:
                continue
        self._news.clear()
        self._reported.update(self._finished)
        self._told_low = {number: _near(purse) for number, purse in self._purses.items() if purse.low}
        self._told, self._told_short = self._wanted(), self._short()
        return Report(
            finished=tuple(self._finished.values()),
            accounts=tuple(
                Account(
                    lease=number,
                    granted=purse.granted,
                    spent=purse.spent,
                    reserved=purse.reserved,
                    lacking=purse.lacking,
                    limit=purse.limit,
                    used=purse.used,
                    wanted=purse.wanted,
                )
                for number, purse in self._purses.items()
            ),
            sequences_wanted=self._told,
            counters=self._engine.counters(),
            elsewhere=sum(one.outstanding for one in (self._scorer, self._drawer) if one is not None),
            staging=self._staging,
            starved=self._starvation.look(),
        )

    def _has_news(self) -> bool:
        """Something ended, a purse is empty or its task came to a stand for it, one comes near its limit, or a quarter of the
        slots became free since the last report."""
        if self._finished.keys() - self._reported:
            return True
        short = self._short()
        return (
            short.lacking > self._told_short.lacking
            or short.stuck > self._told_short.stuck
            or any(
                purse.low and self._told_low.get(number) not in (_near(purse), (purse.limit, True))
                for number, purse in self._purses.items()
            )
            or self._wanted() >= self._told + max(1, self._engine.slots // 4)
        )

    def _short(self) -> _Short:
        needy = [purse for purse in self._purses.values() if purse.lacking]
        return _Short(sum(purse.lacking for purse in needy), sum(not purse.reserved for purse in needy))

    def _wanted(self) -> int:
        """Sequences this replica could take on: by what it was promised, and by what its engine really runs."""
        most = int(LOAD * self._engine.slots)
        free = most - sum(self._widths.values())
        # Most of what was promised may have ended, or wait for a verifier.
        idle = most - self._engine.counters().running
        return max(free, idle if len(self._work) < self._engine.slots else 0)

    def _start(self, lease: Lease) -> None:
        purse = Purse(lease.grant, lease.limit)
        purse.on_ask = self._news
        self._purses[lease.id] = purse
        self._widths[lease.id] = sum(strategy.sequences for strategy in lease.task.strategies)
        task, scorer = lease.task, None
        if self._scorer is not None:
            # Seeds of a problem share nothing but its prompt: apart they spread the load of few problems.
            scorer = self._scorer.of(f"{task.seed}/{task.prompt.id}")
        bench = self._benches[lease.id] = TaskBench(
            run=self._bench,
            prompt=task.prompt,
            seed=task.seed,
            engine=self._engine,
            scorer=scorer,
            reader=self._reader,
            purse=purse,
            terms=lease.terms,
            home=self._role,
            wording=self._wording,
        )
        self._work[lease.id] = asyncio.create_task(self._solve(lease, purse, bench))

    def _drop(self, lease: int) -> None:
        self._stopping.discard(lease)
        self._work.pop(lease).cancel()
        self._purses.pop(lease, None)
        self._widths.pop(lease, None)
        self._benches.pop(lease, None)

    def _stop(self) -> None:
        """End all that is in hand, as it stands: once what it has running is stopped, and on its books."""
        for number in set(self._work) - self._stopping:
            self._stopping.add(number)
            self._work[number].cancel()

    async def _solve(self, lease: Lease, purse: Purse, bench: TaskBench) -> None:
        task = lease.task
        runs: list[asyncio.Task[Ended]] = []
        try:
            if self._library is not None:
                bench.prior = await self._library.prior(task.prompt.id)
            drawn = [drawn_by(strategy) or {self._role} for strategy in task.strategies]
            if self._drawer is not None and any("reviser" in roles for roles in drawn):
                bench.others = {"reviser": await self._drawer.of(f"{task.seed}/{task.prompt.id}")}
            for seat, (strategy, roles) in enumerate(zip(task.strategies, drawn, strict=True)):
                purse.need(seat, bench.candidate(roles, scored=strategy.uses_verifier))
            runs += [
                asyncio.create_task(run(key, strategy, task, bench))
                for key, strategy in zip(task.keys, task.strategies, strict=True)
            ]
            # What one of them raises here concerns the task: what it failed of itself is among the results.
            await asyncio.wait(runs, return_when=asyncio.FIRST_EXCEPTION)
            for one in runs:
                if one.done():
                    one.result()
            # What a strategy left running would be spent on no book.
            await bench.end()
            results = await self._staged(lease, [one.result() for one in runs], bench)
            bench.book_failed(set().union(*(one.meter.used for one in results if one.failure is None)))
            solutions = [one.solution for one in results if one.solution is not None]
            kept = [c.token_ids for s in solutions for c in s.candidates if c.kept]
            probes = [c.token_ids for s in solutions for c in s.candidates if c.index in s.probes]
            bench.book_probes(probes, kept)
            bench.book_pruned(kept)
            ends = (one.outcome for one in results)
            self._finish(lease, purse, tuple(one for one in ends if task.replaces(one)), "")
        except asyncio.CancelledError:
            # Nobody else ends the lease of a task that was cancelled from within.
            await _abandon(runs, bench)
            self._finish(lease, purse, (), "the task was cancelled from within")
            raise
        except Exception as error:
            if isinstance(error, EngineError):
                leave(str(error))
            # Beside what failed others go on, and would spend what is on no book any more.
            await _abandon(runs, bench)
            blameless = isinstance(error, ServiceLost)
            self._finish(lease, purse, (), failure_of(error).reason, blameless=blameless)

    async def _staged(self, lease: Lease, results: list[Ended], bench: TaskBench) -> list[Ended]:
        """Stage what came of a task, but for what leaves an earlier answer as it is. Where the writer refuses it, each
        strategy's part is offered alone, and the strategy has failed whose part cannot be written, or graded."""

        async def stage(*some: Ended) -> None:
            failures = tuple(one.failure for one in some if one.failure is not None)
            kept = [one for one in some if lease.task.replaces(one.outcome)]
            record = Record(
                tuple(one.outcome for one in kept),
                [row for one in kept for row in one.rows],
                bench.samples,
                bench.score_rows,
                failures,
                [row for one in kept for row in decision_rows(one.outcome)],
            )
            self._staging += 1
            try:
                await self._writer.stage(lease.id, lease.task.id, record)
            finally:
                self._staging -= 1

        try:
            await stage(*results)
        except ServiceLost:
            raise
        except Exception:
            sound: list[Ended] = []
            for one in results:
                try:
                    await stage(one)
                except ServiceLost:
                    raise
                except Exception as error:
                    one = failed(one, failure_of(error))
                sound.append(one)
            await stage(*sound)
            return sound
        return results

    def _finish(
        self,
        lease: Lease,
        purse: Purse,
        outcomes: tuple[Outcome, ...],
        error: str,
        *,
        blameless: bool = False,
    ) -> None:
        if self._work.pop(lease.id, None) is None:
            return
        if lease.id in self._stopping and error:
            error, blameless = STOPPED, True
        self._stopping.discard(lease.id)
        del self._purses[lease.id], self._widths[lease.id], self._benches[lease.id]
        self._finished[lease.id] = Finished(
            lease=lease.id,
            attempt=lease.attempt,
            task_id=lease.task.id,
            outcomes=outcomes,
            entries=purse.entries,
            error=error,
            blameless=blameless,
        )
        self._news.set()


def _near(purse: Purse) -> tuple[int, bool]:
    """A purse's limit, and whether somebody waits for a higher one."""
    return purse.limit, purse.wanted > purse.limit


async def _abandon(runs: list[asyncio.Task[Ended]], bench: TaskBench) -> None:
    """End the strategies of a task that is over; one that does not heed it is left alone, for it can ask nothing any more."""
    bench.cancel()
    for one in runs:
        one.cancel()
    await bench.end()
    if runs:
        await asyncio.wait(runs, timeout=HEED_S)
