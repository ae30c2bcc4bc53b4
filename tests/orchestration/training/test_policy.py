"""The policy's training at a hundredth of its size: it learns, repeats, and resumes where it stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from actors.errors import UserError
from orchestration.problems import Generated, PromptFormat
from orchestration.problems.datasets.load import source_of
from orchestration.training.muon import MuonAdamW, orthogonalise
from orchestration.training.policy import (
    BatchedRows,
    PolicyShape,
    PolicyTraining,
    build_model,
    encode_rows,
    train_policy,
)
from orchestration.training.tokenizer import train_tokenizer
from orchestration.training.trainer import BatchTrainer

OPTIONS = {"legs": [1, 3], "terms": [2, 3], "sums": 0.4}
SOURCE = source_of("arithmetic", OPTIONS)

TINY = PolicyTraining(
    dataset="arithmetic",
    options=OPTIONS,
    shape=PolicyShape(width=32, layers=2, heads=2, feed_forward=64, context=128),
    vocabulary=320,
    tokenizer_problems=300,
    problems=3_000,
    validation_problems=50,
    tokens_per_step=1024,
    save_every=60,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("policy")
    train_policy(TINY, output)
    return output


def test_it_learns_and_saves_what_transformers_loads(trained: Path) -> None:
    result = json.loads((trained / "training.json").read_text())["result"]
    assert result["validation_loss"] < 3.2  # a uniform guess: ln 320 = 5.8
    tokenizer = AutoTokenizer.from_pretrained(trained)
    model = AutoModelForCausalLM.from_pretrained(trained)
    assert model.config.tie_word_embeddings
    assert model.config.use_cache
    assert model.generation_config.use_cache
    assert model.config.eos_token_id == tokenizer.eos_token_id
    prompt = torch.tensor([PromptFormat().prompt_ids(tokenizer, "How many legs: 3 dogs?")])
    written = model.generate(prompt, max_new_tokens=5, do_sample=False)
    assert written.shape[1] > prompt.shape[1]
    assert not (trained / "checkpoints").exists()


def test_the_same_settings_give_the_same_files(trained: Path, tmp_path: Path) -> None:
    train_policy(TINY, tmp_path)
    for name in ("model.safetensors", "tokenizer.json", "config.json", "training.json"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes(), name


def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0
    original = BatchTrainer.training_step

    def interrupted(self: BatchTrainer, *args: Any, **kwargs: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 80:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(BatchTrainer, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train_policy(TINY, tmp_path)
    with pytest.raises(UserError, match="with other seed was interrupted"):
        train_policy(replace(TINY, seed=1), tmp_path)
    train_policy(TINY, tmp_path)
    total = json.loads((trained / "training.json").read_text())["result"]["steps"]
    assert steps == 80 + total - 60  # went on from the checkpoint at 60
    assert (tmp_path / "model.safetensors").read_bytes() == (trained / "model.safetensors").read_bytes()


def test_batches_hold_every_row_once_within_the_limit_and_teach_solutions_only() -> None:
    problems = list(Generated(SOURCE, "train", 200))
    tokenizer = train_tokenizer((f"{p.question}\n{p.solution}\n" for p in problems), 320)
    rows = encode_rows(iter(problems), tokenizer, PromptFormat(), 128)
    batches = BatchedRows(rows, 512, 0, seed=3)
    seen, taught = 0, 0
    for i in range(len(batches)):
        item = batches[i]
        assert item["input_ids"].numel() <= 512
        assert item["input_ids"].shape == item["labels"].shape
        seen += len(item["input_ids"])
        taught += int((item["labels"] >= 0).sum())
        known = item["labels"] >= 0
        assert torch.equal(item["labels"][known], item["input_ids"][known])
    assert seen == 200
    assert taught == sum(len(row.ids) - row.prompt for row in rows)
    again = BatchedRows(rows, 512, 0, seed=3)
    assert torch.equal(batches[0]["input_ids"], again[0]["input_ids"])


def test_padding_at_the_right_changes_no_loss() -> None:
    problems = list(Generated(SOURCE, "train", 20))
    tokenizer = train_tokenizer((f"{p.question}\n{p.solution}\n" for p in problems), 320)
    rows = encode_rows(iter(problems), tokenizer, PromptFormat(), 128)
    model = build_model(TINY.shape, tokenizer, 0)
    wide = BatchedRows(rows, 20 * 128, 0, 0)[0]
    ours = model(**wide).loss.item()
    sums = count = 0.0
    for row in rows:
        ids = torch.from_numpy(row.ids).long()[None]
        labels = ids.clone()
        labels[:, : row.prompt] = -100
        taught = len(row.ids) - row.prompt
        sums, count = sums + model(input_ids=ids, labels=labels).loss.item() * taught, count + taught
    assert ours == pytest.approx(sums / count, rel=1e-5)


def test_orthogonalised_matrices_have_singular_values_near_one() -> None:
    for shape in ((3, 16, 16), (2, 8, 24), (2, 24, 8)):
        matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        values = torch.linalg.svdvals(orthogonalise(matrices))
        assert values.max() < 1.3
        assert values.median() > 0.6


def test_hidden_matrices_go_to_muon_and_the_rest_to_adamw() -> None:
    problems = list(Generated(SOURCE, "train", 50))
    model = build_model(TINY.shape, train_tokenizer((p.question for p in problems), 300), 0)
    muon, adamw = MuonAdamW(model, 0.02, 0.002).param_groups
    assert len(muon["params"]) == 7 * TINY.shape.layers
    assert len(adamw["params"]) == 1 + 2 * TINY.shape.layers + 1  # tied embedding, norms


@pytest.mark.parametrize(
    ("values", "message"),
    [({"problems": 0}, "^problems = 0"), ({"vocabulary": 100}, "259"), ({"tokens_per_step": 64}, "a row")],
)
def test_mistakes_are_named(values: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(TINY, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"dataset": "gcd"},
            r"dataset = 'gcd': it has no worked solutions.*: countdown_chain, arithmetic and",
        ),
        ({"dataset": "gdc"}, r"dataset = 'gdc': reasoning-gym has no such data set"),
        ({"dataset": "arithmetic", "options": {"legs": [3, 1]}}, r"options\.legs = \[3, 1\]: two rising"),
        ({"dataset": "arithmetic", "options": {"lges": [1, 3]}}, r"options = 'lges': choose among"),
    ],
)
def test_problems_to_learn_nothing_from_are_refused_before_a_folder_is_made(
    given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        train_policy(PolicyTraining(**given), tmp_path / "policy")
    assert not (tmp_path / "policy").exists()


def test_more_problems_than_there_are_is_told_by_the_setting_that_asked(tmp_path: Path) -> None:
    options = {"values": [2, 3], "targets": [5, 6], "shares": [1.0]}
    with pytest.raises(UserError, match=r"^tokenizer_problems = 20000: .* gave only"):
        train_policy(PolicyTraining("countdown_chain", options), tmp_path)
