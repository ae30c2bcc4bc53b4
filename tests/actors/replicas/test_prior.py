"""What an earlier run has drawn and scored is used as if it were drawn now, and costs nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from actors.engines.base import GenerateRequest, Generation
from actors.ledger import Entry
from actors.messages import Commit, Record
from actors.store.library import NOTHING, Prior, SampleLibrary, score_key
from actors.store.writer import RunWriter
from actors.strategy import Solution
from actors.work import Cost, Unit
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.search.beam import Beam
from tests.support.folders import outcome, settled
from tests.support.table import PLENTY, PROMPT, Table, Watched

STRATEGIES = (Greedy(), Majority(n=4), BestOfN(n=3), Beam(n=4, width=2))

Make = Callable[..., Table]


@dataclass
class Paired(Watched):
    """Notes which result is whose."""

    pairs: list[tuple[GenerateRequest, Generation]] = field(default_factory=list)

    async def generate(self, request: GenerateRequest) -> Generation:
        result = await super().generate(request)
        self.pairs.append((request, result))
        return result


@pytest.fixture
async def table(policy: Path, verifier: Path) -> AsyncIterator[Make]:
    """Makes a task's bench with what there is of it already."""
    tables: list[Table] = []

    def make(prior: Prior = NOTHING, unit: Unit = "paper", granted: int = PLENTY) -> Table:
        one = Table(policy, verifier, granted, unit, PROMPT)
        one.engine = one.bench.engine = Paired(one.engine.engine, one.purse)
        one.bench.run = replace(one.bench.run, salts={"policy": "policy", "verifier": "verifier"})
        one.bench.prior = prior
        tables.append(one)
        return one

    yield make
    for one in tables:
        await one.engine.close()
        await one.scorer.engine.close()


def kept(folder: Path, table: Table) -> Prior:
    """What a later run finds of this one: on disk and back."""
    writer = RunWriter(folder, None)
    record = Record((outcome("task"),), [], table.bench.samples, table.bench.score_rows)
    writer.stage(1, "task", record)
    assert writer.commit(Commit(settled=(settled("task"),))) == []
    writer.close()
    return SampleLibrary([folder]).prior(PROMPT.id)


@pytest.mark.parametrize("unit", ["paper", "exact"])
async def test_what_is_there_costs_nothing_and_is_attributed_in_full(
    table: Make, tmp_path: Path, unit: Unit
) -> None:
    first = table(unit=unit)
    drawn = await first.solve(*STRATEGIES)
    # A purse that holds nothing pays for it.
    second = table(kept(tmp_path, first), unit, granted=0)
    assert await second.solve(*STRATEGIES) == drawn, "bit for bit"
    assert second.engine.requests == second.scorer.requests == []
    assert (second.purse.spent, second.purse.reserved, second.purse.entries) == (0, 0, ())
    assert second.spent() == Cost()
    assert [meter.attributed for meter in second.meters] == [meter.attributed for meter in first.meters]
    assert all(meter.attributed.of("policy") for meter in second.meters)
    assert not any(meter.refused for meter in second.meters)
    assert second.bench.samples == second.bench.score_rows == [], "nothing is stored twice"


async def test_only_what_is_not_there_is_drawn(table: Make, tmp_path: Path) -> None:
    first = table()
    await first.solve(Majority(n=4))
    fresh = table()
    [whole] = await fresh.solve(Majority(n=7))
    second = table(kept(tmp_path, first))
    [solution] = await second.solve(Majority(n=7))
    assert [c.token_ids for c in solution.candidates] == [c.token_ids for c in whole.candidates]
    assert len(second.engine.requests) == 3
    tokens = [len(c.token_ids) for c in solution.candidates]
    assert second.spent().of("policy") == sum(tokens[4:])
    assert second.purse.spent == second.costs["policy"].paper(sum(tokens[4:]))
    assert [row["place"] for row in second.bench.samples] == [[4], [5], [6]]
    assert second.meters[0].attributed == fresh.meters[0].attributed
    assert second.meters[0].attributed.of("policy") == sum(tokens)


@pytest.mark.parametrize("other", ["salts", "seed", "max_tokens", "prompt"])
async def test_nothing_is_taken_for_what_could_differ(table: Make, tmp_path: Path, other: str) -> None:
    first = table()
    await first.solve(Majority(n=3))
    second = table(kept(tmp_path, first))
    token_ids = (*PROMPT.token_ids[:-1], 5, PROMPT.token_ids[-1])
    changed: dict[str, Any] = {
        "salts": {"policy": "another"},
        "seed": 1,
        "max_tokens": second.bench.run.max_tokens - 1,
        "prompt": replace(PROMPT, token_ids=token_ids),
    }
    if other in ("salts", "max_tokens"):
        second.bench.run = replace(second.bench.run, **{other: changed[other]})
    else:
        setattr(second.bench, other, changed[other])
    await second.solve(Majority(n=3))
    assert len(second.engine.requests) == 3


