"""Trains a reviser from a policy and pairs of wrong attempts and right answers (paper section 6.1 and appendix H).

Supervised, on the tokens of the right answer alone. The held-out loss is of answers that others drew, so it says little
of how well a chain of the model's own goes: the paper takes a checkpoint slightly after that loss starts to rise.
Exactly: the training ends with the first evaluation that stands `after` evaluations behind the one with the lowest loss,
and its weights are the model; where the loss never rises so long, with the last step. It knows nothing of how pairs are
chosen. Invariants: a problem is trained on or held out, never both; an interrupted training ends where an uninterrupted
one does.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import TrainerCallback

from actors.engines.identity import TOKENIZER_FILES
from actors.engines.model_config import model_hash, read_config
from actors.engines.whole import load_whole
from actors.errors import UserError, counted
from actors.memory import keep_freed_memory
from actors.seeds import derive
from orchestration.problems.revising import Revising, RevisionFormat
from orchestration.training.checkpoints import claim, last_checkpoint
from orchestration.training.muon import MuonAdamW
from orchestration.training.pair_store import Learnt
from orchestration.training.policy import BatchedRows, Row
from orchestration.training.step_data import held_out
from orchestration.training.trainer import BatchTrainer, linear_schedule, trainer_arguments


@dataclass(frozen=True, slots=True)
class RevisionTraining:
    """All that decides the trained reviser, but for its data and format.

    `optimizer`: "adamw" as in the paper, with `lr` for all weights; "muon" for small models, with `matrix_lr` for the
    matrices and `lr` for all else. Learning rates rise over the first `warmup` share of the steps and fall linearly to 0.
    `epochs` is an upper bound; the held-out loss is taken `evaluations` times an epoch, and the training ends `after`
    evaluations behind the lowest. `lora_rank` above 0 trains low-rank additions to the matrices alone, which are merged
    into the weights.
    """

    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-5
    matrix_lr: float = 0.005
    warmup: float = 0.02
    epochs: int = 3
    evaluations: int = 4
    after: int = 1
    lora_rank: int = 0
    lora_alpha: float = 32.0
    held_out_share: float = 0.1
    tokens_per_step: int = 16_384
    seed: int = 0
    threads: int = 1
    save_every: int = 200

    def __post_init__(self) -> None:
        for name in ("epochs", "evaluations", "after", "threads", "save_every"):
            if getattr(self, name) < 1:
                raise UserError.of(f"training.{name}", getattr(self, name), "it must be at least 1")
        if not 0 < self.held_out_share < 1:
            raise UserError.of("training.held_out_share", self.held_out_share, "a share between 0 and 1")
        if self.lora_rank < 0:
            raise UserError.of(
                "training.lora_rank", self.lora_rank, "0 trains all weights, or a rank above it"
            )
        if self.lora_rank and self.optimizer == "muon":
            mend = "with training.lora_rank the matrices are not trained themselves: set adamw"
            raise UserError.of("training.optimizer", self.optimizer, mend)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Where pairs come from, in words for who has too few: the setting, what none is, and what there is to do."""

    field: str
    none: str
    mend: str

    def nothing(self, of: str, side: str = "") -> UserError:
        """That there is nothing to learn, of one side or both."""
        return UserError(f"{self.field}: {self.none.format(side=side)} ({of}): {self.mend}")


@dataclass
class Rows:
    """Training rows of both sides, and how many pairs were longer than the model's context."""

    kept: list[Row] = field(default_factory=list)
    held: list[Row] = field(default_factory=list)
    shown: list[int] = field(default_factory=lambda: [0, 0])
    too_long: int = 0


class _Stop(TrainerCallback):  # type: ignore[misc]
    """Ends a training behind the lowest held-out loss, and tells each."""

    def __init__(self, after: int, say: Callable[[str], None]) -> None:
        self._after, self._say = after, say

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **_: Any
    ) -> None:
        losses = losses_of(state)
        self._say(f"reviser: epoch {state.epoch:.2f}, held-out loss {metrics['eval_loss']:.4f}")
        if ended(losses, self._after):
            control.should_training_stop = True


def losses_of(state: Any) -> list[float]:
    """The held-out losses of a training so far, one an evaluation."""
    return [float(entry["eval_loss"]) for entry in state.log_history if "eval_loss" in entry]


def ended(losses: list[float], after: int) -> bool:
    """Whether the newest of these held-out losses stands `after` evaluations behind the lowest (the first of equal ones)."""
    return bool(losses) and len(losses) - 1 - int(np.argmin(losses)) >= after


def rows_of(
    pairs: Iterable[Learnt],
    prompts: Mapping[str, tuple[int, ...]],
    revising: Revising,
    context: int,
    max_tokens: int,
    settings: RevisionTraining,
) -> Rows:
    """Training rows: what stands before the answer is what it will be when the model serves, in as much room as an answer of
    `max_tokens` leaves there of `context`. The loss is on the answer."""
    rows = Rows()
    for pair in pairs:
        before = revising.context(prompts[pair.problem_id], pair.attempts, context - max_tokens)
        ids = before + pair.answer
        if len(ids) > context:
            rows.too_long += 1
            continue
        out = held_out(pair.problem_id, settings.held_out_share, settings.seed)
        rows.shown[out] += bool(pair.attempts)
        (rows.held if out else rows.kept).append(Row(np.asarray(ids, dtype=np.int32), len(before)))
    return rows


