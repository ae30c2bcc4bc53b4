"""What a strategy is handed: policy, verifier and reader of one task, metered, seeded by place, paid from its purse.

All strategies of a task share its draws and scores: who asks first pays (spent), whoever uses one is attributed it, and what
an earlier run has made (the prior) nobody pays. It knows no strategy, only what is asked. Invariants: nothing is sent before
its worst case is reserved, and every request sent is settled, also when it fails; no strategy's end takes an answer from
another; and where the purse cannot pay all, what a strategy's first candidate needs comes before any strategy's second.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from actors.engines.base import Aborted, GenerateRequest, ScoreRequest
from actors.ledger import Kind, Rank
from actors.replicas.bench import Bill, DrawKey, TaskBench
from actors.replicas.prompt_value import judge_prompt
from actors.replicas.remote_scorer import SCORE_TRIES, CallLost, ScoreError
from actors.replicas.sound import check_draw, check_ids, check_values
from actors.replicas.steps import Step, TaskReader
from actors.seeds import derive
from actors.store.library import sample_key, sample_row, score_row
from actors.strategy import Decision, PurseEmpty, Sample, Sampling, Terms
from actors.work import Cost, CostModel, prompt_cost

K = TypeVar("K")
V = TypeVar("V")

_KEPT: Kind = "kept"
_FAILED: Kind = "failed"
_LOST: Kind = "lost"


@dataclass(slots=True)
class Meter:
    """What one strategy took: `spent` for real, `attributed` alone with an ideal cache of its own prefixes.

    `refused` says that the purse could not pay one of its requests: it answers with less than it wanted. `used` are the
    requests that it had an answer of, `waits` those it waits for. `stepwise` says that it drew steps one by one.
    """

    spent: Cost = field(default_factory=Cost)
    attributed: Cost = field(default_factory=Cost)
    refused: bool = False
    stepwise: bool = False
    used: set[asyncio.Future[Any]] = field(default_factory=set)
    waits: set[asyncio.Future[Any]] = field(default_factory=set)
    ended: bool = False

    def end(self) -> None:
        """Let the strategy wait for nothing more, and ask nothing more: what it left running would be drawn for nobody."""
        self.ended = True
        for wait in self.waits:
            wait.cancel()


@dataclass(slots=True)
class Turn:
    """Which candidate of its strategy a request is for, counted from 0: by that the purse serves who waits, and among equals
    by the strategies' order (`seat`).

    A draw is for the candidate after all that are whole or under way, so that of a round of a search the first draw is for
    the first candidate as long as there is none. A score is for the candidate after all that are scored.
    """

    seat: int = 0
    judged: bool = False
    whole: set[tuple[int, ...]] = field(default_factory=set)
    drawn: int = 0
    scored: int = 0
    drawing: int = 0
    scoring: int = 0

    def draw(self) -> Rank:
        return self.drawn + self.drawing, self.seat

    def score(self) -> Rank:
        return self.scored + self.scoring, self.seat


def _pass(cost: CostModel, tokens: int, solution: int, computed: int) -> int:
    """Exact FLOPs of one pass over the last `computed` of a text's tokens, the last `solution` of which are scored."""
    if not 0 <= computed <= tokens:
        raise RuntimeError(f"the verifier says that it computed {computed} of {tokens} tokens")
    return cost.exact(tokens - computed, computed, min(computed, solution))


