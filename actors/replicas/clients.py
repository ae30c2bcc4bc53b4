"""What a strategy is handed: policy, verifier and reader of one task, metered, seeded by place, paid from its purse.

All strategies of a task share its draws and scores: who asks first pays (spent), whoever uses one is attributed it, and what
an earlier run has made (the prior) nobody pays. It knows no strategy, only what is asked. Invariants: no score is asked for
before its worst case is reserved, and every request sent is settled, also when it fails; and where the purse cannot pay all,
what a strategy's first candidate needs comes before any strategy's second.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import partial

from actors.engines.base import GenerateRequest, ScoreRequest
from actors.engines.verifiers.families.base import Reading
from actors.ledger import Kind, Rank
from actors.replicas.bench import Bill, DrawKey, TaskBench
from actors.replicas.confidence import Likelihoods, TaskConfidence
from actors.replicas.draws import Draw, drawn
from actors.replicas.judging import at_most, of_its_own, taken
from actors.replicas.meter import Meter, Turn, once
from actors.replicas.peers import CallLost
from actors.replicas.prompt_value import judge_prompt
from actors.replicas.remote_scorer import SCORE_TRIES, ScoreError
from actors.replicas.revisions import TaskReviser, alike
from actors.replicas.sound import check_draw, check_ids, check_values
from actors.replicas.steps import Step, TaskReader
from actors.seeds import derive
from actors.store.library import score_row
from actors.strategy import Decision, PurseEmpty, Sample, Sampling, Terms
from actors.work import Cost, CostModel, prompt_cost

_KEPT: Kind = "kept"
_FAILED: Kind = "failed"
_LOST: Kind = "lost"


def _pass(bench: TaskBench, cost: CostModel, reading: Reading, computed: int) -> int:
    """Exact FLOPs of one pass over the last `computed` tokens of what the verifier reads."""
    tokens = len(reading.ids)
    if not 0 <= computed <= tokens:
        raise RuntimeError(f"the verifier says that it computed {computed} of {tokens} tokens")
    return cost.exact(tokens - computed, computed, bench.rows(reading, tokens - computed))


class TaskPolicy:
    """The policy client of one strategy within a task."""

    def __init__(
        self, bench: TaskBench, meter: Meter, turn: Turn, likelihoods: Likelihoods | None = None
    ) -> None:
        self._bench, self._meter, self._turn = bench, meter, turn
        self._prefilled, self._likelihoods = False, likelihoods

    @property
    def max_tokens(self) -> int:
        return self._bench.room("policy")

    async def sample(
        self,
        prefix: tuple[int, ...],
        place: tuple[int, ...],
        *,
        one_step: bool = False,
        sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
    ) -> Sample:
        bench = self._bench
        if len(prefix) >= bench.room("policy"):
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
        if self._likelihoods is not None:
            self._likelihoods.note("policy", bench.prompt.token_ids, prefix, sample)
        if first and sample.finish != "stop":
            turn.came(bench, prefix + sample.token_ids)
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
        bench = self._bench
        # A tokenizer may have more tokens than its model: one that was added, and that this prompt holds.
        info = bench.engine_of("policy").info
        check_ids("the prompt", bench.prompt.token_ids, info.vocabulary)
        check_draw(prefix, place, sampling, info.vocabulary)
        context = bench.prompt.token_ids + prefix
        most = bench.room("policy") - len(prefix)
        request = GenerateRequest(
            token_ids=context,
            max_tokens=most,
            seed=derive(
                bench.seed,
                bench.prompt.id,
                info.model_hash,
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
            certainty=bench.run.measure == "self_certainty",
        )
        return await drawn(bench, self._meter, Draw("policy", request, place, prefix), rank)


class TaskVerifier:
    """The verifier client of one strategy within a task."""

    def __init__(self, bench: TaskBench, meter: Meter, turn: Turn) -> None:
        self._bench, self._meter, self._turn = bench, meter, turn
        self._scored: set[Step] = set()
        # What stands before a solution, as far as it is on the bill already.
        self._read: set[tuple[int, ...]] = set()

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
            self._read.add(bench.prompt.token_ids)
        return value

    async def _judge(self, rank: Rank) -> float:
        value, spent = await judge_prompt(self._bench, rank)
        self._meter.spent += spent
        return value

    async def score(
        self, solution: tuple[int, ...], after: tuple[tuple[int, ...], ...] = ()
    ) -> tuple[float, ...]:
        bench, cost = self._bench, self._bench.run.costs.get("verifier")
        if bench.scorer is None or cost is None:
            raise ValueError("this run has no verifier")
        before = bench.before(after)
        last = bench.steps_after(before).keyed(solution)
        turn = self._turn
        if not last.ends:
            if solution in turn.whole:
                bench.purse.need(turn.seat, 0)
            return ()
        rank = turn.score()
        turn.scoring += 1
        try:
            values, first = await self._values(before, solution[: last.end], last, rank)
        except PurseEmpty:
            self._meter.refused = True
            raise
        finally:
            turn.scoring -= 1
        if first and solution in turn.whole:
            turn.scored += 1
            bench.purse.need(turn.seat, 0)
        exact = new = 0
        fresh = list(itertools.takewhile(lambda step: step not in self._scored, last.path()))
        alone = bench.wording is not None and bench.wording.alone
        if bench.whole:
            # The steps before it have no score of their own.
            fresh = fresh[:1]
        # In order: a judge reads what it wrote about the steps before.
        for step in fresh[::-1] if alone else [last]:
            reading = bench.reading(before, solution, step)
            if before not in self._read:
                # Cached is what the attempt before it was judged after: that follows from the request alone.
                cached = (
                    alike(before, bench.before(after[:-1]))
                    if after and before != bench.prompt.token_ids
                    else 0
                )
                exact += cost.exact(cached, reading.start - cached, 0)
                self._read.add(before)
            if reading.writing is not None:
                cached = reading.start - reading.fresh
                judged = of_its_own(cost, reading, reading.since(0), cached, step.written)
                exact += judged.exact
                new += judged.tokens["verifier"]
                continue
            known = 0 if alone else len(reading.ends) - len(fresh)
            old = len(reading.ids) - reading.since(known)
            exact += cost.exact(old, len(reading.ids) - old, bench.rows(reading, old))
            new += reading.since(known)
        self._scored.update(fresh)
        self._meter.attributed += Cost(tokens={"verifier": new}, paper=cost.paper(new), exact=exact)
        return values

    async def _values(
        self, before: tuple[int, ...], solution: tuple[int, ...], last: Step, rank: Rank
    ) -> tuple[tuple[float, ...], bool]:
        """The scores of all steps, and whether this strategy has the last one's for the first time. Where each step is
        judged by itself each is a request of its own, so that what two solutions have in common is judged once."""
        bench = self._bench
        if bench.whole or bench.wording is None or not bench.wording.alone:
            ask = partial(self._ask, before, solution, last, rank)
            return await once(bench, self._meter, bench.scores, last, ask)
        values: list[float] = []
        first = False
        for step in list(last.path())[::-1]:
            ask = partial(self._judge_step, before, solution[: step.end], step, rank)
            (value,), first = await once(bench, self._meter, bench.scores, step, ask)
            values.append(value)
        return tuple(values), first

    async def _judge_step(
        self, before: tuple[int, ...], solution: tuple[int, ...], step: Step, rank: Rank
    ) -> tuple[float, ...]:
        bench = self._bench
        check_ids("solution", solution, bench.engine.info.vocabulary)
        if step.known is not None:
            step.scored = True
            return (step.known,)
        return await self._passed(bench.reading(before, solution, step), solution, [step], rank)

    async def _ask(
        self, before: tuple[int, ...], solution: tuple[int, ...], last: Step, rank: Rank
    ) -> tuple[float, ...]:
        bench = self._bench
        check_ids("solution", solution, bench.engine.info.vocabulary)
        steps = list(last.path())[::-1]
        if bench.whole:
            if last.known is None:
                reading = bench.reading(before, solution, last)
                (last.known,) = await self._passed(reading, solution, [last], rank)
            # One judgement of all that is there.
            return (last.known,) * len(steps)
        known = [step.known for step in steps]
        if all(value is not None for value in known):
            return tuple(value for value in known if value is not None)
        for step in steps:
            step.scored = step.scored or step.known is not None
        told = await self._passed(bench.reading(before, solution, last), solution, steps, rank)
        return tuple(v if k is None else k for k, v in zip(known, told, strict=True))

    async def _passed(
        self, reading: Reading, solution: tuple[int, ...], steps: list[Step], rank: Rank
    ) -> tuple[float, ...]:
        """Have the verifier read this, and note the scores of these steps."""
        bench, cost = self._bench, self._bench.run.costs.get("verifier")
        assert bench.scorer is not None
        assert cost is not None
        new = reading.since(max((n for n, step in enumerate(steps, 1) if step.scored), default=0))
        worst = bench.run.price(at_most(cost, reading, new, bench.rows(reading)))
        request = ScoreRequest(reading.ids, reading.start, reading.ends, writing=reading.writing)
        if bench.run.texts:
            texts = bench.steps_after(reading.ids[: reading.start]).texts(solution, steps[-1])
            request = replace(request, question=bench.prompt.question, steps=texts)
        tries = paid = 0
        while True:
            await bench.purse.reserve(worst, rank=rank)
            took, kind = worst, _FAILED
            try:
                scores = await bench.scorer.score(request)
                exact = 0 if reading.writing else _pass(bench, cost, reading, scores.computed)
                if not scores.values and not request.whole and reading.writing is None:
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
                if reading.writing is not None:
                    spent = taken(cost, reading, new, scores)
                    steps[-1].written = tuple(one.drawn for one in scores.written)
                    steps[-1].left = scores.left
                self._meter.spent += spent
                took, kind = bench.run.price(spent), _KEPT
                for step, value in zip(steps, scores.values, strict=True):
                    if not step.scored:
                        bench.score_rows.append(
                            score_row(step.key, bench.prompt.id, value, step.written, step.left)
                        )
                        step.scored = True
                bench.bill(Bill("verifier", paid + took, solution))
                return tuple(scores.values)
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
    reviser: TaskReviser
    verifier: TaskVerifier | TaskConfidence
    reader: TaskReader
    market: TaskMarket
    seed: int

    @classmethod
    def of(
        cls, bench: TaskBench, meter: Meter, seat: int = 0, *, judged: bool = False, key: str = ""
    ) -> TaskModels:
        turn = Turn(seat, judged and bench.scorer is not None)
        noted = None if bench.run.measure is None else Likelihoods(bench.run.measure)
        return cls(
            TaskPolicy(bench, meter, turn, noted),
            TaskReviser(bench, meter, turn, noted),
            TaskVerifier(bench, meter, turn) if noted is None else TaskConfidence(bench, noted),
            TaskReader(bench.steps, bench.reader),
            TaskMarket(bench, meter, turn, bench.prior.decisions.get(key, ())),
            bench.seed,
        )
