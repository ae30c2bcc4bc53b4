"""What a strategy is handed: policy, verifier and reader of one task, metered, seeded by place, paid from its purse.

All strategies of a task share its draws and scores: who asks first pays (spent), whoever uses one is attributed it, and what
an earlier run has made (the prior) nobody pays. It knows no strategy, only what is asked. Invariant: nothing is sent before
its worst case is reserved, and every request sent is settled, also when it fails.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TypeVar

from actors.engines.base import Aborted, GenerateRequest, ScoreRequest
from actors.ledger import Kind
from actors.replicas.bench import DrawKey, TaskBench
from actors.replicas.remote_scorer import CallLost
from actors.replicas.steps import Step, TaskReader
from actors.seeds import derive
from actors.store.library import sample_key, sample_row, score_row
from actors.strategy import PurseEmpty, Sample, Sampling
from actors.work import Cost, CostModel

K = TypeVar("K")
V = TypeVar("V")

_KEPT: Kind = "kept"
_FAILED: Kind = "failed"
_LOST: Kind = "lost"


@dataclass(slots=True)
class Meter:
    """What one strategy took: `spent` for real, `attributed` alone with an ideal cache of its own prefixes.

    `refused` says that the purse could not pay one of its requests: it answers with less than it wanted.
    """

    spent: Cost = field(default_factory=Cost)
    attributed: Cost = field(default_factory=Cost)
    refused: bool = False


def _pass(cost: CostModel, tokens: int, solution: int, computed: int) -> int:
    """Exact FLOPs of one pass over the last `computed` of a text's tokens, the last `solution` of which are scored."""
    computed = min(computed, tokens)
    return cost.exact(tokens - computed, computed, min(computed, solution))


def once(
    book: dict[K, asyncio.Future[V]], key: K, make: Callable[[], Coroutine[None, None, V]]
) -> asyncio.Future[V]:
    """What `make` gives, made by the first who asks for `key`; one that failed may be asked for again. Who awaits it shields
    it: others may wait for it too."""
    future = book.get(key)
    if future is None:
        future = book[key] = asyncio.ensure_future(make())

        def forget(done: asyncio.Future[V]) -> None:
            if done.cancelled() or done.exception() is not None:
                book.pop(key, None)

        future.add_done_callback(forget)
    return future


class TaskPolicy:
    """The policy client of one strategy within a task."""

    def __init__(self, bench: TaskBench, meter: Meter) -> None:
        self._bench, self._meter = bench, meter
        self._prefilled = False
        self._drawn: set[asyncio.Future[Sample]] = set()

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
        bench.check_open()
        if len(prefix) >= bench.room:
            return Sample((), (), "length")
        key: DrawKey = (prefix, place, one_step, sampling)
        draw = once(bench.draws, key, lambda: self._draw(*key))
        try:
            sample = await asyncio.shield(draw)
        except PurseEmpty:
            self._meter.refused = True
            raise
        if draw in self._drawn:
            return sample
        self._drawn.add(draw)
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
        self, prefix: tuple[int, ...], place: tuple[int, ...], one_step: bool, sampling: Sampling
    ) -> Sample:
        bench, cost = self._bench, self._bench.run.costs["policy"]
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
            extend=one_step,
            # The end of a tree comes before the start of another: what it holds of the cache is free the sooner.
            priority=-len(prefix),
            likelihoods=bench.run.likelihoods,
        )
        key = sample_key(bench.run.salt("policy"), request.seed, context, most)
        if (known := bench.prior.samples.get(key)) is not None:
            return known
        await bench.purse.reserve(worst)
        # A request that fails may have used all that was set aside for it.
        took, kind = worst, _FAILED
        try:
            result = await bench.engine.generate(request)
            count = len(result.token_ids)
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
            bench.purse.settle(worst, took, "policy", kind)
        sample = Sample(result.token_ids, result.logprobs, result.finish)
        bench.paid.append((prefix + sample.token_ids, took))
        bench.samples.append(sample_row(key, bench.prompt.id, bench.seed, place, len(prefix), sample))
        return sample


class TaskVerifier:
    """The verifier client of one strategy within a task."""

    def __init__(self, bench: TaskBench, meter: Meter) -> None:
        self._bench, self._meter = bench, meter
        self._scored: set[Step] = set()

    async def score(self, solution: tuple[int, ...]) -> tuple[float, ...]:
        bench, cost = self._bench, self._bench.run.costs.get("verifier")
        if bench.scorer is None or cost is None:
            raise ValueError("this run has no verifier")
        bench.check_open()
        last = bench.steps.keyed(solution)
        if not last.ends:
            return ()
        try:
            values = await asyncio.shield(
                once(bench.scores, last, lambda: self._ask(solution[: last.end], last))
            )
        except PurseEmpty:
            self._meter.refused = True
            raise
        context = len(bench.prompt.token_ids) + last.end
        exact = cost.exact(0, len(bench.prompt.token_ids), 0) if not self._scored else 0
        fresh = list(itertools.takewhile(lambda step: step not in self._scored, last.path()))
        new = last.end - fresh[-1].start if fresh else 0
        exact += cost.exact(context - new, new, new)
        self._scored.update(fresh)
        self._meter.attributed += Cost(tokens={"verifier": new}, paper=cost.paper(new), exact=exact)
        return values

    async def _ask(self, solution: tuple[int, ...], last: Step) -> tuple[float, ...]:
        bench, cost = self._bench, self._bench.run.costs.get("verifier")
        assert bench.scorer is not None
        assert cost is not None
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
        while True:
            await bench.purse.reserve(worst)
            held = worst
            took, kind = worst, _FAILED
            try:
                scores = await bench.scorer.score(request)
                if len(scores.values) != len(steps):
                    raise RuntimeError(
                        f"the verifier gave {len(scores.values)} scores for {len(steps)} steps"
                    )
                spent = Cost(
                    tokens={"verifier": new},
                    paper=cost.paper(new),
                    exact=_pass(cost, len(ids), len(solution), scores.computed)
                    + _pass(cost, len(ids), len(solution), scores.again),
                )
                self._meter.spent += spent
                # A second pass is rare, and not set aside for: it takes what the purse has free, which is there at once.
                # Where that does not suffice, the rest stands in the outcome's own count alone.
                beyond = min(max(0, bench.run.price(spent) - worst), bench.purse.free)
                await bench.purse.reserve(beyond)
                held += beyond
                took, kind = min(bench.run.price(spent), held), _KEPT
                for step, value in zip(steps, scores.values, strict=True):
                    if not step.scored:
                        bench.score_rows.append(score_row(step.key, bench.prompt.id, value))
                        step.scored = True
                return tuple(v if k is None else k for k, v in zip(known, scores.values, strict=True))
            except CallLost:
                # It may have been computed to the end before it was lost: paid in full, and asked again.
                kind = _LOST
            finally:
                bench.purse.settle(held, took, "verifier", kind)


@dataclass(frozen=True, slots=True)
class TaskModels:
    """The `Models` of one strategy within a task."""

    policy: TaskPolicy
    verifier: TaskVerifier
    reader: TaskReader
    seed: int

    @classmethod
    def of(cls, bench: TaskBench, meter: Meter) -> TaskModels:
        return cls(
            TaskPolicy(bench, meter),
            TaskVerifier(bench, meter),
            TaskReader(bench.steps, bench.reader),
            bench.seed,
        )
