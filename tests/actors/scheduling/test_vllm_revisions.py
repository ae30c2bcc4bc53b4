"""Chains on a reviser replica that runs on vLLM: what they read, what they are charged, what is drawn once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.engines.base import EngineName
from orchestration.strategies.revision.revision import Revision
from tests.actors.scheduling.test_revisions import revised
from tests.support.cells import books, outcomes_by_key, rows_of
from tests.support.inprocess import Cell
from tests.support.tiny import save_policy

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

PROBLEMS = 8
# So cold that both engines choose the likeliest token: they differ in how they draw.
COLD = Revision(4, 1, select="majority", temperature=0.001)
SHORT, LONG = Revision(2, 2), Revision(3, 3, select="majority")


def drawn(rows: list[dict[str, Any]], strategy: Revision) -> dict[tuple[str, int], list[int]]:
    """Token ids of each attempt, by problem and number."""
    mine = [row for row in rows if row["strategy"] == strategy.text]
    return {(row["problem_id"], row["index"]): row["token_ids"] for row in mine}


def paid(outcomes: list[dict[str, Any]], strategy: Revision) -> int:
    """Tokens that were drawn for a strategy's outcomes."""
    return sum(row["reviser_tokens"] for row in outcomes if row["strategy"] == strategy.text)


async def test_chains_read_and_cost_on_vllm_what_they_do_on_the_local_engine(
    tmp_path: Path, verifier: Path
) -> None:
    wide = save_policy(tmp_path / "wide", seed=9, heads=1)

    async def run(engine: EngineName, *strategies: Revision) -> Path:
        folder = tmp_path / engine
        async with Cell(folder, wide, verifier, replicas=0, revisers=1, reuse=True, engine=engine) as one:
            progress = await one.run(revised(PROBLEMS, *strategies), 300)
        assert (progress.quarantined, progress.wasted) == (0, 0)
        return folder

    local = outcomes_by_key(await run("local", COLD))
    folder = await run("vllm", COLD, SHORT)
    on_vllm = outcomes_by_key(folder)
    assert {key: on_vllm[key] for key in local} == local
    # Some chain goes on from an attempt that it has read: else all of its attempts were one.
    assert any(len({tuple(ids) for _, ids, *_ in candidates}) > 2 for *_, candidates in local.values())

    outcomes = rows_of(folder, "outcomes")
    ledger = rows_of(folder, "ledger")
    assert {(row["purpose"], row["kind"]) for row in ledger} == {("reviser", "kept"), ("verifier", "kept")}
    assert sum(row["spent_flops"] for row in outcomes) == books(folder)["spent"]
    assert all(row["reviser_tokens"] == row["attributed_tokens"] > row["policy_tokens"] for row in outcomes)
    attempts = drawn(rows_of(folder, "candidates"), SHORT)
    assert paid(outcomes, SHORT) == sum(map(len, attempts.values()))

    # Longer chains, and one more of them, go on from what is stored.
    await run("vllm", LONG)
    rows = rows_of(folder, "candidates")
    short, long = drawn(rows, SHORT), drawn(rows, LONG)
    begun = {(problem, 3 * (number // 2) + number % 2): ids for (problem, number), ids in short.items()}
    assert {place: long[place] for place in begun} == begun
    new = sum(len(ids) for place, ids in long.items() if place not in begun)
    assert paid(rows_of(folder, "outcomes"), LONG) == new > 0
