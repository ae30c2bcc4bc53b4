"""A driver that a test can kill: importable for its run, and runnable as the victim.

python -m tests.support.cluster_driver FOLDER POLICY VERIFIER GATE solves what the folder does not hold yet.
"""

from __future__ import annotations

import sys
from pathlib import Path

from actors.cluster.placement import Cluster, RunPlan
from actors.engines.plan import ModelPlan
from actors.strategy import Role, Strategy
from actors.work import Task
from orchestration.strategies.sampling.greedy import Greedy
from orchestration.strategies.sampling.majority import Majority
from orchestration.strategies.search.beam import Beam
from tests.support.folders import done_keys
from tests.support.tiny import Gated, LastDigit, first_come, make_bench, make_plan, make_task

COUNT = 16
STRATEGIES: tuple[Strategy, ...] = (Greedy(), Majority(3), Beam(4, 2))
GATED = frozenset(f"p{number}" for number in range(COUNT // 2, COUNT))


def run_plan(
    folder: Path, policy: Path, verifier: Path | None, *, replicas: int = 2, drawing: Role = "policy"
) -> RunPlan:
    """A run in which this model draws, the policy's or the same one's as a reviser."""
    bench = make_bench(policy, verifier, reviser=policy if drawing == "reviser" else None)
    models: dict[Role, ModelPlan] = {drawing: make_plan(policy, replicas=replicas)}
    if verifier is not None:
        models["verifier"] = make_plan(verifier)
    return RunPlan(
        folder=folder,
        models=models,
        bench=bench,
        allocator=first_come(bench, None),
        judge=LastDigit(),
    )


def tasks(gate: Path, gated: frozenset[str] = GATED) -> list[Task]:
    strategies = tuple(Gated(strategy, gate, gated) for strategy in STRATEGIES)
    return [make_task(number, strategies) for number in range(COUNT)]


def main(folder: Path, policy: Path, verifier: Path, gate: Path) -> None:
    done = set(done_keys(folder))
    todo = [task for task in tasks(gate) if not done.issuperset(task.keys)]
    with Cluster(run_plan(folder, policy, verifier, replicas=1)) as cluster:
        cluster.run((task, "4") for task in todo)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
