"""What planning learns from in a run: which of its strategies are samples, which are searches, and what they cost.

It knows a run's tables and what strategies say of themselves, nothing of what is learnt. Invariant: whatever is too little to
learn from is refused here, in one line, before anything is fitted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.compute as pc

from actors.errors import UserError, counted
from actors.strategy import Role, asked_by
from orchestration.allocation.value_table import Offer
from orchestration.analysis.collect import Named
from orchestration.flops import ModelCost
from orchestration.planning.pools import NOTHING_KNOWN, Pool, read_pools
from orchestration.runs.run import NO_OUTCOME, Run
from orchestration.strategies.choice import Chooser
from orchestration.strategies.parse import parse
from orchestration.strategies.tally import Counting, counting_of

LEAST = 50
"""Problems that planning takes at least."""


@dataclass(frozen=True, slots=True)
class Source:
    """The whole `pools` of a run: `samples` is the strategy that drew their samples, `searches` stand the cheapest first,
    `counting` says how votes are counted."""

    samples: Chooser
    searches: tuple[str, ...]
    pools: list[Pool]
    counting: Counting

    @property
    def size(self) -> int:
        """Samples of a problem."""
        return len(self.pools[0].samples)

    @property
    def offer(self) -> Offer:
        """Samples by powers of two up to all there are, every search, and the prompts' values where they are known."""
        return self.offer_of(self.size, self.searches, judged=self.judged)

    @property
    def judged(self) -> bool:
        """Whether the verifier's value of each prompt is known."""
        return all(pool.prompt is not None for pool in self.pools)

    @staticmethod
    def offer_of(size: int, searches: Sequence[str], *, judged: bool = False) -> Offer:
        """Samples by powers of two up to so many, these searches, and the prompts' values where they are known."""
        counts = [1 << power for power in range(size.bit_length()) if 1 << power < size]
        return Offer((*counts, size), tuple(searches), judged)


def read_source(
    run: Run,
    strategies: Sequence[str] = (),
    *,
    least: int = LEAST,
    prompts: Mapping[str, float] = NOTHING_KNOWN,
) -> Source:
    """What a run has to learn from: the largest set of whole samples, those with scores first, and every search; or the
    `strategies` named, of which one draws whole samples. `prompts` are the verifier's values of prompts alone, by problem.

    Raises UserError where there is too little: no samples, no labels, fewer than `least` problems, or such of which every
    answer is right, or wrong.
    """
    means = _mean_flops(run)
    if not means:
        raise UserError.of("run", str(run.folder), NO_OUTCOME)
    samples, searches = choose(
        "strategies" if strategies else "run", strategies or list(means), str(run.folder)
    )
    ordered = tuple(sorted(searches, key=lambda text: (means.get(text, 0.0), text)))
    source = Source(
        samples,
        ordered,
        read_pools(run, samples.text, ordered, costs_in(run), prompts=prompts),
        counting_of(samples),
    )
    _check(run, source, least)
    return source


def choose(field: str, texts: Sequence[str], place: str = "") -> tuple[Chooser, list[str]]:
    """Of strategies the one whose whole samples tell most, and the searches among them. Raises UserError, by `field`, where
    none draws whole samples."""
    named = [Named.of(text if field == "run" else parse(text).text) for text in texts]
    drawn = [one for one in named if one.choice is not None and one.choice.sampling.temperature > 0]
    most = max(drawn, key=lambda one: (one.choice is not None and one.choice.scored, one.n), default=None)
    if most is None or most.chooser is None:
        value = place if field == "run" else list(texts)
        mend = "none of its strategies draws whole samples with a temperature, as best_of_n(n=32) does: a plan needs such"
        raise UserError.of(field, value, mend)
    scored = most.chooser.choice.scored
    return most.chooser, [one.text for one in named if _is_search(one, scored=scored)]


def _is_search(one: Named, *, scored: bool) -> bool:
    """Whether it is an option beside samples: a search, or the one most likely sample; no choice among samples, nothing that
    ends as votes tell it, no training data, and nothing that a plan has led already."""
    likeliest = one.whole is not None and one.whole.temperature == 0 and one.n == 1
    return (
        one.family != "compute_optimal"
        and one.known
        and one.told
        and (likeliest or (one.whole is None and one.chooser is None))
        and scored
    )


