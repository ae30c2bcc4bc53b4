"""The reviser client of one strategy within a task: solutions after earlier attempts, whole or step by step, metered, seeded
by place.

It knows no strategy and no format: how attempts stand before a prompt is the run's `Framing`. Invariants: a seed hangs on the
place alone, never on when its attempts were there; what a request is attributed follows from the strategy's own requests
before it in its chain, so that no order of answers changes it; all steps of a solution read the same attempts, and of those
before them the very ids that were drawn.
"""

from __future__ import annotations

from collections import defaultdict

from actors.engines.base import GenerateRequest
from actors.ledger import Rank
from actors.replicas.bench import RevisionKey, TaskBench
from actors.replicas.confidence import Likelihoods
from actors.replicas.draws import Draw, drawn
from actors.replicas.meter import Meter, Turn, once
from actors.replicas.sound import check_draw, check_ids
from actors.seeds import derive
from actors.strategy import PurseEmpty, Sample, Sampling
from actors.work import Cost


class TaskReviser:
    """The reviser client of one strategy within a task."""

    def __init__(
        self, bench: TaskBench, meter: Meter, turn: Turn, likelihoods: Likelihoods | None = None
    ) -> None:
        self._bench, self._meter, self._turn, self._likelihoods = bench, meter, turn, likelihoods
        # what stands before a solution -> what was drawn of it so far
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
        prefix: tuple[int, ...] = (),
        one_step: bool = False,
    ) -> Sample:
        bench, turn = self._bench, self._turn
        before = self._before(attempts, prefix, place, sampling)
        if len(prefix) >= bench.room("reviser"):
            return Sample((), (), "length")
        self._meter.stepwise |= one_step
        key: RevisionKey = (before, prefix, place, one_step, sampling)
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
        solution = prefix + sample.token_ids
        if self._likelihoods is not None:
            self._likelihoods.note("reviser", before, prefix, sample, attempts)
        if first:
            if sample.finish != "stop":
                turn.came(bench, solution)
            self._attribute(before, attempts, prefix, len(sample.token_ids))
        self._made[before].add(solution)
        return sample

    def _before(
        self,
        attempts: tuple[tuple[int, ...], ...],
        prefix: tuple[int, ...],
        place: tuple[int, ...],
        sampling: Sampling,
    ) -> tuple[int, ...]:
        """What stands before the solution. A step has as much room for attempts as a whole solution, so that all read the
        same."""
        bench, framing = self._bench, self._bench.run.framing
        if framing is None or "reviser" not in bench.run.costs:
            raise ValueError("this run has no reviser")
        info = bench.engine_of("reviser").info
        # A tokenizer may have more tokens than its model: one that was added, and that this prompt holds.
        check_ids("the prompt", bench.prompt.token_ids, info.vocabulary)
        for one in attempts:
            check_draw(one, place, sampling, info.vocabulary)
        check_draw(prefix, place, sampling, info.vocabulary)
        return framing.context(bench.prompt.token_ids, attempts, info.context - bench.room("reviser"))

    def _attribute(
        self,
        before: tuple[int, ...],
        attempts: tuple[tuple[int, ...], ...],
        prefix: tuple[int, ...],
        count: int,
    ) -> None:
        """What it costs alone. Cached are the prompt as far as it was read, the attempt before with all that it was drawn
        after, and of a solution what was drawn of it before."""
        bench, cost = self._bench, self._bench.run.costs["reviser"]
        context = before + prefix
        begins = alike(before, bench.prompt.token_ids)
        cached, self._read = min(begins, self._read), max(begins, self._read)
        if before in self._made:
            cached = len(before) + self._drawn_of(before, prefix)
        elif attempts and bench.run.framing is not None:
            shown = bench.run.framing.context(bench.prompt.token_ids, attempts[:-1])
            if attempts[-1] in self._made.get(shown, ()):
                cached = max(cached, alike(context, shown + attempts[-1]))
        # The last token is read with the first that is drawn.
        cached = min(cached, len(context) - 1)
        exact = cost.exact(cached, len(context) - 1 - cached, 0) + cost.exact(len(context) - 1, count, count)
        self._meter.attributed += Cost(tokens={"reviser": count}, paper=cost.paper(count), exact=exact)

    def _drawn_of(self, before: tuple[int, ...], prefix: tuple[int, ...]) -> int:
        """How much of a beginning was drawn here: mostly all of it, and maybe nothing where it is another model's."""
        made = self._made[before]
        if not prefix or prefix in made:
            return len(prefix)
        return max(alike(prefix, one) for one in made)

    async def _draw(
        self,
        before: tuple[int, ...],
        prefix: tuple[int, ...],
        place: tuple[int, ...],
        one_step: bool,
        sampling: Sampling,
        rank: Rank,
    ) -> Sample:
        bench, context = self._bench, before + prefix
        # Whole attempts have the word that they had before there were others.
        kind = "revised step" if one_step else "revised end" if prefix else "revision"
        request = GenerateRequest(
            token_ids=context,
            max_tokens=bench.room("reviser") - len(prefix),
            seed=derive(
                bench.seed,
                bench.prompt.id,
                bench.engine_of("reviser").info.model_hash,
                sampling.temperature,
                sampling.top_p,
                kind,
                place,
            ),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            stop_ids=bench.reader.stop_ids if one_step else (),
            watches=bench.reader.watches(prefix, one_step=one_step),
            # The next attempt of its chain reads this one, and the next step of a solution this one.
            extend=True,
            # The end of a chain, or of a tree, comes before the start of another.
            priority=-len(context),
            likelihoods=bench.run.likelihoods,
            certainty=bench.run.measure == "self_certainty",
        )
        return await drawn(bench, self._meter, Draw("reviser", request, place, prefix), rank)


def alike(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """With how many tokens both begin."""
    most = min(len(one), len(other))
    if one[:most] == other[:most]:
        return most
    return next(at for at in range(most) if one[at] != other[at])