async def once(
    bench: TaskBench,
    meter: Meter,
    book: dict[K, asyncio.Future[V]],
    key: K,
    make: Callable[[], Coroutine[None, None, V]],
) -> tuple[V, bool]:
    """Await what `make` gives, made by the first who asks for `key`; says too whether this strategy has it for the first
    time. One that failed may be asked for again; one that nobody waits for any more is stopped, whoever asked first."""
    bench.check_open()
    if meter.ended:
        raise RuntimeError("this strategy has ended")
    request = book.get(key)
    joined = request is not None
    if request is None:
        request = book[key] = asyncio.ensure_future(make())
        bench.running[request] = 0

        def forget(done: asyncio.Future[V]) -> None:
            del bench.running[done]
            if done.cancelled() or done.exception() is not None:
                _drop(book, key, done)

        request.add_done_callback(forget)
    wait = asyncio.shield(request)
    meter.waits.add(wait)
    if not request.done():
        bench.running[request] += 1
    try:
        value = await wait
    except PurseEmpty:
        if not joined:
            raise
        refused = True
    else:
        refused = False
    finally:
        meter.waits.discard(wait)
        if not request.done():
            bench.running[request] -= 1
            if not bench.running[request]:
                # At once: whoever asks before it has ended is to have one of its own.
                _drop(book, key, request)
                request.cancel()
    if refused:
        # It was refused at another's turn: at this one's it may be paid.
        return await once(bench, meter, book, key, make)
    first = request not in meter.used
    meter.used.add(request)
    return value, first


def _drop(book: dict[K, asyncio.Future[V]], key: K, request: asyncio.Future[V]) -> None:
    if book.get(key) is request:
        del book[key]


class TaskPolicy:
    """The policy client of one strategy within a task."""

    def __init__(self, bench: TaskBench, meter: Meter, turn: Turn) -> None:
        self._bench, self._meter, self._turn = bench, meter, turn
        self._prefilled = False

    @property
    def max_tokens(self) -> int:
        return self._bench.room

    async def sample(
        self,
        prefix: tuple[int, ...],
        place: tuple[int, ...],
        *,
        one_step: bool = False,
        sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
    ) -> Sample:
        bench = self._bench
        if len(prefix) >= bench.room:
            return Sample((), (), "length")
        self._meter.stepwise |= one_step
        key: DrawKey = (prefix, place, one_step, sampling)
        turn = self._turn
        rank = turn.draw()
        turn.drawing += 1
        try:
            sample, first = await once(bench, self._meter, bench.draws, key, lambda: self._draw(*key, rank))
        except PurseEmpty:
            self._meter.refused = True
            raise
        finally:
            turn.drawing -= 1
        if first and sample.finish != "stop":
            turn.drawn += 1
            turn.whole.add(prefix + sample.token_ids)
            if not turn.judged:
                bench.purse.need(turn.seat, 0)
            elif turn.drawn == 1 and not turn.scored:
                # It is none before it is scored.
                bench.purse.need(turn.seat, bench.judging(len(prefix) + len(sample.token_ids)))
        if not first:
            return sample
        context = len(bench.prompt.token_ids) + len(prefix)
        count = len(sample.token_ids)
        cost = bench.run.costs["policy"]
        exact = cost.exact(context - 1, count, count)
        if not self._prefilled:
            exact += cost.exact(0, len(bench.prompt.token_ids) - 1, 0)
            self._prefilled = True
        self._meter.attributed += Cost(tokens={"policy": count}, paper=cost.paper(count), exact=exact)
        return sample

    async def _draw(
        self,
        prefix: tuple[int, ...],
        place: tuple[int, ...],
        one_step: bool,
        sampling: Sampling,
        rank: Rank,
    ) -> Sample:
        bench, cost = self._bench, self._bench.run.costs["policy"]
        # A tokenizer may have more tokens than its model: one that was added, and that this prompt holds.
        check_ids("the prompt", bench.prompt.token_ids, bench.engine.info.vocabulary)
        check_draw(prefix, place, sampling, bench.engine.info.vocabulary)
        context = bench.prompt.token_ids + prefix
        most = bench.room - len(prefix)
        worst = bench.run.price(
            Cost(
                paper=cost.paper(most),
                exact=cost.exact(0, len(context) - 1, 0) + cost.exact(len(context) - 1, most, most),
            )
        )
        request = GenerateRequest(
            token_ids=context,
            max_tokens=most,
            seed=derive(
                bench.seed,
                bench.prompt.id,
                bench.engine.info.model_hash,
                sampling.temperature,
                sampling.top_p,
                "step" if one_step else "end",
                place,
            ),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            stop_ids=bench.reader.stop_ids if one_step else (),
            watches=bench.reader.watches(prefix, one_step=one_step),
            extend=one_step,
            # The end of a tree comes before the start of another: what it holds of the cache is free the sooner.
            priority=-len(prefix),
            likelihoods=bench.run.likelihoods,
        )
        key = sample_key(bench.run.salt("policy"), request.seed, context, most)
        if (known := bench.prior.samples.get(key)) is not None:
            return known
        pace = None
        if bench.engine.paced and bench.purse.limited:
            # The last token reads the most.
            token = bench.run.price(
                Cost(paper=cost.paper(1), exact=cost.exact(len(context) + most - 2, 1, 1))
            )
            first = bench.run.price(Cost(exact=cost.exact(0, len(context) - 1, 0))) + token
            pace = await bench.purse.reserve_paced(worst, first, token, rank=rank)
        else:
            await bench.purse.reserve(worst, rank=rank)
        # A request that fails may have used all that was set aside for it.
        took, kind = worst, _FAILED
        try:
            result = await bench.engine.generate(replace(request, pace=pace))
            count = len(result.token_ids) + result.beyond
            spent = Cost(
                tokens={"policy": count},
                paper=cost.paper(count),
                exact=cost.exact(len(context) - 1 - result.prefilled, result.prefilled, 0)
                + cost.exact(len(context) - 1, count, count),
            )
            self._meter.spent += spent
            took, kind = bench.run.price(spent), _KEPT
        except Aborted as aborted:
            computed = cost.exact(len(context) - 1 - aborted.prefilled, aborted.prefilled, 0)
            drawn_exact = cost.exact(len(context) - 1, aborted.drawn, aborted.drawn)
            took = bench.run.price(Cost(paper=cost.paper(aborted.drawn), exact=computed + drawn_exact))
            raise
        finally:
            if pace is not None:
                pace.end()
            bench.purse.settle(worst, took, "policy", kind)
        sample = Sample(result.token_ids, result.logprobs, result.finish)
        bench.bill(Bill("policy", took, prefix + sample.token_ids))
        bench.samples.append(sample_row(key, bench.prompt.id, bench.seed, place, len(prefix), sample))
        return sample


