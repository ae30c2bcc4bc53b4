"""Trains a process reward model from a policy and runs of its sampled solutions.

Two stages, each a switch. The language stage continues the policy's own objective on samples that were verified correct
(Cobbe et al. 2021 keep it beside the verifier's), so that labelled problems become knowledge the policy lacks. The value
stage fits the value head, by binary cross-entropy against soft labels at step ends and at the prompt's end, stopping at the
lowest loss on held-out problems (paper section 5.1). The plain recipe of the paper is `language_weight=0, likelihood=False,
width=0, train_backbone=True`. It knows nothing of how samples were drawn. Invariant: held-out problems are never trained on.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import EarlyStoppingCallback, TrainerCallback, TrainingArguments

from actors.engines.model_config import model_hash, read_config
from actors.engines.positions import steady_context
from actors.engines.verifiers.value_head import ValueHead, ValueHeadConfig
from actors.engines.whole import load_whole
from actors.errors import UserError
from actors.memory import keep_freed_memory
from actors.seeds import derive
from orchestration.setup.model_folders import has_value_head
from orchestration.training.batches import IGNORED_LABEL, Labelled, Shown, StepBatches
from orchestration.training.checkpoints import claim, last_checkpoint
from orchestration.training.measures import measure, on_device, step_logits, value_loss
from orchestration.training.muon import MuonAdamW
from orchestration.training.sides import check_right, check_values, split
from orchestration.training.trainer import BatchTrainer, linear_schedule, trainer_arguments

_FLAT = 0.01
"""By which share a loss falls at least, to count as falling."""


@dataclass(frozen=True, slots=True)
class PrmTraining:
    """All that decides the trained verifier.

    `language_weight`: weight of the language-model loss on verified-correct samples (0: no language stage, and none beside
    the value loss). `hidden`, `likelihood`, `width`: what the head reads and its hidden units. `train_backbone`: whether the
    value loss reaches the backbone too. `language_epochs` are run in full, `value_epochs` is an upper bound, `patience` the
    epochs without a lower held-out loss after which the value stage stops. Learning rates fall linearly to 0.
    """

    language_weight: float = 1.0
    hidden: bool = True
    likelihood: bool = True
    width: int = 64
    train_backbone: bool = False
    language_epochs: int = 3
    value_epochs: int = 6
    patience: int = 3
    language_lr: float = 0.02
    embedding_lr: float = 0.002
    value_lr: float = 0.002
    backbone_lr: float = 3e-5
    held_out_share: float = 0.1
    tokens_per_step: int = 4096
    seed: int = 0
    threads: int = 1
    save_every: int = 200

    @property
    def language_stage(self) -> bool:
        """Whether there is one: the language objective stays on, and not beside the value loss."""
        return self.language_weight > 0 and not self.train_backbone

    def __post_init__(self) -> None:
        if not 0 < self.held_out_share < 1:
            raise UserError.of("training.held_out_share", self.held_out_share, "a share between 0 and 1")
        if self.language_weight < 0:
            raise UserError.of("training.language_weight", self.language_weight, "0 or more")


class _LanguageTrainer(BatchTrainer):
    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Any:
        output = model(input_ids=inputs["input_ids"], labels=inputs["language"], use_cache=False)
        return (output.loss, {"loss": output.loss}) if return_outputs else output.loss


class _Epochs(TrainerCallback):  # type: ignore[misc]
    """Saves checkpoints between the ends of epochs, and tells each epoch's held-out loss."""

    def __init__(self, save_every: int, epochs: int, say: Callable[[str], None]) -> None:
        self._save_every, self._epochs, self._say = save_every, epochs, say

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_save = control.should_save or state.global_step % self._save_every == 0

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **_: Any) -> None:
        loss = metrics["eval_loss"]
        self._say(
            f"value stage: epoch {round(state.epoch)} of at most {self._epochs}, held-out loss {loss:.4f}"
        )


class _ValueTrainer(BatchTrainer):
    """`language_weight` above 0 keeps the language loss beside the value loss, where the backbone is trained."""

    language_weight = 0.0

    def compute_loss(
        self, model: Any, inputs: dict[str, Tensor], return_outputs: bool = False, **_: Any
    ) -> Any:
        values, logits = step_logits(model, inputs)
        loss = value_loss(values, inputs["targets"])
        targets = inputs["language"][:, 1:]
        if model.training and self.language_weight and bool((targets != IGNORED_LABEL).any()):
            language = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED_LABEL)
            loss = loss + self.language_weight * language
        return (loss, {"loss": loss}) if return_outputs else loss


