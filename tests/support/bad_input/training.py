"""Trainings of revisers, and of their verifiers, that cannot be meant."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from actors.engines.model_config import model_hash
from actors.store.rows import outcome_row
from orchestration.runs.identity import identify
from orchestration.runs.record import run_record, write_record
from orchestration.setup.compose import compose
from orchestration.training.reviser_job import ReviserJob
from orchestration.training.sampling import prepared_sampling
from tests.support.bad_input.cases import Words, case, edit
from tests.support.bad_input.machine import begun
from tests.support.folders import outcome
from tests.support.log_files import logged


def _reviser(*more: str) -> Words:
    words = ["policy=policy", "dataset=arithmetic", "max_tokens=40", "replicas=1", *more]
    return ["train", "reviser", "mine", *words]


@case
def no_room_for_an_attempt() -> Words:
    """a context that holds no attempt besides prompt and answer"""
    return _reviser("max_tokens=125")


@case
def lora_without_peft() -> Words:
    """low-rank additions without PEFT"""
    # As if it were not installed, where it is.
    sys.modules["peft"] = None  # type: ignore[assignment]
    return _reviser("training.lora_rank=8")


@case
def lora_with_muon() -> Words:
    """low-rank additions with another optimizer than AdamW"""
    return _reviser("training.lora_rank=8", "training.optimizer=muon")


@case
def samples_of_another_policy() -> Words:
    """training data that another policy drew"""
    words = _reviser("parts=[{problems: 4, seed: 1, strategy: majority(n=2)}]")
    job = compose("train/reviser", words[3:], ReviserJob)
    prepared = prepared_sampling(job, 0, job.parts[0])
    folder = Path("runs/reviser/part-0")
    folder.mkdir(parents=True)
    write_record(folder, prepared, run_record(prepared, identify(prepared), None))
    logged(folder, 1, {"outcomes": [outcome_row(outcome("p1"), correct=None)]})
    edit("policy/config.json", rope_theta=20_000.0)
    return words


@case
def chains_of_no_reviser() -> Words:
    """chains that this reviser did not draw"""
    return ["train", "orm", "mine", "reviser=policy", f"runs=[{begun()}]"]


def _chains(**identity: str) -> str:
    """A run of test problems, which a reviser is said to have drawn."""
    folder = begun()
    told = json.loads((folder / "run.json").read_text())
    edit(str(folder / "run.json"), identity=told["identity"] | identity)
    return str(folder)


@case
def chains_of_another_reviser() -> Words:
    """chains that another reviser drew"""
    return ["train", "orm", "mine", "reviser=policy", f"runs=[{_chains(reviser='another')}]"]


@case
def chains_to_judge_by() -> Words:
    """chains of problems that are not to train on"""
    folder = _chains(reviser=model_hash(Path("policy")))
    return ["train", "orm", "mine", "reviser=policy", f"runs=[{folder}]"]


@case
def no_attempts_to_read() -> Words:
    """a reviser that is to read no attempt"""
    return _reviser("format.attempts=0")


@case
def all_held_out() -> Words:
    """a training that holds everything out"""
    return _reviser("training.held_out_share=1")


@case
def parts_of_one_seed() -> Words:
    """two parts of a training with one seed"""
    return _reviser(
        "parts=[{problems: 4, seed: 1, strategy: majority(n=2)}, {problems: 8, seed: 1, strategy: majority(n=4)}]"
    )


@case
def no_chains() -> Words:
    """a verifier of revisions without chains"""
    return ["train", "orm", "mine", "reviser=policy"]