class TaskVerifier:
    """The verifier client of one strategy within a task."""

    def __init__(self, bench: TaskBench, meter: Meter, turn: Turn) -> None:
        self._bench, self._meter, self._turn = bench, meter, turn
        self._scored: set[Step] = set()
        # Whether the prompt is on the bill already.
        self._read = False

    async def prompt_value(self) -> float:
        bench, cost = self._bench, self._bench.run.costs.get("verifier")
        if bench.scorer is None or cost is None:
            raise ValueError("this run has no verifier")
        rank = self._turn.score()
        try:
            value, first = await once(bench, self._meter, bench.judged, "alone", lambda: self._judge(rank))
        except PurseEmpty:
            self._meter.refused = True
            raise
        if first:
            self._meter.attributed += prompt_cost(cost, len(bench.prompt.token_ids))
            self._read = True
        return value

    async def _judge(self, rank: Rank) -> float:
        value, spent = await judge_prompt(self._bench, rank)
        self._meter.spent += spent
        return value

    async def score(self, solution: tuple[int, ...]) -> tuple[float, ...]:
        bench, cost = self._bench, self._bench.run.costs.get("verifier")
        if bench.scorer is None or cost is None:
            raise ValueError("this run has no verifier")
        last = bench.steps.keyed(solution)
        turn = self._turn
        if not last.ends:
            if solution in turn.whole:
                bench.purse.need(turn.seat, 0)
            return ()
        rank = turn.score()
        turn.scoring += 1
        try:
            values, first = await once(
                bench, self._meter, bench.scores, last, lambda: self._ask(solution[: last.end], last, rank)
            )
        except PurseEmpty:
            self._meter.refused = True
            raise
        finally:
            turn.scoring -= 1
        if first and solution in turn.whole:
            turn.scored += 1
            bench.purse.need(turn.seat, 0)
        context = len(bench.prompt.token_ids) + last.end
        exact = 0 if self._read else cost.exact(0, len(bench.prompt.token_ids), 0)
        self._read = True
        fresh = list(itertools.takewhile(lambda step: step not in self._scored, last.path()))
        new = last.end - fresh[-1].start if fresh else 0
        exact += cost.exact(context - new, new, new)
        self._scored.update(fresh)
        self._meter.attributed += Cost(tokens={"verifier": new}, paper=cost.paper(new), exact=exact)
        return values

    async def _ask(self, solution: tuple[int, ...], last: Step, rank: Rank) -> tuple[float, ...]:
        bench, cost = self._bench, self._bench.run.costs.get("verifier")
        assert bench.scorer is not None
        assert cost is not None
        check_ids("solution", solution, bench.engine.info.vocabulary)
        start = len(bench.prompt.token_ids)
        ids = bench.prompt.token_ids + solution
        steps = list(last.path())[::-1]
        known = [step.known for step in steps]
        if all(value is not None for value in known):
            return tuple(value for value in known if value is not None)
        for step in steps:
            step.scored = step.scored or step.known is not None
        new = last.end - next((step.end for step in reversed(steps) if step.scored), 0)
        worst = bench.run.price(Cost(paper=cost.paper(new), exact=cost.exact(0, len(ids), len(solution))))
        request = ScoreRequest(ids, start, tuple(start + end for end in last.ends))
        tries = paid = 0
        while True:
            await bench.purse.reserve(worst, rank=rank)
            took, kind = worst, _FAILED
            try:
                scores = await bench.scorer.score(request)
                exact = _pass(cost, len(ids), len(solution), scores.computed)
                if not scores.values and not request.whole:
                    # A cache stood in the way of the scores: paid, and another pass has a reservation of its own.
                    spent = Cost(exact=exact)
                    self._meter.spent += spent
                    took, kind = bench.run.price(spent), _KEPT
                    paid += took
                    bench.bill(Bill("verifier", paid, solution))
                    request = replace(request, whole=True)
                    continue
                check_values(scores.values, len(steps))
                spent = Cost(tokens={"verifier": new}, paper=cost.paper(new), exact=exact)
                self._meter.spent += spent
                took, kind = bench.run.price(spent), _KEPT
                for step, value in zip(steps, scores.values, strict=True):
                    if not step.scored:
                        bench.score_rows.append(score_row(step.key, bench.prompt.id, value))
                        step.scored = True
                bench.bill(Bill("verifier", paid + took, solution))
                return tuple(v if k is None else k for k, v in zip(known, scores.values, strict=True))
            except ScoreError:
                # Maybe it passes. Asked again here, it costs this request alone, and nobody who waits for others.
                tries += 1
                if tries == SCORE_TRIES:
                    raise
            except CallLost:
                # It may have been computed to the end before it was lost: paid in full, and asked again.
                kind = _LOST
            finally:
                bench.purse.settle(worst, took, "verifier", kind)


