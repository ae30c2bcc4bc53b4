"""What every training shares: rows of about equal length in batches, the settings of its Trainer, and its learning rate.

It knows nothing of losses, and of models only where they run. Invariant: the same rows and seed give the same batches in the
same order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, SequentialSampler
from transformers import Trainer, TrainingArguments


def batched(lengths: Sequence[int], tokens: int, seed: int) -> list[list[int]]:
    """The numbers of rows of these lengths in batches of at most `tokens` ids with padding, in a seeded order; a longer row
    is a batch of its own."""
    rng = np.random.default_rng(seed)
    # Rows are shuffled before the stable sort, so that equal lengths mix differently with every seed.
    order = rng.permutation(len(lengths))
    order = order[np.argsort([lengths[row] for row in order], kind="stable")]
    batches: list[list[int]] = []
    for row in order.tolist():
        # Sorted, the newest row is the longest: it decides the width.
        if not batches or (len(batches[-1]) + 1) * lengths[row] > tokens:
            batches.append([])
        batches[-1].append(row)
    return [batches[number] for number in rng.permutation(len(batches))]


def trainer_arguments(
    folder: Path,
    *,
    steps: int,
    save_every: int,
    evaluate_every: int,
    seed: int,
    clip: float = 0.0,
    **more: Any,
) -> TrainingArguments:
    """Settings of a Trainer whose items are whole batches, with its checkpoints in `folder`; `more` stands above them."""
    given: dict[str, Any] = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "max_grad_norm": clip,
        "save_steps": save_every,
        "save_total_limit": 2,
        "eval_strategy": "steps",
        "eval_steps": evaluate_every,
        "logging_steps": 50,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed,
        "use_cpu": not torch.cuda.is_available(),
        "remove_unused_columns": False,
        "prediction_loss_only": True,
    }
    return TrainingArguments(**given | more)


def linear_schedule(optimizer: torch.optim.Optimizer, steps: int, warmup: float) -> Any:
    """Return a scheduler: linearly up over the first `warmup` share of the steps, then linearly to 0."""
    rise = max(1, math.ceil(steps * warmup))

    def factor(step: int) -> float:
        return min((step + 1) / rise, (steps - step) / max(1, steps - rise + 1))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


class BatchTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose dataset items are whole batches, taken in their own order."""

    def get_train_dataloader(self) -> DataLoader[Any]:
        return self._loader(self.train_dataset)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        return self._loader(self.eval_dataset if eval_dataset is None else eval_dataset)

    def _loader(self, dataset: Any) -> DataLoader[Any]:
        return DataLoader(dataset, batch_size=1, sampler=SequentialSampler(dataset), collate_fn=_only)


def _only(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return items[0]
