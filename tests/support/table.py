"""One task's bench over real engines that are watched: what is asked of them, and what the purse held then.

Shared by the tests of the clients and of the strategies. It knows no strategy. Invariant: a request never finds the purse
overdrawn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from actors.engines.base import EngineCounters, EngineInfo, GenerateRequest, Generation, ScoreRequest, Scores
from actors.engines.local.policy import LocalEngine
from actors.engines.local.verifier import ScoringEngine
from actors.engines.local.writer import WritingEngine
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.ledger import Purse
from actors.replicas.bench import TaskBench
from actors.replicas.clients import TaskModels
from actors.replicas.meter import Meter
from actors.replicas.reader import TokenReader
from actors.strategy import Prompt, Role, Solution, Strategy
from actors.work import Cost, Unit
from tests.support.tiny import make_bench, make_task

PROMPT = make_task(123, ()).prompt
PLENTY = 1 << 60
T = TypeVar("T")


@dataclass
class Watched:
    """A policy engine that notes what it is asked and what the purse held then; it may fail at a request."""

    engine: LocalEngine
    purse: Purse
    fail_at: int = 0
    requests: list[GenerateRequest] = field(default_factory=list)
    results: list[Generation] = field(default_factory=list)
    reserved: list[int] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def info(self) -> EngineInfo:
        return self.engine.info

    @property
    def slots(self) -> int:
        return self.engine.slots

    @property
    def paced(self) -> bool:
        return self.engine.paced

    def counters(self) -> EngineCounters:
        return self.engine.counters()

    async def close(self) -> None:
        await self.engine.close()

    async def generate(self, request: GenerateRequest) -> Generation:
        self.requests.append(request)
        self.reserved.append(self.purse.reserved)
        self.asked.set()
        assert self.purse.spent + self.purse.reserved <= self.purse.granted
        if len(self.requests) == self.fail_at:
            raise RuntimeError("engine step failed")
        result = await self.engine.generate(request)
        self.results.append(result)
        self.answered.set()
        return result


@dataclass
class WatchedScorer:
    engine: ScoringEngine | WritingEngine
    purse: Purse
    fail_at: int = 0
    short: bool = False
    requests: list[ScoreRequest] = field(default_factory=list)
    reserved: list[int] = field(default_factory=list)
    results: list[Scores] = field(default_factory=list)
    # in the order of answers
    pairs: list[tuple[ScoreRequest, Scores]] = field(default_factory=list)

    async def score(self, request: ScoreRequest) -> Scores:
        self.requests.append(request)
        self.reserved.append(self.purse.reserved)
        assert self.purse.spent + self.purse.reserved <= self.purse.granted
        if len(self.requests) == self.fail_at:
            raise RuntimeError("no verifier answers")
        scores = await self.engine.score(request)
        self.results.append(scores)
        self.pairs.append((request, scores))
        return Scores(scores.values[:-1], scores.computed) if self.short else scores


def said(solution: Solution) -> tuple[Any, ...]:
    """A solution without its log-probabilities and scores, which are equal up to rounding only."""
    tree = [(c.token_ids, c.step_ends, c.finish, c.kept, c.parent, c.depth) for c in solution.candidates]
    return solution.answer, solution.generations, solution.kept_tokens, tree


class Table:
    """One task's bench over watched engines, and what its strategies came to."""

    def __init__(
        self,
        policy: Path,
        verifier: Path,
        granted: int = PLENTY,
        unit: Unit = "paper",
        prompt: Prompt = PROMPT,
        *,
        reviser: Path | None = None,
        seed: int = 0,
        slots: int = 8,
        likelihoods: bool = True,
        family: ChosenFamily | None = None,
    ) -> None:
        plan = make_bench(policy, verifier, reviser=reviser, family=family)
        self.purse = Purse(granted)
        engine = LocalEngine.load(policy, max_sequences=slots)
        self.engine = Watched(engine, self.purse)
        judge: ScoringEngine | WritingEngine
        if family is not None and family.thinking is not None:
            judge = WritingEngine.load(family)
        else:
            judge = ScoringEngine.load(verifier, family=family)
        self.scorer = WatchedScorer(judge, self.purse)
        self.costs = plan.costs
        self.bench = TaskBench(
            run=replace(plan, unit=unit, likelihoods=likelihoods),
            prompt=prompt,
            seed=seed,
            engine=self.engine,
            scorer=self.scorer,
            reader=TokenReader(plan.reader, engine.info.eos_ids),
            purse=self.purse,
            wording=None if family is None else family.wording(),
        )
        # Everything that draws, by role.
        self.drawing: dict[Role, Watched] = {"policy": self.engine}
        if reviser is not None:
            self.drawing["reviser"] = Watched(LocalEngine.load(reviser, max_sequences=slots), self.purse)
            self.bench.others = {"reviser": self.drawing["reviser"]}
        self.meters: list[Meter] = []

    def models(self) -> TaskModels:
        self.meters.append(Meter())
        return TaskModels.of(self.bench, self.meters[-1], len(self.meters) - 1)

    async def solve(self, *strategies: Strategy) -> list[Solution]:
        return await asyncio.gather(*(s.solve(self.bench.prompt, self.models()) for s in strategies))

    def spent(self) -> Cost:
        total = Cost()
        for meter in self.meters:
            total += meter.spent
        return total

    async def close(self) -> None:
        for engine in self.drawing.values():
            await engine.close()
        await self.scorer.engine.close()


async def refused_at_a_stand(purse: Purse, work: Awaitable[T]) -> T:
    """Let it work, and tell the purse that there is no more once nothing is under way, as the scheduler does."""
    working, stood = asyncio.ensure_future(work), 0
    while not working.done():
        await asyncio.sleep(0)
        # Whoever has just been answered asks for more within a few turns.
        stood = stood + 1 if purse.lacking and not purse.reserved else 0
        if stood == 50:
            purse.refill(None)
    return await working
