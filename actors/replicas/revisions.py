"""The reviser client of one strategy within a task: whole solutions after earlier attempts, metered, seeded by place.

It knows no strategy and no format: how attempts stand before a prompt is the run's `Framing`. Invariants: a seed hangs on the
place alone, never on when its attempts were there; what a request is attributed follows from the strategy's own requests
before it in its chain, so that no order of answers changes it.
"""

from __future__ import annotations

from collections import defaultdict

from actors.engines.base import GenerateRequest
from actors.ledger import Rank
from actors.replicas.bench import RevisionKey, TaskBench
from actors.replicas.draws import Draw, drawn
from actors.replicas.meter import Meter, Turn, once
from actors.replicas.sound import check_draw, check_ids
from actors.seeds import derive
from actors.strategy import PurseEmpty, Sample, Sampling
from actors.work import Cost


class TaskReviser:
    """The reviser client of one strategy within a task."""

    def __init__(self, bench: TaskBench, meter: Meter, turn: Turn) -> None:
        self._bench, self._meter, self._turn = bench, meter, turn
        # context -> what was drawn after it
        self._made: defaultdict[tuple[int, ...], set[tuple[int, ...]]] = defaultdict(set)
        # How much of the prompt stood at the beginning of a context.
        self._read = 0

    @property
    def max_tokens(self) -> int:
        return self._bench.room("reviser")

    async def revise(
        self,
        attempts: tuple[tuple[int, ...], ...],
        place: tuple[int, ...],
        *,
        sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
    ) -> Sample:
        bench, turn = self._bench, self._turn
        context = self._context(attempts, place, sampling)
        key: RevisionKey = (context, place, sampling)
        rank = turn.draw()
        turn.drawing += 1
        try:
            sample, first = await once(
                bench, self._meter, bench.revisions, key, lambda: self._draw(*key, rank)
            )
        except PurseEmpty:
            self._meter.refused = True
            raise
        finally:
            turn.drawing -= 1
        if first:
            turn.came(bench, sample.token_ids)
            self._attribute(context, attempts, len(sample.token_ids))
        self._made[context].add(sample.token_ids)
        return sample

    def _context(
        self, attempts: tuple[tuple[int, ...], ...], place: tuple[int, ...], sampling: Sampling
    ) -> tuple[int, ...]:
        bench, framing = self._bench, self._bench.run.framing
        if framing is None or "reviser" not in bench.run.costs:
            raise ValueError("this run has no reviser")
        info = bench.engine_of("reviser").info
        # A tokenizer may have more tokens than its model: one that was added, and that this prompt holds.
        check_ids("the prompt", bench.prompt.token_ids, info.vocabulary)
        for one in attempts:
            check_draw(one, place, sampling, info.vocabulary)
        check_draw((), place, sampling, info.vocabulary)
        return framing.context(bench.prompt.token_ids, attempts, info.context - bench.room("reviser"))

    def _attribute(self, context: tuple[int, ...], attempts: tuple[tuple[int, ...], ...], count: int) -> None:
        """What it costs alone. Cached are the prompt as far as it was read, and the attempt before with all that it was drawn
        after."""
        bench, cost = self._bench, self._bench.run.costs["reviser"]
        begins = alike(context, bench.prompt.token_ids)
        cached, self._read = min(begins, self._read), max(begins, self._read)
        if context in self._made:
            cached = len(context)
        elif attempts and bench.run.framing is not None:
            before = bench.run.framing.context(bench.prompt.token_ids, attempts[:-1])
            if attempts[-1] in self._made.get(before, ()):
                cached = max(cached, alike(context, before + attempts[-1]))
        # The last token is read with the first that is drawn.
        cached = min(cached, len(context) - 1)
        exact = cost.exact(cached, len(context) - 1 - cached, 0) + cost.exact(len(context) - 1, count, count)
        self._meter.attributed += Cost(tokens={"reviser": count}, paper=cost.paper(count), exact=exact)

    async def _draw(
        self, context: tuple[int, ...], place: tuple[int, ...], sampling: Sampling, rank: Rank
    ) -> Sample:
        bench = self._bench
        request = GenerateRequest(
            token_ids=context,
            max_tokens=bench.room("reviser"),
            seed=derive(
                bench.seed,
                bench.prompt.id,
                bench.engine_of("reviser").info.model_hash,
                sampling.temperature,
                sampling.top_p,
                "revision",
                place,
            ),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            watches=bench.reader.watches((), one_step=False),
            # The next attempt of its chain reads this one.
            extend=True,
            # The end of a chain comes before the start of another.
            priority=-len(context),
            likelihoods=bench.run.likelihoods,
        )
        return await drawn(bench, self._meter, Draw("reviser", request, place), rank)


def alike(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """With how many tokens both begin."""
    most = min(len(one), len(other))
    if one[:most] == other[:most]:
        return most
    return next(at for at in range(most) if one[at] != other[at])