def _mean_flops(run: Run) -> dict[str, float]:
    """By strategy, in the order of the run, the mean FLOPs of an outcome."""
    sums: dict[str, tuple[float, int]] = {}
    for batch in run.stored("outcomes").batches(["strategy", "attributed_flops"]):
        flops = pc.cast(batch["attributed_flops"], "float64").to_pylist()
        for text, each in zip(batch["strategy"].to_pylist(), flops, strict=True):
            total, count = sums.get(text, (0.0, 0))
            sums[text] = total + each, count + 1
    return {text: total / count for text, (total, count) in sums.items()}


def costs_in(run: Run) -> dict[Role, ModelCost]:
    """What a token of each model cost, as run.json has it."""
    models: Mapping[Role, Mapping[str, Mapping[str, Any]]] = run.info.get("models", {})
    if "policy" not in models:
        mend = "its run.json does not say what its models cost: give a run that flopwise evaluate made"
        raise UserError.of("run", str(run.folder), mend)
    return {role: ModelCost(**one["cost"]) for role, one in models.items()}


def read_known(
    run: Run, judged: Run, source: Source, *, least: int = LEAST, prompts: Mapping[str, float] = NOTHING_KNOWN
) -> Source:
    """What another run has to learn from, for judgement on `source`: its problems that are not judged there, and the searches
    that both have.

    Raises UserError where it has other models, another grader or other sampling, or too few problems beside the judged.
    """
    identity, other = judged.info["identity"], run.info["identity"]
    revised = any("reviser" in asked_by(parse(text)) for text in source.searches)
    for name in ("policy", "verifier", *(["reviser"] if revised else []), "grader"):
        if identity.get(name) != other.get(name):
            mend = f"it was made with another {name} than {judged.folder}: give a run of the same"
            raise UserError.of("known", str(run.folder), mend)
    found = read_source(run, least=least, prompts=prompts)
    if found.samples.choice != source.samples.choice:
        mend = f"its samples are those of {found.samples.text}, and not of {source.samples.text}: give one that draws alike"
        raise UserError.of("known", str(run.folder), mend)
    asked = _said(judged, source.pools).values()
    said = _said(run, found.pools)
    pools = [pool for pool in found.pools if said[pool.problem] not in asked]
    if len(pools) < least:
        mend = (
            f"{counted(len(pools), 'problem')} of it {'is' if len(pools) == 1 else 'are'} not judged too, and planning takes "
            f"{least}: nobody may learn from what judges, so give a run of other problems"
        )
        raise UserError.of("known", str(run.folder), mend)
    return replace(
        found, searches=tuple(one for one in source.searches if one in found.searches), pools=pools
    )


def _check(run: Run, source: Source, least: int) -> None:
    count = len(source.pools)
    if count < least:
        searches = f" and an outcome of {', '.join(source.searches)}" if source.searches else ""
        mend = (
            f"{counted(count, 'problem')} of it {'has' if count == 1 else 'have'} all samples of {source.samples.text}"
            f"{searches}, and planning takes {least}: solve more of them"
        )
        raise UserError.of("run", str(run.folder), mend)
    rates = {pool.rate for pool in source.pools}
    if rates <= {0.0} or rates <= {1.0}:
        which, other = ("right", "harder") if rates == {1.0} else ("wrong", "easier")
        mend = f"every answer of {source.samples.text} in it is {which}, which tells nothing of what more of them would buy"
        raise UserError.of("run", str(run.folder), f"{mend}: take {other} problems")


def fingerprint(run: Run, pools: Sequence[Pool]) -> str:
    """A hash of the problems: of their names and what they say."""
    told = [f"{name}\0{said}" for name, said in _said(run, pools).items()]
    return hashlib.blake2b("\n".join(sorted(told)).encode(), digest_size=8).hexdigest()


def _said(run: Run, pools: Sequence[Pool]) -> dict[str, str]:
    """By name what problems say, their answers with it."""
    wanted = {pool.problem for pool in pools}
    found = {}
    for batch in run.stored("problems").batches(["problem_id", "question", "answer"]):
        columns = (batch[name].to_pylist() for name in ("problem_id", "question", "answer"))
        for one, question, answer in zip(*columns, strict=True):
            if one in wanted:
                found[one] = f"{question}\0{answer}"
    return found