def train_prm(
    settings: PrmTraining,
    base: Path,
    language: Sequence[pa.Table],
    value: Sequence[pa.Table],
    prompts: dict[str, tuple[int, ...]],
    output: Path,
    say: Callable[[str], None] = lambda _: None,
    shown: Shown | None = None,
) -> dict[str, Any]:
    """Train a verifier from the policy in `base` on candidates of finished runs, and write it to `output`; a verifier there
    goes on with its own head.

    `language` tables feed the language stage, `value` tables the value stage; where the two differ, the head is fitted on
    solutions whose likelihood the language stage has not raised by training on them. `prompts` gives the prompt's token
    ids by problem id. With `shown` it is an outcome reward model that reads the attempts before an answer. Interrupted
    stages go on from `output/checkpoints`. `say` is told in a line how many samples each stage uses, and why not the
    others. Returns (and writes to `training.json`) the measures on held-out problems. Raises UserError where too few
    samples are left to train on, or to measure by.
    """
    from transformers import AutoTokenizer

    keep_freed_memory()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(derive("prm", settings.seed) % (1 << 31))
    config = read_config(base)
    context = steady_context(config) or int(config.max_position_embeddings)
    split_on = prompts, context, settings.held_out_share, settings.seed, shown
    sides = split(value, *split_on)
    check_values(sides, say)
    kept, held = sides.kept, sides.held
    correct: list[Labelled] = []
    correct_held: list[Labelled] = []
    if settings.language_stage:
        right = split(language, *split_on).right()
        check_right(right, say)
        correct, correct_held = right.kept, right.held
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    model = load_whole(base, config, dtype=torch.float32)
    begun = has_value_head(base)
    if begun:
        model.value_head = ValueHead.load(base).train()
    else:
        # Of a prompt there is the hidden state alone to read.
        shape = settings.hidden, settings.likelihood, settings.width, settings.hidden
        model.value_head = ValueHead(ValueHeadConfig(model.config.hidden_size, *shape))
    pad = tokenizer.pad_token_id or 0
    checkpoints = output / "checkpoints"
    rows = _digest(kept, held, correct, correct_held)
    claim(checkpoints, {**asdict(settings), "policy": model_hash(base), "samples": rows})
    if settings.language_stage:
        batches = StepBatches(correct, settings.tokens_per_step, pad, derive("language", settings.seed))
        language_held = StepBatches(correct_held, settings.tokens_per_step, pad, 0)
        steps = len(batches) * settings.language_epochs
        optimizer = MuonAdamW(model, settings.language_lr, settings.embedding_lr)
        trainer = _LanguageTrainer(
            model=model,
            args=_arguments(settings, checkpoints / "language", steps),
            train_dataset=batches,
            eval_dataset=language_held,
            optimizers=(optimizer, linear_schedule(optimizer, steps, 0.02)),
        )
        trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints / "language"))
    batches = StepBatches(kept, settings.tokens_per_step, pad, derive("value", settings.seed))
    held_batches = StepBatches(held, settings.tokens_per_step, pad, 0)
    if not begun:
        _standardise(model, batches)
    groups = [{"params": list(model.value_head.parameters()), "lr": settings.value_lr}]
    others = [p for n, p in model.named_parameters() if not n.startswith("value_head")]
    for parameter in others:
        parameter.requires_grad_(settings.train_backbone)
    if settings.train_backbone:
        groups.append({"params": others, "lr": settings.backbone_lr})
    steps = len(batches) * settings.value_epochs
    value_optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0)
    arguments = _arguments(
        settings,
        checkpoints / "value",
        steps,
        save_strategy="epoch",
        eval_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
    )
    value_trainer = _ValueTrainer(
        model=model,
        args=arguments,
        train_dataset=batches,
        eval_dataset=held_batches,
        optimizers=(value_optimizer, linear_schedule(value_optimizer, steps, 0.02)),
        callbacks=[
            _Epochs(settings.save_every, settings.value_epochs, say),
            EarlyStoppingCallback(settings.patience),
        ],
    )
    value_trainer.language_weight = settings.language_weight if settings.train_backbone else 0.0
    value_trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints / "value"))

    told = value_trainer.state.log_history
    losses = [float(entry["eval_loss"]) for entry in told if "eval_loss" in entry]
    measures = {
        "settings": asdict(settings),
        "language_solutions": len(correct),
        "value_solutions": len(kept),
        "held_out_solutions": len(held),
        "held_out_losses": losses,
        **measure(model, held_batches),
    }
    if len(losses) == settings.value_epochs > 1 and losses[-1] < losses[-2] * (1 - _FLAT):
        say("the held-out loss still fell in the last epoch: raise training.value_epochs")
    if not measures["questions_with_both"]:
        say(
            "no held-out problem has right and wrong samples: how well the verifier tells them apart within a question is "
            "not known; draw more samples of each problem (parts), or raise training.held_out_share"
        )
    head = model.value_head
    del model.value_head
    output.mkdir(parents=True, exist_ok=True)
    model.config.use_cache = True
    model.save_pretrained(output)
    tokenizer.save_pretrained(output)
    head.save(output)
    (output / "training.json").write_text(json.dumps(measures, indent=2) + "\n")
    shutil.rmtree(checkpoints, ignore_errors=True)
    return measures


def _digest(*parts: Sequence[Labelled]) -> str:
    """Hash of all rows of all parts, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        for row in part:
            digest.update(repr(row).encode())
        digest.update(b"\0")
    return digest.hexdigest()


@torch.inference_mode()
def _standardise(model: Any, batches: StepBatches) -> None:
    """Set the head's mean and scale from the features of some batches, so that it sees numbers of about unit size."""
    seen: list[Tensor] = []
    head: ValueHead = model.value_head
    hook = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[1]))
    model.eval()
    for index in range(min(len(batches), 50)):
        batch = on_device(batches[index], model.device)
        step_logits(model, batch)
        # Of a prompt alone there are none.
        seen[-1] = seen[-1][:, 1:][~batch["targets"][:, 1:].isnan()]
    hook.remove()
    features = torch.cat(seen)
    head.mean.copy_(features.mean(0))
    head.scale.copy_(features.std(0).clamp(min=1e-3))


def _arguments(settings: PrmTraining, folder: Path, steps: int, **more: Any) -> TrainingArguments:
    return trainer_arguments(
        folder,
        steps=steps,
        save_every=settings.save_every,
        evaluate_every=settings.save_every,
        seed=settings.seed,
        label_names=["language", "targets"],
        **more,
    )
