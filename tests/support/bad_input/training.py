"""Trainings of revisers, and of their verifiers, that cannot be meant."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from actors.engines.model_config import model_hash
from actors.store.rows import outcome_row
from orchestration.runs.identity import identify
from orchestration.runs.record import run_record, write_record
from orchestration.setup.compose import compose
from orchestration.training.reviser_job import ReviserJob
from orchestration.training.sampling import prepared_sampling
from tests.support.bad_input.cases import Words, case, edit
from tests.support.bad_input.machine import begun
from tests.support.chains import write_chains
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


def _said_to_be_drawn(**identity: str) -> str:
    """A run of test problems, which a reviser is said to have drawn."""
    folder = begun()
    told = json.loads((folder / "run.json").read_text())
    edit(str(folder / "run.json"), identity=told["identity"] | identity)
    return str(folder)


@case
def chains_of_another_reviser() -> Words:
    """chains that another reviser drew"""
    return ["train", "orm", "mine", "reviser=policy", f"runs=[{_said_to_be_drawn(reviser='another')}]"]


@case
def chains_of_an_orm_to_judge_by() -> Words:
    """chains of problems that are not to train on"""
    folder = _said_to_be_drawn(reviser=model_hash(Path("policy")))
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


def _chains(*more: str, name: str = "a", reviser: str = "policy", **kinds: Any) -> Words:
    """A training from chains that a model is said to have drawn in runs/a."""
    write_chains(Path("runs") / name, Path(reviser), **kinds)
    return _reviser("chains=[runs/a]", *more)


@case
def samples_beside_chains() -> Words:
    """samples beside chains"""
    return _chains("parts=[{problems: 4, seed: 1, strategy: majority(n=2)}]")


@case
def lenders_beside_chains() -> Words:
    """runs that lend samples, beside chains"""
    return _chains("reuse=[runs/old]")


@case
def kept_beside_chains() -> Words:
    """right answers kept, beside chains"""
    return _chains("keep=0.5")


@case
def share_of_none() -> Words:
    """a share that is none"""
    return _reviser("keep=1.5")


@case
def answers_without_pairs() -> Words:
    """right answers without pairs"""
    return _reviser("times=0")


def _orm(*more: str) -> Words:
    """A training of a verifier from chains that it may read."""
    write_chains(Path("runs/a"), Path("policy"))
    return ["train", "orm", "mine", "reviser=policy", "runs=[runs/a]", *more]


@case
def start_in_other_tokens() -> Words:
    """a verifier of revisions that starts from another tokenizer"""
    return _orm("start=bundled/countdown")


@case
def start_of_another_head() -> Words:
    """a verifier of revisions with another head than the one it starts from"""
    return _orm("start=prm", "training.width=8")


@case
def samples_for_chains() -> Words:
    """chains that no reviser drew"""
    return _reviser(f"chains=[{begun()}]")


@case
def chains_of_two() -> Words:
    """chains of two revisers"""
    shutil.copytree("policy", "other")
    edit("other/config.json", rope_theta=20_000.0)
    _chains(name="b", reviser="other")
    return _chains("chains=[runs/a,runs/b]")


@case
def chains_to_judge_by() -> Words:
    """chains on problems to judge by"""
    words = _chains()
    config = Path("runs/a/config.yaml")
    config.write_text(config.read_text().replace("split: train", "split: test"))
    return words


@case
def reviser_without_chains() -> Words:
    """a run of a reviser without chains"""
    return _chains(strategy="rsa(population=2,k=2,rounds=1)")


@case
def chains_without_right_answers() -> Words:
    """chains of which none ends well"""
    return _chains(right=False)


@case
def chains_in_other_tokens() -> Words:
    """chains in other tokens than the policy's"""
    shutil.copytree("policy", "other")
    tokenizer = json.loads(Path("other/tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["0"], vocabulary["1"] = vocabulary["1"], vocabulary["0"]
    Path("other/tokenizer.json").write_text(json.dumps(tokenizer))
    return _chains("policy=other")


@case
def chains_beyond_the_context() -> Words:
    """chains longer than the policy's context"""
    shutil.copytree("policy", "other")
    edit("other/config.json", max_position_embeddings=200)
    return _chains("policy=other")