async def test_scores_of_another_verifier_are_not_taken(table: Make, tmp_path: Path) -> None:
    first = table()
    [solution] = await first.solve(BestOfN(n=3))
    second = table(kept(tmp_path, first))
    second.bench.run = replace(second.bench.run, salts={"policy": "policy", "verifier": "another"})
    await second.solve(BestOfN(n=3))
    assert second.engine.requests == []
    assert len(second.scorer.requests) == len({c.token_ids for c in solution.candidates})


async def test_where_some_steps_are_scored_the_new_ones_alone_are_paid(table: Make) -> None:
    first = table()
    [solution] = await first.solve(Majority(n=8))
    steps, ends = max(
        ((c.token_ids[: c.step_ends[-1]], c.step_ends) for c in solution.candidates if c.step_ends),
        key=lambda one: len(one[1]),
    )
    assert len(ends) >= 3
    keys = [score_key("verifier", PROMPT.token_ids + steps[:end]) for end in ends]
    # No verifier would say this.
    known = Prior(scores={keys[0]: 2.0, keys[1]: 3.0})
    second = table(known)
    verifier = second.models().verifier
    values = await verifier.score(steps)
    assert values[:2] == (2.0, 3.0)
    assert all(0 <= value <= 1 for value in values[2:])
    assert len(second.scorer.requests) == 1
    new = ends[-1] - ends[1]
    assert second.spent().of("verifier") == new
    assert second.purse.entries == (Entry("verifier", "kept", second.costs["verifier"].paper(new)),)
    # The whole is attributed: alone, the strategy would have had it scored.
    assert second.meters[0].attributed.of("verifier") == ends[-1]
    assert [row["key"] for row in second.bench.score_rows] == keys[2:]
    assert [row["value"] for row in second.bench.score_rows] == list(values[2:])
    # Whoever asks next, and whoever has them all, pays nothing.
    third = table(Prior(scores=dict(zip(keys, values, strict=True))), granted=0)
    for one in (second, third):
        assert await one.models().verifier.score(steps) == values
    assert (len(second.scorer.requests), third.scorer.requests) == (1, [])
    assert second.spent().of("verifier") == new
    assert third.meters[0].attributed.of("verifier") == ends[-1]


def paid(table: Table, solutions: list[Solution]) -> tuple[int, int]:
    """FLOPs of the requests that this bench's engine was sent: of those that stand in a kept solution, and of the others."""
    whole = [c.token_ids for solution in solutions for c in solution.candidates if c.kept]
    sums = [0, 0]
    assert isinstance(table.engine, Paired)
    for request, result in table.engine.pairs:
        drawn = request.token_ids[len(PROMPT.token_ids) :] + result.token_ids
        context, count = len(request.token_ids) - 1, len(result.token_ids)
        cost = table.costs["policy"]
        flops = table.bench.run.price(
            Cost(
                paper=cost.paper(count),
                exact=cost.exact(context - result.prefilled, result.prefilled, 0)
                + cost.exact(context, count, count),
            )
        )
        sums[not any(one[: len(drawn)] == drawn for one in whole)] += flops
    return sums[0], sums[1]


@pytest.mark.parametrize("unit", ["paper", "exact"])
async def test_the_draws_of_dropped_branches_are_booked_as_pruned(
    table: Make, tmp_path: Path, unit: Unit
) -> None:
    first = table(unit=unit)
    solutions = await first.solve(Beam(n=8, width=4))
    first.bench.book_pruned(c.token_ids for s in solutions for c in s.candidates if c.kept)
    books = {(one.purpose, one.kind): one.flops for one in first.purse.entries}
    drawn, pruned = paid(first, solutions)
    assert pruned > 0
    assert (books["policy", "kept"], books["policy", "pruned"]) == (drawn, pruned)
    assert sum(books.values()) == first.purse.spent
    # What was there has cost nothing now, kept or dropped.
    prior = kept(tmp_path, first)
    later = {row["key"] for row in first.bench.samples if row["start"]}
    some = Prior({key: one for key, one in prior.samples.items() if key not in later}, prior.scores)
    second = table(some, unit)
    again = await second.solve(Beam(n=8, width=4))
    assert len(second.engine.requests) == len(later)
    second.bench.book_pruned(c.token_ids for s in again for c in s.candidates if c.kept)
    books = {(one.purpose, one.kind): one.flops for one in second.purse.entries}
    assert (books.get(("policy", "kept"), 0), books.get(("policy", "pruned"), 0)) == paid(second, again)
    assert sum(flops for (purpose, _), flops in books.items() if purpose == "policy") == second.purse.spent
