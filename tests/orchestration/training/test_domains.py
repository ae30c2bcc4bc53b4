"""The recipes of both domains at a hundredth of their size, by the commands that make the bundled models."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from orchestration.commands.main import main
from orchestration.problems.revising import trained_format
from orchestration.setup.compose import compose
from orchestration.setup.domains import domains
from orchestration.training.pair_store import counted_pairs
from orchestration.training.policy import PolicyTraining
from tests.support.here import without_ray

POLICY = [
    "problems=1200",
    "tokenizer_problems=300",
    "validation_problems=50",
    "shape.width=32",
    "shape.layers=1",
]
PARTS = (
    "parts=[{problems: 30, seed: 1, strategy: majority(n=4), use: %s}, "
    "{problems: 12, seed: 2, strategy: 'monte_carlo(samples=4,rollouts=2)', use: value}]"
)

every_domain = pytest.mark.parametrize("domain", domains())


@every_domain
def test_a_policy_is_made_by_one_command(domain: str, tmp_path: Path) -> None:
    assert main(["train", "policy", str(tmp_path), f"domain={domain}", *POLICY]) == 0
    made = json.loads((tmp_path / "training.json").read_text())
    vocabulary = made["settings"]["vocabulary"]
    assert vocabulary == compose("train/policy", (f"domain={domain}",), PolicyTraining).vocabulary
    assert made["result"]["validation_loss"] < math.log(vocabulary)  # that of a uniform guess


@pytest.mark.parametrize("domain", ["countdown", pytest.param("arithmetic", marks=pytest.mark.slow)])
def test_its_verifier_and_its_reviser_are_made_by_one_command_each(domain: str, tmp_path: Path) -> None:
    use = "value" if domain == "countdown" else "language"
    words = [f"domain={domain}", f"runs={tmp_path / 'runs'}", PARTS % use, "replicas=1"]
    words += ["training.held_out_share=0.3", "training.value_epochs=2", "training.language_epochs=1"]
    with without_ray():
        assert main(["train", "prm", str(tmp_path / "prm"), *words]) == 0
    made = json.loads((tmp_path / "prm" / "training.json").read_text())
    assert len(made["held_out_losses"]) == 2
    assert made["prompts"]["count"] >= 1
    assert json.loads((tmp_path / "prm" / "value_head.json").read_text())["prompt"]
    # The same samples make a reviser: nothing is drawn again.
    part = "parts=[{problems: 30, seed: 1, strategy: majority(n=4)}]"
    words = [f"domain={domain}", f"runs={tmp_path / 'runs'}", part, "replicas=1"]
    before = sorted((tmp_path / "runs").rglob("*.parquet"))
    words += ["training.held_out_share=0.3", "training.epochs=1"]
    reviser = tmp_path / "reviser"
    assert main(["train", "reviser", str(reviser), *words]) == 0
    assert sorted((tmp_path / "runs").rglob("*.parquet")) == before
    told = json.loads((reviser / "training.json").read_text())
    assert told["settings"]["optimizer"] == "muon"
    assert told["pairs_with_attempts"] > 0
    assert counted_pairs(reviser / "pairs")["pairs"] == told["pairs"] + told["held_out_pairs"]
    assert bool(counted_pairs(reviser / "pairs")["kept"]) == (domain == "countdown")
    # Chains that it draws make its verifier.
    words = [f"domain={domain}", "dataset.split=train", "dataset.count=12", f"folder={tmp_path / 'chains'}"]
    words += ["reviser=folder", f"reviser.path={reviser}", "cluster.reviser.cpus=1"]
    with without_ray():
        assert (
            main(["evaluate", *words, "strategies=[revision(sequential=3,parallel=2,select=majority)]"]) == 0
        )
    words = [f"domain={domain}", f"reviser={reviser}", f"runs=[{tmp_path / 'chains'}]"]
    words += ["training.held_out_share=0.3", "training.value_epochs=1", "training.language_epochs=1"]
    assert main(["train", "orm", str(tmp_path / "orm"), *words]) == 0
    assert trained_format(tmp_path / "orm") == trained_format(reviser)
    assert json.loads((tmp_path / "orm" / "training.json").read_text())["value_solutions"] > 0
