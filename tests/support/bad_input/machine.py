"""Engines, machines and run folders that cannot do what is asked."""

from __future__ import annotations

import json
import os
import shutil
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from transformers import GPTNeoXConfig

from actors.engines.whole import quiet
from actors.store.digests import DigestMap
from actors.store.log import FolderLock
from actors.store.rows import outcome_row
from actors.store.schema import RUN_FORMAT
from orchestration.api import settings_of
from orchestration.problems import Problem
from orchestration.runs.identity import identify
from orchestration.runs.problem_store import ProblemStore
from orchestration.runs.record import run_record, write_record
from orchestration.setup.prepare import prepare
from tests.support.bad_input.cases import GOOD, HELD, OTHER, Words, case, evaluate, table
from tests.support.families import SIZES, save_random
from tests.support.folders import outcome
from tests.support.handmade import write_run
from tests.support.log_files import logged
from tests.support.places import ROOT
from tests.support.public_verifiers import byte_level


@case
def no_vllm() -> Words:
    """vLLM asked for and not installed"""
    # As if it were not, where it is.
    sys.modules["vllm"] = None  # type: ignore[assignment]
    return evaluate("policy.engine=vllm")


@case
def misspelt_engine() -> Words:
    """an engine that there is not"""
    return evaluate("policy.engine=vlm")


@case
def unseeded_local() -> Words:
    """draws without seeds on the local engine"""
    return evaluate("policy.reproducible=false")


@case
def parallel_without_gpus() -> Words:
    """one model over more GPUs than its replica has"""
    return evaluate("cluster.policy.tensor_parallel=2")


@case
def share_of_memory() -> Words:
    """a share of memory that is none"""
    return evaluate("cluster.policy.memory=1.5")


@case
def parallel_on_the_local_engine() -> Words:
    """a setting of vLLM for a model on the local engine"""
    gpus = ["cluster.policy.gpus=2", "cluster.policy.tensor_parallel=2"]
    return evaluate("strategies=[greedy]", "policy.engine=local", *gpus)


@case
def replicas_beyond_the_memory() -> Words:
    """models that the machine has no memory for"""
    many = ["cluster.policy.replicas=1000000000", "cluster.policy.cpus=0"]
    return evaluate("strategies=[greedy]", *many)


@case
def cache_of_no_sequence() -> Words:
    """a share of memory in which vLLM has no room for one sequence"""
    _as_if_installed()
    return evaluate("strategies=[greedy]", "policy.engine=vllm", "cluster.policy.memory=1e-9")


def _as_if_installed() -> None:
    """vLLM, where it is not; nothing is started."""
    vllm = ModuleType("vllm")
    vllm.__spec__ = ModuleSpec("vllm", None)
    sys.modules["vllm"] = vllm


@case
def more_than_a_gpu() -> Words:
    """shares of a GPU that are more than it has"""
    _as_if_installed()
    shares = ["cluster.policy.gpus=0.5", "cluster.policy.replicas=2", "cluster.policy.memory=0.6"]
    return evaluate("strategies=[greedy]", "policy.engine=vllm", *shares)


@case
def public_on_vllm() -> Words:
    """a public verifier on vLLM, of a type that is not scored there"""
    with quiet():
        folder = save_random(GPTNeoXConfig(**SIZES | {"vocab_size": 300}), Path("public"))
    byte_level("chatml", bos=False).save_pretrained(folder)
    _as_if_installed()
    return evaluate("verifier=judge", "verifier.path=public", "verifier.engine=vllm")


@case
def context_below_max_tokens() -> Words:
    """a context that a solution fills"""
    return evaluate("policy.context=40")


@case
def context_of_no_prompt() -> Words:
    """a context that leaves no room for a prompt"""
    return evaluate("policy.context=42")


@case
def context_beyond_the_policy() -> Words:
    """a context that the policy does not have"""
    return evaluate("policy.context=4096")


@case
def too_many_replicas() -> Words:
    """more replicas than cores"""
    return evaluate("cluster.policy.replicas=64000")


@case
def gpus() -> Words:
    """GPUs that are not there"""
    return evaluate("strategies=[greedy]", "cluster.policy.gpus=8000")


@case
def no_address() -> Words:
    """an address that is none"""
    return evaluate("cluster.address=head")


@case
def dead_address() -> Words:
    """an address where nobody answers"""
    return evaluate("cluster.address=127.0.0.1:1")


@case
def long_temporary_folder() -> Words:
    """a folder of temporary files that is too long"""
    os.environ["RAY_TMPDIR"] = "/tmp/a-very-long-name-for-a-folder-of-temporary-files"
    return evaluate()


@case
def locked_home() -> Words:
    """a home that may not be written"""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        os.environ.pop(name, None)
    os.environ["HOME"] = "/proc/nobody"
    return evaluate()


