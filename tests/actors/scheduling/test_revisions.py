"""Chains of revisions on replicas of their own: who has them, what they cost, what a death in mid-chain leaves of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.messages import Orders, Report
from actors.seeds import derive
from actors.strategy import home_of
from actors.work import Task
from orchestration.strategies.parse import parse
from orchestration.strategies.revision.revision import Revision
from orchestration.strategies.sampling.best_of_n import BestOfN
from tests.support.cells import MakeCell, books, keys, outcomes_by_key, rows_of, tasks
from tests.support.inprocess import Cell, Dead, Fault, Replica

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


def dies_in_mid_chain(step: int, seen: set[tuple[int, ...]]) -> Fault:
    """A fault of a replica that dies once, as soon as an attempt at this step of a chain is there; `seen` has the places of
    those that were."""

    async def fault(replica: Replica, orders: Orders) -> Report | None:
        working = asyncio.create_task(replica.through(orders))
        while not any(place[1] >= step for place in seen):
            if working.done():
                # What is lacking comes with the next exchange.
                return working.result()
            assert replica.inner is not None
            benches: Any = replica.inner._benches.values()
            seen.update(tuple(row["place"]) for bench in benches for row in bench.samples)
            await asyncio.sleep(0)
        working.cancel()
        replica.fault = None
        await replica.die()
        raise Dead("killed in mid-chain")

    return fault


@pytest.mark.parametrize("step", [0, 2])
async def test_a_reviser_that_dies_in_mid_chain_costs_its_leases_and_no_outcome(
    cell: MakeCell, tmp_path: Path, undisturbed: Path, step: int
) -> None:
    seen: set[tuple[int, ...]] = set()
    # Under a budget what was lost is charged as it was granted, whether it was reported or not.
    budget = 50 * books(undisturbed)["spent"]
    async with cell(replicas=1, revisers=2, budget=budget) as one:
        one.replicas["reviser-0"].fault = dies_in_mid_chain(step, seen)
        progress = await one.run(revised(8))
    assert max(at for _, at in seen) >= step
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


BOTH = (
    BestOfN(3),
    Revision(3, 2, first="policy"),
    parse("refine(of='beam(n=4,width=2)',best=2,attempts=2)"),
    parse("revision_search(of='best_of_n(n=3)',search='beam(n=4,width=2)',best=2)"),
)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory, policy: Path, verifier: Path) -> Path:
    """The folder of six tasks that ask both the policy, on whose replica they live, and a reviser."""
    folder = tmp_path_factory.mktemp("both")

    async def run() -> None:
        async with Cell(folder, policy, verifier, replicas=1, revisers=1) as one:
            progress = await one.run(tasks(6, *BOTH))
        assert progress.answered == 24
        # It holds no task, and is seen to work.
        assert progress.of("reviser").tokens > 0

    asyncio.run(run())
    return folder


def test_who_asks_both_lives_beside_the_policy_and_shares_its_samples(together: Path) -> None:
    assert {home_of(one) for one in BOTH} == {"policy"}
    ledger = rows_of(together, "ledger")
    assert {row["purpose"] for row in ledger} == {"policy", "reviser", "verifier"}
    assert {row["kind"] for row in ledger} <= {"kept", "pruned"}
    outcomes = {(row["problem_id"], row["strategy"]): row for row in rows_of(together, "outcomes")}
    assert sum(row["spent_flops"] for row in outcomes.values()) == books(together)["spent"]
    candidates = rows_of(together, "candidates")
    drawn = {(row["problem_id"], row["strategy"], row["index"]): row["token_ids"] for row in candidates}
    for problem in {row["problem_id"] for row in candidates}:
        samples, chains, refined, searched = (outcomes[problem, one.text] for one in BOTH)
        # The first attempts are the samples that stand beside them: they were drawn once.
        for chain in range(2):
            first = drawn[problem, BOTH[1].text, chain * 3]
            assert first == drawn[problem, BOTH[0].text, chain]
        firsts = sum(len(drawn[problem, BOTH[1].text, at]) for at in (0, 3))
        assert chains["attributed_tokens"] - chains["reviser_tokens"] == firsts
        assert samples["policy_tokens"] + chains["policy_tokens"] == samples["attributed_tokens"]
        by_reviser = [one["reviser_tokens"] for one in (chains, refined, searched)]
        assert samples["reviser_tokens"] == 0 < min(by_reviser)
        # What it searches after is the samples beside it, which it draws none of again.
        assert searched["policy_tokens"] == 0
        assert searched["attributed_tokens"] - searched["reviser_tokens"] == samples["attributed_tokens"]


async def test_a_reviser_that_dies_while_it_draws_for_others_costs_its_calls_and_no_outcome(
    cell: MakeCell, tmp_path: Path, together: Path
) -> None:
    budget = 50 * books(together)["spent"]
    async with cell(replicas=1, revisers=2, budget=budget) as one:
        for drawer in one.drawers:
            drawer.kill_at = 3
        progress = await one.run(tasks(6, *BOTH))
        assert [replica.starts for replica in one.replicas.values()] == [1, 2, 2]
    assert progress.answered == 24
    lost = [row for row in rows_of(tmp_path / "run", "ledger") if row["kind"] == "lost"]
    assert lost
    assert {row["purpose"] for row in lost} == {"reviser"}
    assert progress.wasted == sum(row["flops"] for row in lost)
    assert outcomes_by_key(tmp_path / "run") == outcomes_by_key(together)


async def test_all_that_a_problem_asks_of_revisers_elsewhere_goes_to_one_of_them(
    cell: MakeCell, tmp_path: Path, together: Path
) -> None:
    """Where its keys and values are."""
    async with cell(replicas=1, revisers=2) as one:
        await one.run(tasks(6, *BOTH))
        model = (await one.drawers[0].engine()).model_hash
        asked = [drawer.seeds for drawer in one.drawers]
    # A seed says whose draw it is.
    problem_of = {
        derive(0, row["problem_id"], model, 1.0, 1.0, kind, tuple(row["place"])): row["problem_id"]
        for row in rows_of(tmp_path / "run", "samples")
        for kind in ("revision", "revised step", "revised end")
    }
    first, second = ({problem_of[seed] for seed in seeds} for seeds in asked)
    assert first
    assert second
    assert not first & second
    assert first | second == {f"p{number}" for number in range(6)}
    assert outcomes_by_key(tmp_path / "run") == outcomes_by_key(together)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
async def test_who_asks_both_keeps_to_a_budget(
    cell: MakeCell, tmp_path: Path, together: Path, share: float
) -> None:
    budget = int(books(together)["spent"] * share)
    async with cell(replicas=1, revisers=1, budget=budget) as one:
        progress = await one.run(tasks(6, *BOTH))
    assert progress.spent + progress.wasted <= budget
    assert progress.quarantined == 0
    for state, answer, _, candidates in outcomes_by_key(tmp_path / "run").values():
        assert (state == "answered") == bool(candidates)
        assert answer is None or candidates
