"""A strategy and a verifier from a package outside the tree, the one of docs/extending.md, on workers that
know nothing of it.

The cluster is begun by another process, in another folder: its workers inherit nothing of the driver's `sys.path`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray
from transformers import AutoTokenizer

from actors.cluster.ray_start import start_ray
from actors.errors import UserError
from orchestration.api import Run, evaluate
from tests.support.documents import ROOT, blocks, file_of

CLUSTER = """
import sys, ray
from actors.cluster.ray_start import start_ray
start_ray(cpus=4)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""
TOKEN = uuid.uuid4().hex * 2
STRATEGIES = "strategies=[best_of_n(n=3),{_target_: mine.strategies.Shortest, n: 3}]"
VERIFIER = "verifier={_target_: mine.verifiers.Sums, wrong: 0.25, parameters: 0}"
WORDS = [
    "domain=arithmetic",
    STRATEGIES,
    VERIFIER,
    "dataset.count=3",
    "cluster.policy.cpus=0.5",
    "cluster.verifier.cpus=0.5",
]
WORDS += ["folder=run", "report=table"]
OTHER = """
from orchestration.strategies.sampling.greedy import Greedy

class Plain(Greedy):
    text = "other.Plain"
"""


def write_package(folder: Path) -> Path:
    for block in blocks(ROOT / "docs" / "extending.md"):
        if (file := file_of(block)) is not None:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(block.text)
    return folder / "mine"


def environment(*paths: Path) -> dict[str, str]:
    clean = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    # A driver joins with the token that the cluster was begun with.
    clean |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    return clean | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, *paths)))}