def run_json(text: str) -> Words:
    Path("runs/old").mkdir(parents=True)
    Path("runs/old/run.json").write_text(text)
    return evaluate("folder=runs/old")


@case
def other_version() -> Words:
    """a run of another version"""
    return run_json(json.dumps({"format": 99, "versions": {"flopwise": "9.0.0"}}))


@case
def damaged_run_json() -> Words:
    """a damaged run.json"""
    return run_json('{"format": 1, "identi')


@case
def lacking_run_json() -> Words:
    """a run.json that lacks something"""
    rest = {"seeds": [0], "strategies": [], "budget_flops": None}
    return run_json(json.dumps({"format": RUN_FORMAT} | rest))


def empty(*more: str) -> Path:
    """A run that was stopped before its first outcome."""
    folder = Path("runs/old")
    folder.mkdir(parents=True)
    prepared = prepare(settings_of(evaluate(*more)[1:]))
    write_record(folder, prepared, run_record(prepared, identify(prepared), None))
    return folder


def begun(*more: str) -> Path:
    """A run that was stopped after its first outcome."""
    folder = empty(*more)
    logged(folder, 1, {"outcomes": [outcome_row(outcome("p1"), correct=None)]})
    return folder


@case
def spent_budget() -> Words:
    """a budget that the folder has spent already"""
    folder = begun("budget.flops=2e7")
    rows: list[dict[str, object]] = [
        {"purpose": "policy", "kind": "kept", "flops": 9_000_000},
        {"purpose": "unknown", "kind": "lost", "flops": 1_000_000},
    ]
    logged(folder, 2, {"ledger": rows, "holds": [(7, "p1/0", 1, "policy-0", 2_000_005)]})
    FolderLock(folder).release()
    return evaluate(f"folder={folder}", "budget.flops=1e7")


@case
def other_set_up() -> Words:
    """results of another set-up in the folder"""
    return evaluate(f"folder={begun()}", "policy.max_tokens=41")


@case
def other_data() -> Words:
    """a run of another data set in the folder"""
    table(OTHER, name="old.jsonl")
    folder = begun("dataset=table", "dataset.path=old.jsonl", "dataset.grader=number")
    ProblemStore(folder, DigestMap()).store([(Problem("p1", "1 + 1 = ?", "2"), (1, 5))])
    FolderLock(folder).release()
    return table(GOOD, more=[f"folder={folder}"])


@case
def older_keys() -> Words:
    """a run whose keys an earlier version made"""
    shutil.copytree(ROOT / "tests" / "support" / "old_run", "runs/old")
    return evaluate("folder=runs/old")


@case
def older_samples() -> Words:
    """samples to use again whose keys an earlier version made"""
    shutil.copytree(ROOT / "tests" / "support" / "old_run", "runs/old")
    return evaluate("reuse=[runs/old]")


@case
def other_writer() -> Words:
    """a run that another process writes"""
    HELD.append(FolderLock(begun()))
    return evaluate("folder=runs/old")


@case
def other_files() -> Words:
    """a folder of other files"""
    Path("thesis").mkdir()
    for name in ("photo.jpg", "chapter-1.tex", ".DS_Store"):
        (Path("thesis") / name).write_text("mine")
    return evaluate("folder=thesis")


@case
def file_for_a_folder() -> Words:
    """a file for a folder"""
    Path("thesis.tex").write_text("mine")
    return evaluate("folder=thesis.tex")


@case
def locked_folder() -> Words:
    """a folder that may not be written"""
    Path("locked").mkdir(mode=0o555)
    return evaluate("folder=locked/run")


@case
def impossible_folder() -> Words:
    """a folder that cannot be made"""
    return evaluate("folder=/proc/run")


@case
def long_name() -> Words:
    """a name that is too long"""
    return evaluate(f"folder=runs/{'x' * 300}/run")


@case
def locked_report() -> Words:
    """a report of a folder that may not be written"""
    write_run(Path("locked/run"), problems=1)
    Path("locked/run").chmod(0o555)
    return ["report", "locked/run"]


@case
def full_disk() -> Words:
    """a full disk"""
    Path("runs/full").mkdir(parents=True)
    # Where config.yaml, the first of all files, is written before it takes its name.
    Path("runs/full/.config.yaml.tmp").symlink_to("/dev/full")
    return evaluate("folder=runs/full")


@case
def reuse_of_no_run() -> Words:
    """samples of no run to use again"""
    write_run(Path("runs/first"), problems=1)
    return evaluate("reuse=[runs/frist]")


@case
def report_of_nothing() -> Words:
    """a report of a run without an outcome"""
    return ["report", str(empty())]


@case
def list_of_nothing() -> Words:
    """the problems of a run without an outcome"""
    return ["show", str(empty())]


@case
def no_run() -> Words:
    """a report of no run"""
    write_run(Path("runs/evaluate"), problems=1)
    return ["report", "runs/evalute"]
