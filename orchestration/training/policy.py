"""Trains a small policy from scratch: tokenizer, Llama weights, model folder, from seeds and problems.

It knows nothing of search or verifiers. Invariant: the same settings give the same folder on the same
machine, and a run that was interrupted and resumed ends where an uninterrupted one would have.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from actors.errors import UserError
from actors.memory import keep_freed_memory
from actors.seeds import derive
from orchestration.problems.datasets.generated import Generated, Source
from orchestration.problems.datasets.load import WITH_SOLUTIONS, source_of
from orchestration.problems.problem import Problem, Split
from orchestration.problems.prompting import PromptFormat, solution_ids
from orchestration.training.batches import IGNORED_LABEL
from orchestration.training.checkpoints import claim, last_checkpoint
from orchestration.training.muon import MuonAdamW
from orchestration.training.naming import as_here
from orchestration.training.tokenizer import train_tokenizer
from orchestration.training.trainer import BatchTrainer, batched, linear_schedule, trainer_arguments


@dataclass(frozen=True, slots=True)
class PolicyShape:
    """A Llama's size: width and feed-forward width in units, `context` in tokens."""

    width: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 352
    context: int = 1024


@dataclass(frozen=True, slots=True)
class PolicyTraining:
    """All that decides the trained policy.

    `dataset` and `options` name a generator of problems with worked solutions. `tokens_per_step` counts padding. Learning
    rates rise over the first `warmup` share of the steps and fall linearly to 0. `save_every` is in steps.
    """

    dataset: str
    options: dict[str, Any] = field(default_factory=dict)
    shape: PolicyShape = field(default_factory=PolicyShape)
    prompt: PromptFormat = field(default_factory=PromptFormat)
    vocabulary: int = 512
    tokenizer_problems: int = 20_000
    problems: int = 100_000
    validation_problems: int = 500
    tokens_per_step: int = 4096
    muon_lr: float = 0.02
    adamw_lr: float = 0.002
    warmup: float = 0.02
    seed: int = 0
    threads: int = 1
    save_every: int = 200

    def __post_init__(self) -> None:
        for name in ("tokenizer_problems", "problems", "validation_problems", "threads", "save_every"):
            if getattr(self, name) < 1:
                raise UserError.of(name, getattr(self, name), "it must be at least 1")
        if self.vocabulary < 259:
            raise UserError.of("vocabulary", self.vocabulary, "256 bytes and 3 special tokens need 259")
        if self.tokens_per_step < self.shape.context:
            raise UserError.of(
                "tokens_per_step", self.tokens_per_step, "it must hold a row of shape.context tokens"
            )


@dataclass(frozen=True, slots=True)
class Row:
    """One training row: `ids` are prompt and solution, the first `prompt` of them carry no loss."""

    ids: np.ndarray[Any, np.dtype[np.int32]]
    prompt: int


class BatchedRows(Dataset[dict[str, Tensor]]):
    """Rows of about equal length in batches of at most `tokens` ids with padding, in a seeded order.

    An item is a whole batch, so that a Trainer's own bookkeeping (steps, resuming) sees a plain sequence.
    """

    def __init__(self, rows: Sequence[Row], tokens: int, pad: int, seed: int) -> None:
        self._batches = batched([len(row.ids) for row in rows], tokens, seed)
        self._rows, self._pad = rows, pad

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return `input_ids` and `labels`, both int64 (rows, width), padded at the right.

        No attention mask: under causal attention what stands left never sees padding at the right.
        """
        rows = [self._rows[i] for i in self._batches[index]]
        width = max(len(row.ids) for row in rows)
        ids = np.full((len(rows), width), self._pad, dtype=np.int64)
        labels = np.full((len(rows), width), IGNORED_LABEL, dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row.ids)] = row.ids
            labels[place, row.prompt : len(row.ids)] = row.ids[row.prompt :]
        return {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(labels)}


def encode_rows(
    problems: Iterator[Problem], tokenizer: PreTrainedTokenizerFast, prompt: PromptFormat, context: int
) -> list[Row]:
    """Return the training rows of the problems.

    All of them have solutions. A problem longer than `context` tokens raises UserError.
    """
    rows = []
    for problem in problems:
        assert problem.solution is not None
        start = prompt.prompt_ids(tokenizer, problem.question)
        ids = start + solution_ids(tokenizer, problem.solution)
        if len(ids) > context:
            raise UserError.of("shape.context", context, f"{problem.id} needs {len(ids)} tokens")
        rows.append(Row(np.asarray(ids, dtype=np.int32), len(start)))
    return rows


def build_model(shape: PolicyShape, tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """Return a freshly initialised float32 Llama with tied embeddings for this tokenizer."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config).to(torch.float32)


