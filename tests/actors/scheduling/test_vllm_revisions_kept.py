"""What chains keep on reviser replicas that run on vLLM: budget, seeds, a death in mid-chain, keys and values of a chain."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from actors.replicas.revisions import alike
from orchestration.flops import ModelCost
from orchestration.strategies.revision.revision import Revision
from tests.actors.scheduling.test_revisions import BOTH, dies_in_mid_chain, revised
from tests.support.cells import books, keys, outcomes_by_key, rows_of, tasks
from tests.support.inprocess import Cell
from tests.support.tiny import FRAMING, MAX_TOKENS, make_task, save_policy

pytestmark = pytest.mark.vllm

PROBLEMS = 6
LONG = Revision(8, 2, select="majority")
BLOCK = 32
"""Tokens whose keys and values vLLM keeps, or computes again, together on a processor."""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_policy(tmp_path_factory.mktemp("wide"), seed=9, heads=1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, wide: Path, verifier: Path) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")

    async def run() -> None:
        async with Cell(folder, wide, verifier, replicas=0, revisers=1, engine="vllm") as one:
            progress = await one.run(revised(PROBLEMS, LONG), 300)
        assert (progress.answered, progress.wasted) == (PROBLEMS, 0)

    asyncio.run(run())
    return folder


async def test_a_reviser_that_dies_in_mid_chain_costs_its_leases_and_no_outcome(
    tmp_path: Path, wide: Path, verifier: Path, undisturbed: Path
) -> None:
    seen: set[tuple[int, ...]] = set()
    budget = 50 * books(undisturbed)["spent"]
    async with Cell(tmp_path, wide, verifier, replicas=0, revisers=1, budget=budget, engine="vllm") as one:
        one.replicas["reviser-0"].fault = dies_in_mid_chain(3, seen)
        progress = await one.run(revised(PROBLEMS, LONG), 300)
        assert one.replicas["reviser-0"].starts == 2
    assert max(step for _, step in seen) >= 3
    assert 0 < progress.wasted <= budget - progress.spent
    # Drawn again, among others, each attempt is the same by its seed.
    assert outcomes_by_key(tmp_path) == outcomes_by_key(undisturbed)


def test_an_attempt_is_read_where_the_one_before_it_left_its_keys_and_values(
    undisturbed: Path, wide: Path
) -> None:
    """Whole blocks of what both begin with are not computed again."""
    cost = ModelCost.from_folder(wide)
    drawn = {(row["problem_id"], *divmod(row["index"], 8)): row for row in rows_of(undisturbed, "candidates")}
    found = nothing = 0
    for number in range(PROBLEMS):
        prompt = make_task(number, ()).prompt
        for chain in range(LONG.parallel):
            shown: list[tuple[int, ...]] = []
            before: tuple[int, ...] = ()
            for step in range(LONG.sequential):
                row = drawn[prompt.id, chain, step]
                ids = tuple(row["token_ids"])
                context = FRAMING.context(prompt.token_ids, shown[-LONG.context :], 128 - MAX_TOKENS)
                last, count = len(context) - 1, len(ids)
                old = min(alike(context, before), last) // BLOCK * BLOCK
                nothing += cost.exact(0, last, 0) + cost.exact(last, count, count)
                found += cost.exact(old, last - old, 0) + cost.exact(last, count, count)
                before = context + ids
                if row["finish_reason"] == "eos" and row["answer"] is not None:
                    shown.append(ids)
    spent = sum(row["spent_flops_exact"] for row in rows_of(undisturbed, "outcomes"))
    assert spent <= found < nothing


@pytest.mark.slow
async def test_who_asks_both_models_keeps_to_a_budget(tmp_path: Path, wide: Path, verifier: Path) -> None:
    """Whole attempts and steps that a reviser draws for the policy's tasks, each on a vLLM of its own."""
    cost = ModelCost.from_folder(wide).paper(MAX_TOKENS)
    # Half of what they would take.
    budget = PROBLEMS * 12 * cost
    async with Cell(tmp_path, wide, verifier, replicas=1, revisers=1, budget=budget, engine="vllm") as one:
        progress = await one.run(tasks(PROBLEMS, *BOTH), 300)
    assert 0.8 * budget < progress.spent <= budget - progress.wasted
    assert progress.quarantined == 0
    outcomes = outcomes_by_key(tmp_path)
    assert outcomes.keys() == keys(tasks(PROBLEMS, *BOTH))
    for state, answer, _, candidates in outcomes.values():
        assert (state == "answered") == bool(candidates)
        assert answer is None or candidates
    assert {row["purpose"] for row in rows_of(tmp_path, "ledger")} == {"policy", "reviser", "verifier"}
    starts = {row["start"] > 0 for row in rows_of(tmp_path, "samples")}
    assert starts == {True, False}, "whole attempts, and steps"
