"""Pools read from run folders: whole, with what each sample costs, and refused where there is nothing to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.errors import UserError
from orchestration.flops import ModelCost
from orchestration.planning.bench import Bench
from orchestration.planning.pools import read_pools
from orchestration.runs.run import Run
from tests.support.handmade import write_run
from tests.support.places import ROOT

COSTS = {
    "policy": ModelCost.from_folder(ROOT / "models" / "arithmetic" / "policy"),
    "verifier": ModelCost.from_folder(ROOT / "models" / "arithmetic" / "prm"),
}


def test_drawing_a_whole_pool_costs_what_the_strategy_was_charged() -> None:
    """A real run, kept from an earlier version: the same sum, FLOP by FLOP, in whatever order they are drawn."""
    run = Run(ROOT / "tests" / "support" / "old_run")
    seen = 0
    for run_seed in (0, 1):
        charged = {
            row["problem_id"]: row
            for row in run.outcomes().to_pylist()
            if row["strategy"] == "best_of_n(n=4)" and row["seed"] == run_seed
        }
        for pool in read_pools(run, "best_of_n(n=4)", ["beam(n=4,width=4)"], COSTS, seed=run_seed):
            for seed in range(3):
                bench = Bench([pool], 1e18, seed=seed)
                assert bench.draw(0, 9) == 4
                assert bench.spent == charged[pool.problem]["attributed_flops"]
                assert bench.judge().right[0] == charged[pool.problem]["correct"]
            seen += 1
    assert seen == 6


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(write_run(tmp_path_factory.mktemp("pools") / "run", problems=12))


def test_every_problem_with_its_samples_and_searches_is_there(run: Run) -> None:
    pools = read_pools(run, "best_of_n(n=16)", ["beam(n=4,width=4)", "beam(n=16,width=4)"], COSTS)
    assert [pool.problem for pool in pools] == [f"p{i:04}" for i in range(12)]
    for pool in pools:
        assert len(pool.samples) == 16
        assert 0 <= pool.rate <= 1
        assert all(one.correct == (one.candidate.answer == "42") for one in pool.samples)
        assert pool.searches["beam(n=16,width=4)"].flops > pool.searches["beam(n=4,width=4)"].flops


def test_a_strategy_that_the_run_does_not_have_is_named(run: Run) -> None:
    with pytest.raises(UserError, match=r"dvts\(n=4\).*draw them first"):
        read_pools(run, "best_of_n(n=16)", ["dvts(n=4)"], COSTS)


def test_without_labels_there_is_nothing_to_learn_from(tmp_path: Path) -> None:
    blind = Run(write_run(tmp_path / "run", problems=3, labels=False))
    with pytest.raises(UserError, match="needs labels"):
        read_pools(blind, "best_of_n(n=16)", [], COSTS)