@dataclass(frozen=True, slots=True)
class TaskMarket:
    """What a FLOP costs one strategy within a task, what it was charged, and what it has on record."""

    bench: TaskBench
    meter: Meter
    turn: Turn
    past: tuple[Decision, ...] = ()

    async def afford(self, flops: int) -> None:
        try:
            await self.bench.purse.ensure(flops, rank=self.turn.draw())
        except PurseEmpty:
            self.meter.refused = True
            raise

    @property
    def terms(self) -> Terms | None:
        return self.bench.terms

    @property
    def spent(self) -> int:
        return self.bench.run.price(self.meter.spent)


@dataclass(frozen=True, slots=True)
class TaskModels:
    """The `Models` of one strategy within a task."""

    policy: TaskPolicy
    verifier: TaskVerifier
    reader: TaskReader
    market: TaskMarket
    seed: int

    @classmethod
    def of(
        cls, bench: TaskBench, meter: Meter, seat: int = 0, *, judged: bool = False, key: str = ""
    ) -> TaskModels:
        turn = Turn(seat, judged and bench.scorer is not None)
        return cls(
            TaskPolicy(bench, meter, turn),
            TaskVerifier(bench, meter, turn),
            TaskReader(bench.steps, bench.reader),
            TaskMarket(bench, meter, turn, bench.prior.decisions.get(key, ())),
            bench.seed,
        )