def check_rows(rows: Rows, of: str, recipe: Recipe) -> None:
    """Raise UserError where no right answer has a wrong one before it, on the side that is trained on or that is held out:
    there is nothing to learn, or to stop by. `of` says what the pairs were made of."""
    if all(rows.shown):
        return
    side = "" if not any(rows.shown) else " to train on" if not rows.shown[0] else " held out"
    long = f", {counted(rows.too_long, 'pair')} longer than the model's context" if rows.too_long else ""
    raise recipe.nothing(f"{of}{long}", side)


def train_reviser(
    settings: RevisionTraining,
    base: Path,
    format: RevisionFormat,
    rows: Rows,
    output: Path,
    say: Callable[[str], None] = lambda _: None,
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train a reviser from the model in `base` and write it to `output`, with the format that it reads.

    An interrupted training goes on from `output/checkpoints`. `say` is told each held-out loss. Returns, and writes to
    `training.json`, the number of pairs, the held-out losses (nats per token of the answer), where it ended, and the `data`
    that the rows were made of, as JSON values.
    """
    from transformers import AutoTokenizer

    keep_freed_memory()
    torch.set_num_threads(settings.threads)
    torch.manual_seed(derive("reviser", settings.seed) % (1 << 31))
    check_lora(settings)
    tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    pad = tokenizer.pad_token_id or 0
    longest = max(len(row.ids) for row in (*rows.kept, *rows.held))
    tokens = max(settings.tokens_per_step, longest)
    batches = BatchedRows(rows.kept, tokens, pad, derive("batches", settings.seed))
    held = BatchedRows(rows.held, tokens, pad, 0)
    checkpoints = output / "checkpoints"
    claim(
        checkpoints,
        {**asdict(settings), "format": asdict(format), "policy": model_hash(base), "pairs": _digest(rows)},
    )
    model = load_whole(base, read_config(base), dtype=torch.float32)
    model.config.use_cache = False
    if settings.lora_rank:
        model = _with_lora(model, settings)
    steps = len(batches) * settings.epochs
    optimizer: torch.optim.Optimizer
    if settings.optimizer == "muon":
        optimizer = MuonAdamW(model, settings.matrix_lr, settings.lr)
    else:
        trained = [one for one in model.parameters() if one.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=settings.lr, betas=(0.9, 0.95), weight_decay=0.0)
    trainer = BatchTrainer(
        model=model,
        args=trainer_arguments(
            checkpoints,
            steps=steps,
            save_every=settings.save_every,
            evaluate_every=math.ceil(len(batches) / settings.evaluations),
            seed=settings.seed,
            clip=0.0 if settings.optimizer == "muon" else 1.0,
        ),
        train_dataset=batches,
        eval_dataset=held,
        optimizers=(optimizer, linear_schedule(optimizer, steps, settings.warmup)),
        callbacks=[_Stop(settings.after, say)],
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
    losses = losses_of(trainer.state)
    result = {
        "settings": asdict(settings),
        "format": asdict(format),
        "data": dict(data or {}),
        "pairs": len(rows.kept),
        "pairs_with_attempts": rows.shown[0],
        "held_out_pairs": len(rows.held),
        "pairs_too_long": rows.too_long,
        "held_out_losses": losses,
        "lowest_loss": min(losses, default=None),
        "last_loss": losses[-1] if losses else None,
        "steps": trainer.state.global_step,
        "epochs": round(trainer.state.global_step / len(batches), 3),
        "ended": "after the lowest held-out loss" if ended(losses, settings.after) else "with the last step",
    }
    if settings.lora_rank:
        model = model.merge_and_unload()
    model.config.use_cache = True
    model.save_pretrained(output)
    # As they are in the policy's folder, file by file: a reviser of another tokenizer would be refused.
    for name in (*TOKENIZER_FILES, "generation_config.json"):
        if (base / name).is_file():
            shutil.copyfile(base / name, output / name)
    format.write(output)
    (output / "training.json").write_text(json.dumps(result, indent=2) + "\n")
    shutil.rmtree(checkpoints, ignore_errors=True)
    return result


def check_lora(settings: RevisionTraining) -> None:
    """Raise UserError where low-rank additions are asked for and PEFT is not installed."""
    import importlib.util

    if settings.lora_rank and importlib.util.find_spec("peft") is None:
        mend = (
            "PEFT is not installed here: in a checkout of flopwise, pip install -e '.[lora]', or set 0, which trains all "
            "weights"
        )
        raise UserError.of("training.lora_rank", settings.lora_rank, mend)


def _with_lora(model: Any, settings: RevisionTraining) -> Any:
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora)


def _digest(rows: Rows) -> str:
    """Hash of all rows of both sides, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for side in (rows.kept, rows.held):
        for row in side:
            digest.update(row.prompt.to_bytes(4, "big") + row.ids.tobytes())
        digest.update(b"\0")
    return digest.hexdigest()