_HERE = {"dataset.name": "dataset", "dataset.options": "options"}
"""Settings of an evaluation that have other names in a training."""


def _source(settings: PolicyTraining) -> Source:
    """Where the problems come from. Raises UserError where they have no worked solutions."""
    try:
        source = source_of(settings.dataset, dict(settings.options))
        first = next(iter(_drawn(Generated(source, "train", 1, settings.seed), "problems")))
    except UserError as error:
        raise as_here(error, _HERE) from None
    if first.solution is None:
        mend = f"it has no worked solutions, which a policy learns from: {WITH_SOLUTIONS} have"
        raise UserError.of("dataset", settings.dataset, mend)
    return source


def _drawn(problems: Generated, name: str) -> Iterator[Problem]:
    """The problems. Raises UserError by this name where there are not so many."""
    try:
        yield from problems
    except UserError as error:
        raise as_here(error, {"dataset.count": name}) from None


def train_policy(settings: PolicyTraining, output: Path) -> dict[str, float]:
    """Train a policy and write it to `output`: config, safetensors weights, tokenizer, `training.json`.

    An interrupted run in `output/checkpoints` is resumed. Returns the validation loss (nats per solution
    token), the number of steps and of training tokens without padding.
    """
    keep_freed_memory()
    torch.set_num_threads(settings.threads)
    source = _source(settings)
    output.mkdir(parents=True, exist_ok=True)

    def generated(split: Split, name: str) -> Iterator[Problem]:
        return _drawn(Generated(source, split, getattr(settings, name), settings.seed), name)

    texts = (
        f"{problem.question}\n{problem.solution}\n" for problem in generated("train", "tokenizer_problems")
    )
    tokenizer = train_tokenizer(texts, settings.vocabulary)
    tokenizer.model_max_length = settings.shape.context

    def rows(split: Split, name: str) -> list[Row]:
        return encode_rows(generated(split, name), tokenizer, settings.prompt, settings.shape.context)

    training, validation = rows("train", "problems"), rows("validation", "validation_problems")
    assert isinstance(tokenizer.pad_token_id, int)
    batches = BatchedRows(
        training, settings.tokens_per_step, tokenizer.pad_token_id, derive("batches", settings.seed)
    )
    held_out = BatchedRows(validation, settings.tokens_per_step, tokenizer.pad_token_id, 0)

    model = build_model(settings.shape, tokenizer, derive("weights", settings.seed))
    # For training alone: set at the model's birth it would be in its generation config for ever.
    model.config.use_cache = False
    optimizer = MuonAdamW(model, settings.muon_lr, settings.adamw_lr)
    checkpoints = output / "checkpoints"
    claim(checkpoints, asdict(settings))
    # Both optimizers scale their steps themselves.
    arguments = trainer_arguments(
        checkpoints,
        steps=len(batches),
        save_every=settings.save_every,
        evaluate_every=settings.save_every,
        seed=settings.seed,
        use_cpu=True,
    )
    trainer = BatchTrainer(
        model=model,
        args=arguments,
        train_dataset=batches,
        eval_dataset=held_out,
        optimizers=(optimizer, linear_schedule(optimizer, len(batches), settings.warmup)),
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
    loss = float(trainer.evaluate()["eval_loss"])

    model.config.use_cache = True
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    summary = {
        "validation_loss": loss,
        "steps": len(batches),
        "tokens": sum(len(row.ids) for row in training),
    }
    record = {"settings": asdict(settings), "result": summary}
    (output / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    shutil.rmtree(checkpoints, ignore_errors=True)
    return summary
