"""Models without a closed form of their FLOPs, and tokenizers with tokens that were added, as a user meets them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from actors.errors import UserError
from orchestration.api import settings_of
from orchestration.commands.main import main
from orchestration.setup.prepare import prepare
from tests.support.families import save_random

SMALL = ("policy.max_tokens=40", "policy.typical_tokens=30", "dataset.count=2")


def edited(source: Path, target: Path, **changes: Any) -> Path:
    folder = shutil.copytree(source, target)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def with_token(folder: Path, text: str, number: int) -> Path:
    """Add a token to a tokenizer, as adding a padding token does."""
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["added_tokens"].append(
        {"id": number, "content": text, "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    )
    file.write_text(json.dumps(tokenizer))
    return folder


def test_without_a_closed_form_the_papers_accounting_stands_alone_and_it_is_said(
    models: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = edited(models[0], tmp_path / "olmo", model_type="olmo2", architectures=["Olmo2ForCausalLM"])
    save_random(AutoConfig.from_pretrained(folder), folder)
    capsys.readouterr()
    words = [
        *SMALL,
        f"policy.path={folder}",
        f"verifier.path={models[1]}",
        "strategies=[greedy,best_of_n(n=2)]",
    ]
    words.append(f"folder={tmp_path / 'run'}")
    assert main(["evaluate", "--dry-run", *words, "budget.flops=1e12"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "FLOPs are by the paper's accounting alone" in out
    assert "FLOPs (paper), - (exact)" in out
    assert "0.00e0" not in out
    assert main(["evaluate", "--dry-run", *words, "budget=exact", "budget.flops=1e12"]) == 2
    assert "budget.unit = 'exact': flopwise has no closed form" in capsys.readouterr().err
    costs = prepare(settings_of(words)).costs
    assert [cost.exact(0, 5, 5) for cost in costs.values()] == [0, 0], "no sum of one part alone"


def test_added_tokens_make_no_other_models_tokenizer(models: tuple[Path, Path], tmp_path: Path) -> None:
    policy = with_token(shutil.copytree(models[0], tmp_path / "policy"), "[PAD]", 300)
    for verifier in (models[1], with_token(shutil.copytree(models[1], tmp_path / "prm"), "[FILL]", 300)):
        words = [*SMALL, f"policy.path={policy}", f"verifier.path={verifier}", "strategies=[best_of_n(n=2)]"]
        assert set(prepare(settings_of(words)).models) == {"policy", "verifier"}


@pytest.mark.parametrize("text", ["<other>"])
def test_a_token_that_takes_anothers_id_does(text: str, models: tuple[Path, Path], tmp_path: Path) -> None:
    verifier = shutil.copytree(models[1], tmp_path / "prm")
    file = verifier / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    words = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    number = tokenizer["model"]["vocab"].pop(words[-1])
    tokenizer["model"]["merges"] = [m for m in tokenizer["model"]["merges"] if "".join(m) != words[-1]]
    file.write_text(json.dumps(tokenizer))
    with_token(verifier, text, number)
    settings = [
        *SMALL,
        f"policy.path={models[0]}",
        f"verifier.path={verifier}",
        "strategies=[best_of_n(n=2)]",
    ]
    with pytest.raises(UserError, match="its tokenizer is not the policy's"):
        prepare(settings_of(settings))
