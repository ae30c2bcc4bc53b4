"""The reviser's training at a thousandth of its size: what it learns, where it ends, that it resumes; and chat models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from actors.engines.identity import tokenizer_hash
from actors.errors import UserError
from orchestration.problems.prompting import PromptFormat
from orchestration.problems.revising import RevisionFormat, trained_format
from orchestration.training.pair_store import Learnt
from orchestration.training.policy import BatchedRows
from orchestration.training.reviser import (
    RevisionTraining,
    Rows,
    check_rows,
    ended,
    rows_of,
    train_reviser,
)
from orchestration.training.reviser_job import CHAINS, SAMPLES
from orchestration.training.step_data import held_out
from orchestration.training.trainer import BatchTrainer
from tests.support.model_folders import EOS, Folder, tokenizer_of

TINY = RevisionTraining(
    optimizer="muon",
    lr=0.01,
    matrix_lr=0.02,
    epochs=2,
    evaluations=2,
    held_out_share=0.3,
    tokens_per_step=256,
    save_every=2,
)
FORMAT = RevisionFormat()
CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Folder("small").save(tmp_path_factory.mktemp("policy"))


def learnt(count: int = 40) -> tuple[list[Learnt], dict[str, tuple[int, ...]]]:
    """Pairs whose answer is the last attempt with one token more."""
    pairs, prompts = [], {}
    for number in range(count):
        name = f"p{number}"
        prompts[name] = (20 + number % 9, 30)
        attempts = tuple((40 + number % 7, 50 + place, EOS) for place in range(number % 4))
        pairs.append(Learnt(name, attempts, (40 + number % 7, 50, 60, EOS)))
    return pairs, prompts


def rows(settings: RevisionTraining, context: int = 128) -> Rows:
    pairs, prompts = learnt()
    revising = FORMAT.bind(tokenizer_of("byte-level"), [EOS], chat=False)
    return rows_of(pairs, prompts, revising, context, 8, settings)


def test_the_loss_is_on_the_right_answer_alone_and_sides_share_no_problem() -> None:
    pairs, prompts = learnt()
    revising = FORMAT.bind(tokenizer_of("byte-level"), [EOS], chat=False)
    for pair in pairs:
        out = held_out(pair.problem_id, 0.3, 0)
        made = rows_of([pair], prompts, revising, 128, 8, TINY)
        [row] = made.held if out else made.kept
        assert tuple(row.ids) == revising.context(prompts[pair.problem_id], pair.attempts) + pair.answer
        item = BatchedRows([row], 256, 0, 0)[0]
        taught = item["labels"][0] >= 0
        assert tuple(item["input_ids"][0][taught].tolist()) == pair.answer
    both = rows(TINY)
    assert len(both.kept) + len(both.held) == len(pairs)
    assert both.shown[0] + both.shown[1] == sum(bool(pair.attempts) for pair in pairs)


def test_a_row_sees_as_many_attempts_as_it_will_have_room_for_when_it_serves() -> None:
    pair = Learnt("p", ((40, 41, 42, EOS),) * 3, (43, EOS))
    revising = FORMAT.bind(tokenizer_of("byte-level"), [EOS], chat=False)

    def shown(context: int) -> list[int]:
        made = rows_of([pair], {"p": (20, 30)}, revising, context, 8, replace(TINY, held_out_share=0.01))
        return [(len(row.ids) - 4) // 4 for row in made.kept]

    assert [shown(context) for context in (24, 18, 14, 10)] == [[3], [2], [1], [0]]
    assert rows_of([pair], {"p": tuple(range(20, 30))}, revising, 10, 8, TINY).too_long == 1


@pytest.mark.parametrize(
    ("losses", "after", "ends"),
    [
        ([3.0], 1, False),
        ([3.0, 2.0], 1, False),
        ([3.0, 2.0, 2.1], 1, True),
        ([3.0, 2.0, 2.0], 1, True),
        ([3.0, 2.0, 2.1], 2, False),
        ([3.0, 2.0, 2.1, 1.9], 2, False),
        ([3.0, 2.0, 2.1, 2.05], 2, True),
        ([], 1, False),
    ],
)
def test_it_ends_slightly_after_the_lowest_held_out_loss(losses: list[float], after: int, ends: bool) -> None:
    assert ended(losses, after) is ends


def test_its_weights_are_those_of_where_it_ended(policy: Path, tmp_path: Path) -> None:
    # So fast that the held-out loss rises at once.
    wild = replace(TINY, epochs=20, matrix_lr=2.0, lr=2.0)
    told = train_reviser(wild, policy, FORMAT, rows(wild), tmp_path)
    assert told["ended"] == "after the lowest held-out loss"
    losses = told["held_out_losses"]
    assert ended(losses, 1)
    assert not ended(losses[:-1], 1)
    assert told["epochs"] < 20
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    held = BatchedRows(rows(wild).held, 256, 0, 0)
    with torch.inference_mode():
        means = [float(model(**held[i]).loss) for i in range(len(held))]
    assert sum(means) / len(means) == pytest.approx(losses[-1], rel=1e-3)


def test_a_folder_has_the_policys_tokenizer_and_the_format(policy: Path, tmp_path: Path) -> None:
    shown = replace(FORMAT, first=True)
    told = train_reviser(replace(TINY, epochs=1), policy, shown, rows(TINY), tmp_path)
    assert told["ended"] == "with the last step"
    assert told["held_out_losses"][-1] < told["held_out_losses"][0]
    assert tokenizer_hash(tmp_path) == tokenizer_hash(policy)
    assert trained_format(tmp_path) == shown
    assert not (tmp_path / "checkpoints").exists()
    assert json.loads((tmp_path / "training.json").read_text()) == told


def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(folder: Path, **more: Any) -> dict[str, Any]:
        changed = replace(TINY, **more)
        return train_reviser(changed, policy, FORMAT, rows(changed), folder)

    whole, steps = start(tmp_path / "whole"), 0
    original = BatchTrainer.training_step

    def interrupted(self: BatchTrainer, *args: Any, **kwargs: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(BatchTrainer, "training_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            start(tmp_path / "parts")
    with pytest.raises(UserError, match="with other lr was interrupted"):
        start(tmp_path / "parts", lr=0.5)
    assert start(tmp_path / "parts") == whole
    weights = "model.safetensors"
    assert (tmp_path / "parts" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


@pytest.mark.parametrize("family", ["LlamaConfig", "Qwen2Config"])
def test_a_chat_model_is_tuned_by_low_rank_additions(family: str, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    base = Folder(family, family=family, template=CHATML, config=(("num_key_value_heads", 2),)).save(
        tmp_path / "base"
    )
    tokenizer = tokenizer_of("byte-level")
    tokenizer.chat_template = CHATML
    revising = RevisionFormat(turn="Again.").bind(tokenizer, [EOS], chat=True)
    pairs, prompts = learnt(20)
    prompt = tuple(PromptFormat("{question}", chat=True).prompt_ids(tokenizer, "2 + 2?"))
    settings = replace(TINY, optimizer="adamw", lr=1e-2, lora_rank=2, epochs=1)
    made = rows_of(pairs, dict.fromkeys(prompts, prompt), revising, 128, 8, settings)
    told = train_reviser(settings, base, RevisionFormat(turn="Again."), made, tmp_path / "out")
    assert told["held_out_losses"][-1] < told["held_out_losses"][0]
    # Merged: a folder like any other, and no other matrices than before.
    before, after = (AutoModelForCausalLM.from_pretrained(one) for one in (base, tmp_path / "out"))
    changed = {
        name
        for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(old, new)
    }
    assert len(changed) == 14
    assert all("_proj" in name for name in changed)
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == CHATML


def test_pairs_without_a_wrong_answer_on_a_side_are_refused() -> None:
    for shown, where in (([0, 0], ""), ([0, 3], " to train on"), ([3, 0], " held out")):
        with pytest.raises(
            UserError, match=f"^parts: no problem{where} has both right and wrong.*12 samples"
        ):
            check_rows(Rows(shown=shown), "12 samples, 12 of them used", SAMPLES)
    with pytest.raises(
        UserError, match=r"^chains: no chain held out goes from a wrong answer to a right one"
    ):
        check_rows(Rows(shown=[3, 0]), "12 attempts in 6 chains", CHAINS)
    check_rows(Rows(shown=[1, 1]), "", SAMPLES)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, r"^training\.epochs = 0"),
        ({"after": 0}, r"^training\.after = 0"),
        ({"held_out_share": 1.0}, r"^training\.held_out_share = 1\.0"),
        ({"lora_rank": -1}, r"^training\.lora_rank = -1"),
        ({"lora_rank": 4}, r"^training\.optimizer = 'muon': with training\.lora_rank"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(TINY, **values)
