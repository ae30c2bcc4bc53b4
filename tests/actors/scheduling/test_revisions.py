"""Chains of revisions on replicas of their own: who has them, what they cost, what a death in mid-chain leaves of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.messages import Orders, Report
from actors.work import Task
from orchestration.strategies.revision.revision import Revision
from tests.support.cells import MakeCell, books, keys, outcomes_by_key, rows_of, tasks
from tests.support.inprocess import Cell, Dead, Replica

CHAINS = (Revision(3, 2), Revision(4, 1, select="majority"))


def revised(count: int, *strategies: Revision) -> list[Task]:
    return [replace(task, home="reviser") for task in tasks(count, *(strategies or CHAINS))]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, policy: Path, verifier: Path) -> Path:
    """The folder of eight tasks that one reviser solved."""
    folder = tmp_path_factory.mktemp("revised")

    async def run() -> None:
        async with Cell(folder, policy, verifier, replicas=1, revisers=1) as one:
            progress = await one.run(revised(8))
        assert progress.answered == 16
        # Nobody asked the policy.
        assert progress.of("policy").tokens == 0 < progress.of("reviser").tokens
        assert (progress.of("policy").replicas, progress.of("reviser").replicas) == (1, 1)

    asyncio.run(run())
    return folder


def test_what_a_chain_took_is_the_revisers_and_the_verifiers(undisturbed: Path) -> None:
    ledger = rows_of(undisturbed, "ledger")
    assert {(row["purpose"], row["kind"]) for row in ledger} == {("reviser", "kept"), ("verifier", "kept")}
    outcomes = rows_of(undisturbed, "outcomes")
    assert sum(row["spent_flops"] for row in outcomes) == books(undisturbed)["spent"]
    for row in outcomes:
        assert row["policy_tokens"] == 0 <= row["reviser_tokens"] <= row["attributed_tokens"]
        assert row["generations"] == (6 if "parallel=2" in row["strategy"] else 4)
    # Both strategies have the beginning of the first chain in common: drawn once.
    shared = sum(row["attributed_tokens"] for row in outcomes) - sum(
        row["reviser_tokens"] for row in outcomes
    )
    firsts = [
        len(row["token_ids"])
        for row in rows_of(undisturbed, "candidates")
        if row["strategy"] == CHAINS[1].text and row["index"] < 3
    ]
    assert shared == sum(firsts)
    places = {tuple(row["place"]) for row in rows_of(undisturbed, "samples")}
    assert places == {(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2)}


async def test_a_reviser_that_dies_in_mid_chain_costs_its_leases_and_no_outcome(
    cell: MakeCell, tmp_path: Path, undisturbed: Path
) -> None:
    begun: list[tuple[int, ...]] = []

    async def dies_in_mid_chain(replica: Replica, orders: Orders) -> Report | None:
        if not orders.leases:
            return None
        working = asyncio.create_task(replica.through(orders))
        while not begun:
            assert replica.inner is not None
            benches: Any = replica.inner._benches.values()
            begun.extend(row["place"] for bench in benches for row in bench.samples)
            await asyncio.sleep(0)
        working.cancel()
        replica.fault = None
        await replica.die()
        raise Dead("killed in mid-chain")

    # Under a budget what was lost is charged as it was granted, whether it was reported or not.
    budget = 50 * books(undisturbed)["spent"]
    async with cell(replicas=1, revisers=2, budget=budget) as one:
        one.replicas["reviser-0"].fault = dies_in_mid_chain
        progress = await one.run(revised(8))
    assert begun
    assert 0 < progress.wasted <= budget - progress.spent
    assert progress.answered == 16
    assert outcomes_by_key(tmp_path / "run") == outcomes_by_key(undisturbed)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
async def test_a_budget_is_kept_to_and_every_chain_ends_with_what_it_has(
    cell: MakeCell, tmp_path: Path, undisturbed: Path, share: float
) -> None:
    budget = int(books(undisturbed)["spent"] * share)
    async with cell(replicas=1, revisers=2, budget=budget) as one:
        progress = await one.run(revised(8))
    assert progress.spent + progress.wasted <= budget
    assert set(outcomes_by_key(tmp_path / "run")) == keys(revised(8))
    assert progress.quarantined == 0
    for state, answer, _, candidates in outcomes_by_key(tmp_path / "run").values():
        assert (state == "answered") == bool(candidates)
        assert answer is None or candidates


async def test_longer_chains_go_on_from_those_that_are_stored(
    tmp_path: Path, policy: Path, verifier: Path
) -> None:
    async def run(*strategies: Revision, reuse: bool) -> int:
        async with Cell(tmp_path, policy, verifier, replicas=0, revisers=1, reuse=reuse) as one:
            return (await one.run(revised(4, *strategies))).spent

    short = await run(Revision(2, 2, select="majority"), reuse=False)
    longer = await run(Revision(4, 3, select="majority"), reuse=True) - short
    tokens: dict[str, int] = {}
    for row in rows_of(tmp_path, "outcomes"):
        tokens[row["strategy"]] = tokens.get(row["strategy"], 0) + row["reviser_tokens"]
    [first, then] = tokens.values()
    drawn = [
        row
        for row in rows_of(tmp_path, "candidates")
        if row["strategy"] == Revision(4, 3, select="majority").text
    ]
    old = sum(len(row["token_ids"]) for row in drawn if row["index"] // 4 < 2 and row["index"] % 4 < 2)
    assert first == old > 0, "the beginnings are those that were drawn before"
    assert then == sum(len(row["token_ids"]) for row in drawn) - old
    assert short > 0 < longer