def command(more: list[str], cwd: Path, *paths: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "orchestration.commands.main", "evaluate", *WORDS, *more]
    return subprocess.run(
        words, cwd=cwd, env=environment(*paths), capture_output=True, text=True, timeout=500, check=False
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(tmp_path_factory.mktemp("outside"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster of another process."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        cwd=tmp_path_factory.mktemp("cluster"),
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address, "no cluster came up"
    yield address
    process.stdin.close()
    process.wait(200)


@pytest.fixture(scope="module")
def done(
    package: Path, cluster: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, subprocess.CompletedProcess[str]]]:
    """Four commands at once, each in a folder and process of its own, and where each was run."""
    (package.parent / "other.py").write_text(OTHER)
    plain = ["verifier=none", "strategies=[{_target_: other.Plain}]"]
    single = ["verifier=custom", "verifier._target_=mine.verifiers.Sums", "verifier.wrong=0.25"]
    single += ["verifier.parameters=0", "strategies=[best_of_n(n=3),mine.strategies.Shortest(n=3)]"]
    there = f"cluster.address={cluster}"
    jobs: dict[str, tuple[list[str], tuple[Path, ...]]] = {
        "sent": ([there, f"cluster.packages=[{package}]"], ()),
        "installed": (single, (package.parent,)),
        # The driver can import it, the workers of this cluster cannot.
        "lacking": ([there], (package.parent,)),
        "lacking strategy": ([there, *plain], (package.parent,)),
    }
    places = {name: tmp_path_factory.mktemp("driver") for name in jobs}
    with ThreadPoolExecutor(len(jobs)) as pool:
        running = {
            name: pool.submit(command, words, places[name], *paths) for name, (words, paths) in jobs.items()
        }
        return {name: (places[name] / "run", job.result()) for name, job in running.items()}


Done = dict[str, tuple[Path, subprocess.CompletedProcess[str]]]


def run_of(done: Done, name: str) -> Run:
    folder, process = done[name]
    assert process.returncode == 0, process.stderr
    return Run(folder)


@pytest.fixture(scope="module")
def sent(done: Done) -> Run:
    """The run whose package was sent to the cluster."""
    return run_of(done, "sent")


def rows(run: Run) -> list[dict[str, Any]]:
    names = ("problem_id", "strategy", "index", "token_ids", "scores", "answer", "key")
    return sorted(
        ({name: row[name] for name in names} for row in run.candidates().to_pylist()),
        key=lambda row: (row["problem_id"], row["strategy"], row["index"]),
    )


def test_workers_without_the_package_say_so_before_anything_is_drawn(done: Done) -> None:
    """The same cluster: so where it was sent, it was not there before."""
    said = {
        "lacking": "verifier._target_ = 'mine.verifiers.Sums': cannot import mine.verifiers: ",
        "lacking strategy": "strategies = 'other.Plain': its class is not to be had on ",
    }
    for name, message in said.items():
        folder, process = done[name]
        assert process.returncode == 2, process.stderr
        [line] = [line for line in process.stderr.splitlines() if line.startswith("error:")]
        assert message in line
        assert "cluster.packages" in line
        assert not Run(folder).books()
        assert json.loads((folder / "run.json").read_text())["state"] == "failed"


def test_the_workers_of_a_foreign_cluster_get_the_package(sent: Run, package: Path) -> None:
    outcomes = sent.outcomes().to_pylist()
    assert {row["state"] for row in outcomes} == {"answered"}
    assert {row["strategy"] for row in outcomes} == {
        "best_of_n(n=3)",
        "mine.strategies.Shortest(n=3,least=0.5)",
    }
    assert len(outcomes) == 6
    # A rule costs nothing, and what it scored is counted all the same.
    books = sent.books()
    assert sum(entry.flops for entry in books if entry.purpose == "verifier") == 0
    assert sum(entry.flops for entry in books if entry.purpose == "policy") > 0
    assert sum(row["verifier_tokens"] for row in outcomes) > 0


def test_scores_and_choices_are_those_of_the_classes(
    sent: Run, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(package.parent))
    from mine.verifiers import Sums  # type: ignore[import-not-found]

    policy = ROOT / "models" / "arithmetic" / "policy"
    rule, tokenizer = Sums(wrong=0.25), AutoTokenizer.from_pretrained(policy)
    chosen: dict[str, tuple[int, str]] = {}
    values = set()
    for row in rows(sent):
        ends = sent_ends(sent, row)
        expected = [0.9 if rule.holds(tokenizer.decode(row["token_ids"][:end])) else 0.25 for end in ends]
        assert row["scores"] == pytest.approx(expected)
        values.update(row["scores"])
        if row["strategy"].startswith("mine.") and row["answer"] and min(row["scores"]) >= 0.5:
            best = (len(row["token_ids"]), row["answer"])
            chosen[row["problem_id"]] = min(chosen.get(row["problem_id"], best), best, key=lambda one: one[0])
    assert len(values) == 2, "both values are met"
    answers = {
        row["problem_id"]: row["answer"]
        for row in sent.outcomes().to_pylist()
        if row["strategy"].startswith("mine.")
    }
    assert chosen
    assert {problem: answers[problem] for problem in chosen} == {
        problem: answer for problem, (_, answer) in chosen.items()
    }


def sent_ends(run: Run, row: dict[str, Any]) -> list[int]:
    [found] = [
        one
        for one in run.candidates().to_pylist()
        if all(one[name] == row[name] for name in ("problem_id", "strategy", "index"))
    ]
    ends: list[int] = found["step_tokens"]
    return ends


def test_an_installed_package_gives_the_same_and_needs_no_setting(sent: Run, done: Done) -> None:
    """There in a Ray of its own, by texts and single keys instead of mappings."""
    assert rows(run_of(done, "installed")) == rows(sent)


def test_packages_that_a_running_ray_lacks_are_refused(package: Path, tmp_path: Path) -> None:
    known = tmp_path / "known.py"
    known.touch()
    # Another test of this process may have left its own up.
    ray.shutdown()
    start_ray(cpus=2, packages=(known,))
    try:
        # What went with it may be asked for again.
        start_ray(packages=(known,))
        with pytest.raises(UserError, match="Ray is up in this process already, without them"):
            evaluate(
                ["greedy"],
                folder=tmp_path / "run",
                count=1,
                settings=[f"cluster.packages=[{package}]", "cluster.policy.cpus=0.5"],
            )
    finally:
        ray.shutdown()
