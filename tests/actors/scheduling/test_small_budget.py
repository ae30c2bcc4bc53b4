"""A budget of a tenth of what the job wants is used to its end, and everybody who has a candidate has an answer."""

from __future__ import annotations

from pathlib import Path

import pyarrow.dataset as ds
import pytest

from actors.store.log import parts, read_books, read_ledger
from actors.strategy import Strategy
from actors.work import Task
from orchestration.strategies.sampling.best_of_n import BestOfN
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.search.beam import Beam
from tests.support.inprocess import Cell
from tests.support.tiny import candidate_cost, make_task

LADDER: tuple[Strategy, ...] = (Greedy(), Majority(8), BestOfN(8), Beam(8, 2))
MIXED: tuple[Strategy, ...] = (BestOfN(32), Beam(16, 4))


def work(count: int, strategies: tuple[Strategy, ...]) -> list[Task]:
    return [make_task(number, strategies) for number in range(count)]


@pytest.mark.parametrize(
    ("strategies", "count", "replicas"), [(LADDER, 100, 2), (MIXED, 50, 1)], ids=["ladder", "searches"]
)
async def test_a_tenth_of_the_budget_is_spent_to_its_end(
    tmp_path: Path, policy: Path, verifier: Path, strategies: tuple[Strategy, ...], count: int, replicas: int
) -> None:
    async with Cell(tmp_path / "whole", policy, verifier, replicas=1, max_sequences=64) as cell:
        wanted = (await cell.run(work(count, strategies))).spent
        price = candidate_cost(cell.bench)
    budget = wanted // 10
    assert price < budget / 100, "else the last candidate that does not fit is more than what may be left"
    folder = tmp_path / "tenth"
    async with Cell(folder, policy, verifier, replicas=replicas, budget=budget, max_sequences=64) as cell:
        progress = await cell.run(work(count, strategies))
    spent, wasted = read_books(folder)
    assert (progress.spent, progress.wasted, progress.reserved) == (spent, wasted, 0)
    assert 0.98 * budget <= spent + wasted <= budget
    rows = ds.dataset(parts(folder, "outcomes")).to_table().to_pylist()
    assert len(rows) == count * len(strategies)
    assert {row["state"] for row in rows} == {"answered", "unaffordable"}
    drawn = {
        row["key"] for row in ds.dataset(parts(folder, "candidates")).to_table(columns=["key"]).to_pylist()
    }
    assert drawn == {row["key"] for row in rows if row["state"] == "answered"}
    assert sum(row["spent_flops"] for row in rows) == spent
    assert spent == sum(entry.flops for entry in read_ledger(folder) if not entry.wasted)


async def test_what_exists_is_had_with_nothing_left(tmp_path: Path, policy: Path, verifier: Path) -> None:
    folder = tmp_path / "run"
    tasks = [make_task(number, (Majority(4),)) for number in range(12)]
    async with Cell(folder, policy, verifier, replicas=2) as cell:
        spent = (await cell.run(tasks)).spent
    for budget in (spent, spent // 2):
        more = [make_task(number, (Majority(2), BestOfN(8))) for number in range(budget == spent, 14)]
        async with Cell(folder, policy, verifier, replicas=2, budget=budget, reuse=True) as cell:
            progress = await cell.run(more)
        assert (progress.spent, progress.wasted) == (spent, 0)
        rows = ds.dataset(parts(folder, "outcomes")).to_table().to_pylist()
        ended = {(row["problem_id"], row["strategy"]): row for row in rows}
        for task in more:
            known = int(task.prompt.id[1:]) < 12
            few, many = (ended[task.prompt.id, strategy.text] for strategy in task.strategies)
            assert (few["state"], few["generations"]) == (("answered", 2) if known else ("unaffordable", 0))
            assert (many["state"], many["generations"]) == (("answered", 4) if known else ("unaffordable", 0))
            assert many["reason"].startswith("the budget ended")


@pytest.mark.parametrize("candidates", [3, 5, 8])
async def test_every_strategy_has_a_candidate_before_any_has_a_second(
    tmp_path: Path, policy: Path, verifier: Path, candidates: int
) -> None:
    """Problem by problem: whoever is named first is not paid first."""
    strategies = (BestOfN(16), Majority(16, temperature=0.7), Beam(8, 4, temperature=0.9), Greedy())
    folder = tmp_path / "run"
    async with Cell(folder, policy, verifier, replicas=1) as cell:
        price = candidate_cost(cell.bench)
    async with Cell(folder, policy, verifier, replicas=1, budget=candidates * price) as cell:
        await cell.run([make_task(number, strategies) for number in range(3)])
    rows = ds.dataset(parts(folder, "outcomes")).to_table().to_pylist()
    short = False
    for number in range(3):
        mine = {row["strategy"]: row for row in rows if row["problem_id"] == f"p{number}"}
        lacking = [text for text, row in mine.items() if row["state"] == "unaffordable"]
        # What a round of a beam search has begun is no candidate yet.
        several = [s.text for s in strategies[:2] if mine[s.text]["generations"] > 1]
        assert not (lacking and several), (number, lacking, several)
        short = short or bool(lacking) or any(row["reason"] for row in mine.values())
    assert short, "the budget was to end"
