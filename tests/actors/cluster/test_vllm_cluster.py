"""vLLM's policies on Ray, with a core and a replica that are killed: the texts are those of a run that nothing befell."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.cluster.placement import Cluster, RunPlan
from actors.cluster.ray_start import start_ray
from actors.store.log import read_books
from actors.work import Progress
from tests.support.cells import outcomes_by_key, rows_of
from tests.support.cluster_driver import COUNT, GATED, run_plan, tasks
from tests.support.processes import descendants, wait_for
from tests.support.tiny import save_policy

# Six starts of vLLM, four minutes.
pytestmark = [pytest.mark.vllm, pytest.mark.slow]


@pytest.fixture(scope="module", autouse=True)
def cluster_of_this_machine() -> Iterator[None]:
    start_ray(cpus=2)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_policy(tmp_path_factory.mktemp("wide"), heads=1)


def on_vllm(plan: RunPlan) -> RunPlan:
    return replace(plan, models={**plan.models, "policy": replace(plan.models["policy"], engine="vllm")})


def cores(root: int | None = None) -> list[int]:
    """Processes of vLLM's cores under a process (this one)."""
    mine = descendants(os.getpid() if root is None else root)
    return [pid for pid, title in mine.items() if "EngineCore" in title]


def nothing_left() -> None:
    wait_for(lambda: not cores(), "the end of vLLM's cores", 30)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, wide: Path, verifier: Path, cluster_of_this_machine: None
) -> dict[str, Any]:
    """Of one replica."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    gate = folder.parent / "gate"
    gate.touch()
    with Cluster(on_vllm(run_plan(folder, wide, verifier, replicas=1))) as cluster:
        cluster.run((task, "4") for task in tasks(gate))
    nothing_left()
    return outcomes_by_key(folder)


def test_a_core_and_a_replica_that_are_killed_come_back_and_two_say_what_one_says(
    tmp_path: Path, wide: Path, verifier: Path, undisturbed: dict[str, Any]
) -> None:
    gate = tmp_path / "gate"
    free = 3 * (COUNT - len(GATED))
    killed: list[int] = []
    with Cluster(on_vllm(run_plan(tmp_path / "run", wide, verifier))) as cluster:
        pids = {info.name: info.pid for info in cluster.infos()}

        def disturb(progress: Progress) -> None:
            if progress.outcomes < free or killed:
                return
            # The free half has ended; the others wait in the replicas' hands, and ask for tokens as soon as the gate is open.
            [core] = cores(pids["policy-1"])
            killed.extend([core, pids["policy-0"]])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            gate.touch()

        progress = cluster.run(((task, "4") for task in tasks(gate)), disturb)
        after = {info.name: info.pid for info in cluster.infos()}
    assert killed
    # The one whose core died has made way by itself.
    assert not set(after.values()) & {pids["policy-0"], pids["policy-1"]}
    assert (progress.answered, progress.quarantined, progress.tasks_open) == (3 * COUNT, 0, 0)
    assert outcomes_by_key(tmp_path / "run") == undisturbed
    assert (progress.spent, progress.wasted) == read_books(tmp_path / "run")
    lost = [row for row in rows_of(tmp_path / "run", "ledger") if row["kind"] == "lost"]
    assert lost
    assert all("Actor" in row["reason"] for row in lost)
    nothing_left()
