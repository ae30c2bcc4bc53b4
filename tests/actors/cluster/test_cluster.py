"""Runs on Ray, with processes that are really killed: nothing is lost, nothing is done twice.

Disturbed runs are compared with one in this process alone, which nothing disturbs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray
from ray.exceptions import ActorUnavailableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.cluster.driver import SUCCESSOR, get
from actors.cluster.links import StartLink
from actors.cluster.placement import Cluster, _VerifierActor, replica_actor
from actors.cluster.ray_start import start_ray
from actors.cluster.shells import WriterActor, staging
from actors.engines.base import EngineInfo, ScoreRequest
from actors.engines.plan import ModelPlan, ReplicaShare
from actors.engines.verifiers.custom import Target
from actors.errors import UserError
from actors.messages import Commit, ReplicaInfo
from actors.store.log import read_books
from actors.store.writer import RunWriter
from actors.work import Progress
from orchestration.runs.status import lock_of
from orchestration.strategies.revision.revision import Revision
from tests.support import cluster_driver, troubled
from tests.support.cells import outcomes_by_key, rows_of
from tests.support.cluster_driver import COUNT, GATED, run_plan, tasks
from tests.support.folders import done_keys, record, settled
from tests.support.inprocess import Cell
from tests.support.places import ROOT
from tests.support.processes import actors, descendants, wait_for
from tests.support.tiny import make_task


@pytest.fixture(scope="module", autouse=True)
def cluster_of_this_machine() -> Iterator[None]:
    start_ray(cpus=2)
    yield
    ray.shutdown()


class _Nothing:
    """An actor that does nothing."""

    def there(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("where", "why"),
    [
        (
            {"scheduling_strategy": NodeAffinitySchedulingStrategy("1" * 56, soft=False)},
            "doesn't exist any more",
        ),
        ({"runtime_env": {"conda": "no-such-environment"}}, "Failed to set up runtime environment. "),
    ],
)
def test_a_ray_that_starts_no_process_is_told_in_one_line(where: dict[str, Any], why: str) -> None:
    actor: Any = ray.remote(_Nothing).options(num_cpus=0, **where).remote()
    with pytest.raises(
        UserError, match=r"Ray starts no process for an actor of the run: .*logs are in"
    ) as told:
        get(actor.there.remote())
    assert why in str(told.value)
    assert "\n" not in str(told.value)


@dataclass(frozen=True)
class AtItsGate:
    """A judge that grades nothing until a file is there."""

    gate: Path

    def extract(self, text: str) -> str | None:
        return text

    def correct(self, answer: str | None, reference: str) -> bool:
        while not self.gate.exists():
            time.sleep(0.02)
        return True


def test_a_commit_waits_for_no_record_that_is_being_graded(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    writer = staging(WriterActor).options(num_cpus=0).remote(tmp_path / "run", AtItsGate(gate))
    ray.get(writer.label.remote({"a": "4", "b": None}))
    graded = [writer.stage.remote(lease, "a", record("a")) for lease in (1, 2)]
    ray.get(writer.stage.remote(3, "b", record("b")), timeout=60)
    assert ray.get(writer.commit.remote(Commit(settled=(settled("b", lease=3),))), timeout=60) == []
    assert ray.wait(graded, timeout=0)[0] == []
    assert set(done_keys(tmp_path / "run")) == {"b/greedy", "b/majority"}
    gate.touch()
    ray.get(graded)
    assert ray.get(writer.commit.remote(Commit(settled=(settled("a", lease=1),)))) == []
    ray.kill(writer)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, policy: Path, verifier: Path) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")

    async def run() -> None:
        async with Cell(folder, policy, verifier, replicas=1) as cell:
            await cell.run(tasks(folder, frozenset()))

    asyncio.run(run())
    return outcomes_by_key(folder)


@pytest.fixture(scope="module")
def refusal(tmp_path_factory: pytest.TempPathFactory, policy: Path) -> Iterator[tuple[Path, Future[str]]]:
    """What a driver is told whose folder another holds. It waits a while for that one to go, beside the other tests."""
    folder = tmp_path_factory.mktemp("held") / "run"
    writer = RunWriter(folder, None)

    def start() -> str:
        with pytest.raises(UserError) as error:
            Cluster(run_plan(folder, policy, None))
        return str(error.value)

    with ThreadPoolExecutor(1) as pool:
        yield folder, pool.submit(start)
    writer.close()


# Replicas that are killed


@dataclass
class Disturbed:
    """A run of two policy replicas and one verifier: each is killed while half of the tasks wait at a gate."""

    folder: Path
    infos: list[ReplicaInfo] = field(default_factory=list)
    killed: dict[str, int] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    wasted_before: tuple[int, int] = (0, 0)
    seen: list[Progress] = field(default_factory=list)
    progress: Progress | None = None


@pytest.fixture(scope="module")
def disturbed(
    tmp_path_factory: pytest.TempPathFactory, policy: Path, verifier: Path, refusal: object
) -> Disturbed:
    folder = tmp_path_factory.mktemp("disturbed")
    run = Disturbed(folder / "run")
    gate = folder / "gate"
    free = 3 * (COUNT - len(GATED))
    with Cluster(run_plan(run.folder, policy, verifier)) as cluster:
        run.infos = cluster.infos()
        pids = {info.name: info.pid for info in run.infos}

        def disturb(progress: Progress) -> None:
            run.seen.append(progress)
            if progress.outcomes < free or gate.exists():
                return
            if not run.killed:
                # The free half has ended; the others wait in the replicas' hands.
                run.held = [name for name, _ in progress.oldest]
                run.killed["policy-1"] = pids["policy-1"]
                os.kill(pids["policy-1"], signal.SIGKILL)
            elif "policy-1" in progress.waiting_for and "verifier" not in run.killed:
                # Its death was noticed. Trees that ask from now on find no verifier for a while.
                run.killed["verifier"] = pids["verifier"]
                os.kill(pids["verifier"], signal.SIGKILL)
                gate.touch()

        run.progress = cluster.run(((task, "4") for task in tasks(gate)), disturb)
    return run


def test_every_outcome_of_a_disturbed_run_is_there_once(
    disturbed: Disturbed, undisturbed: dict[str, Any]
) -> None:
    assert outcomes_by_key(disturbed.folder) == undisturbed
    assert len(undisturbed) == 3 * COUNT
    assert not list((disturbed.folder / "log").iterdir())
    progress = disturbed.progress
    assert progress is not None
    assert (progress.tasks_open, progress.answered, progress.quarantined) == (0, 3 * COUNT, 0)
    assert (progress.spent, progress.wasted) == read_books(disturbed.folder)


def test_replicas_say_who_they_are(disturbed: Disturbed, policy: Path, verifier: Path) -> None:
    assert sorted(info.name for info in disturbed.infos) == ["policy-0", "policy-1", "verifier"]
    assert len({info.pid for info in disturbed.infos}) == 3
    engines: dict[str, EngineInfo] = {info.name: info.engine for info in disturbed.infos}
    assert engines["policy-0"] == engines["policy-1"]
    assert (engines["policy-0"].model, engines["verifier"].model) == (str(policy), str(verifier))


def test_a_killed_policy_replica_costs_its_leases_and_no_problem(disturbed: Disturbed) -> None:
    assert "policy-1" in disturbed.killed
    ledger = rows_of(disturbed.folder, "ledger")
    losses = [row for row in ledger if row["kind"] == "lost" and row["purpose"] == "unknown"]
    lost = {row["task_id"] for row in losses}
    assert lost, "it held tasks when it died"
    assert {row["attempt"] for row in losses} == {1}
    assert all("Actor" in row["reason"] for row in losses)
    spent = {row["task_id"]: row["attempt"] for row in ledger if row["kind"] == "kept"}
    assert len(spent) == COUNT
    assert {task for task, attempt in spent.items() if attempt == 2} == lost
    assert lost <= {f"task-{number[1:]}" for number in GATED}


def test_a_killed_verifier_costs_no_tree(disturbed: Disturbed) -> None:
    """No task failed for want of a verifier: but for its calls, all that was lost was lost with the policy replica."""
    assert "verifier" in disturbed.killed
    ledger = rows_of(disturbed.folder, "ledger")
    assert len({row["reason"] for row in ledger if row["purpose"] == "unknown"}) == 1
    assert not [row for row in ledger if row["kind"] == "failed"]


def test_replicas_that_die_as_the_run_starts_are_waited_for_and_those_of_a_reviser_draw_its_chains(
    tmp_path: Path, policy: Path, verifier: Path
) -> None:
    chains = tuple(
        replace(make_task(number, (Revision(3, 2), Revision(4, 1))), home="reviser") for number in range(4)
    )
    with Cluster(run_plan(tmp_path / "run", policy, verifier, replicas=1, drawing="reviser")) as cluster:
        before = {info.name: info.pid for info in cluster.infos()}
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        after = {info.name: info.pid for info in cluster.infos(first=True)}
        progress = cluster.run((task, "4") for task in chains)
    assert after.keys() == before.keys() == {"reviser-0", "verifier"}
    assert not set(after.values()) & set(before.values())
    assert (progress.answered, progress.tasks_open, progress.wasted) == (8, 0, 0)
    assert {row["purpose"] for row in rows_of(tmp_path / "run", "ledger")} == {"reviser", "verifier"}


def test_a_signal_to_the_drivers_group_reaches_no_process_of_ray() -> None:
    """As `timeout` and batch schedulers send it: what it killed, the driver could not end in good order."""
    assert ray.is_initialized()
    ours = os.getpgrp()
    raylets = [pid for pid, title in descendants(os.getpid()).items() if "raylet/raylet" in title]
    assert raylets
    # Its workers are in its group, or in one of their own.
    assert ours not in [os.getpgid(pid) for pid in raylets]


# Starts that fail, and work that takes long


def test_a_trouble_at_the_start_passes_and_work_holds_no_probe_up(tmp_path: Path, policy: Path) -> None:
    """Its process leaves twice, and Ray starts it again; then its event loop itself is at work."""
    options = json.dumps({"notes": str(tmp_path), "fails": 2})
    target = Target(f"{troubled.__name__}.Troubled", options, None, policy)
    plan = ModelPlan(policy, ReplicaShare(cpus=0.0), target=target)
    actor = replica_actor(_VerifierActor, plan.share, "verifier-0").remote(
        "verifier-0", plan, StartLink("no scheduler", "verifier-0"), 60.0
    )
    while True:
        try:
            info = ray.get(actor.info.remote(), timeout=90)
            break
        except ActorUnavailableError:
            time.sleep(0.2)
    pids = (tmp_path / "starts").read_text().split()
    assert len(set(pids)) == 3
    assert str(info.pid) == pids[-1]
    scoring = actor.score.remote([ScoreRequest((5, 6, 7), 2, (3,))])
    wait_for((tmp_path / "scoring").exists, "its work to begin")
    assert ray.get(actor.pulse.remote(), timeout=60).counters.running == 1
    assert not ray.wait([scoring], timeout=0)[0]
    (tmp_path / "enough").touch()
    assert ray.get(scoring, timeout=60)[0].values == (0.5,)
    ray.kill(actor)


# A scheduler that is killed


def test_a_killed_scheduler_is_followed_by_another_and_nothing_is_lost(
    tmp_path: Path, policy: Path, verifier: Path, undisturbed: dict[str, Any]
) -> None:
    gate = tmp_path / "gate"
    free = 3 * (COUNT - len(GATED))
    killed: list[int] = []
    with Cluster(run_plan(tmp_path / "run", policy, verifier)) as cluster:

        def disturb(progress: Progress) -> None:
            if progress.outcomes < free or gate.exists():
                return
            if not killed:
                killed.extend(actors("SchedulerActor"))
                assert len(killed) == 1
                os.kill(killed[0], signal.SIGKILL)
            elif progress.of("policy").replicas == 2 and progress.waiting_for != SUCCESSOR:
                # The next one has found both replicas, with the trees in their hands.
                gate.touch()

        progress = cluster.run(((task, "4") for task in tasks(gate)), disturb)
    assert killed
    assert outcomes_by_key(tmp_path / "run") == undisturbed
    assert (progress.outcomes, progress.tasks_open) == (3 * COUNT, 0), "those of both schedulers"
    assert (progress.spent, progress.wasted) == read_books(tmp_path / "run")
    assert progress.wasted == 0, "the trees in hand went on"


# A driver that is killed


def victim(folder: Path, policy: Path, verifier: Path, gate: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", cluster_driver.__name__, *map(str, (folder, policy, verifier, gate))]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    log = (folder.parent / "driver.log").open("ab")
    return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log)


def test_a_killed_driver_goes_on_where_it_stopped(
    tmp_path: Path, policy: Path, verifier: Path, undisturbed: dict[str, Any]
) -> None:
    folder, gate = tmp_path / "run", tmp_path / "gate"
    # All that does not wait at the gate: what is in hand when it is killed is what does.
    free = 3 * (COUNT - len(GATED))
    first = victim(folder, policy, verifier, gate)

    def committed() -> set[str]:
        return set(done_keys(folder)) if (folder / "log").is_dir() else set()

    def driver_said() -> str:
        return (tmp_path / "driver.log").read_text()[-2_000:]

    try:
        # Half of the problems wait at the gate, so it cannot come to its end before it is killed.
        wait_for(lambda: len(committed()) >= free or first.poll() is not None, "the first outcomes")
        assert first.poll() is None, driver_said()
    finally:
        first.kill()
        first.wait()
    done = committed()
    assert len(done) == free
    # Its actors live on for a moment, and what they committed then the next one would not see.
    wait_for(lambda: lock_of(folder) == "free", "the first driver's writer to end")
    gate.touch()
    second = victim(folder, policy, verifier, gate)
    try:
        assert second.wait(200) == 0, driver_said()
    finally:
        second.kill()
        second.wait()
    assert outcomes_by_key(folder) == undisturbed
    parts = sorted((folder / "outcomes").iterdir())
    before = {key for key in pq.read_table(parts[0])["key"].to_pylist()}
    assert done <= before, "what was committed stands in the part made of the first driver's log"
    rest = [key for part in parts[1:] for key in pq.read_table(part)["key"].to_pylist()]
    assert not before & set(rest), "and was not generated again"
    ledger = rows_of(folder, "ledger")
    kept = [row["task_id"] for row in ledger if row["kind"] == "kept" and row["purpose"] == "policy"]
    assert sorted(kept) == sorted(task.id for task in tasks(gate))
    lost = {row["task_id"] for row in ledger if row["kind"] == "lost"}
    assert lost <= {f"task-{number[1:]}" for number in GATED}, "what waited at the gate was in hand"
    assert read_books(folder)[0] == sum(row["spent_flops"] for row in rows_of(folder, "outcomes"))


# Mistakes


def test_a_second_driver_is_told_who_writes_the_folder(refusal: tuple[Path, Future[str]]) -> None:
    folder, told = refusal
    message = told.result(60)
    assert f"pid {os.getpid()} on {socket.gethostname()} writes this run" in message
    assert str(folder) in message
    assert "\n" not in message


def without(folder: Path, pattern: str, tmp_path: Path) -> Path:
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    for file in copy.glob(pattern):
        file.unlink()
    return copy


def test_a_model_without_weights_is_said_in_one_line_and_at_once(tmp_path: Path, policy: Path) -> None:
    broken = without(policy, "*.safetensors", tmp_path)
    with (
        pytest.raises(UserError, match=re.escape(f"model = '{broken}'")) as error,
        Cluster(run_plan(tmp_path / "run", broken, None, replicas=1)) as cluster,
    ):
        cluster.run((task, None) for task in tasks(tmp_path))
    assert "\n" not in str(error.value)
    assert "starts in" not in str(error.value), "it was not tried again"
    assert not done_keys(tmp_path / "run")


def test_a_verifier_without_its_head_is_said_before_anything_is_spent(
    tmp_path: Path, policy: Path, verifier: Path
) -> None:
    broken = without(verifier, "value_head*", tmp_path)
    with (
        pytest.raises(UserError, match=re.escape(f"verifier = '{broken}'")) as error,
        Cluster(run_plan(tmp_path / "run", policy, broken, replicas=1)) as cluster,
    ):
        cluster.infos()
    assert "\n" not in str(error.value)


def test_more_than_the_machine_has_is_refused_at_once(tmp_path: Path, policy: Path) -> None:
    with pytest.raises(UserError, match=r"cluster cpus = 4.0: this machine has 2.*policy: 10 x 0.4"):
        Cluster(run_plan(tmp_path / "run", policy, None, replicas=10))
    assert not (tmp_path / "run").exists()


def test_a_start_waits_for_one_replica_of_each_kind_and_says_so(
    tmp_path: Path, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tenant:
        def pay(self) -> None: ...

    tenants = [ray.remote(Tenant).options(num_cpus=1).remote() for _ in range(2)]
    ray.get([tenant.pay.remote() for tenant in tenants])
    plan = run_plan(tmp_path / "run", policy, None, replicas=2)
    model = plan.models["policy"]
    plan = replace(plan, models={"policy": replace(model, share=replace(model.share, cpus=1.0))})
    monkeypatch.setattr("actors.cluster.placement.START_NEWS_S", 0.2)
    said: list[str] = []

    def leave(progress: Progress) -> None:
        said.append(progress.waiting_for)
        if len(said) == 1:
            ray.kill(tenants[0])

    try:
        with Cluster(plan) as cluster:
            # There is never room for the second.
            assert len(cluster.infos(first=True, on_progress=leave)) == 1
    finally:
        ray.kill(tenants[1])
    assert said[0] == (
        "a policy replica (2 x 1 CPU asked for), no place yet for policy-0, policy-1: 0 of 2 CPU free"
    )
