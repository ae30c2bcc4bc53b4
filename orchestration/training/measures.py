"""What a verifier in training makes of labelled solutions: its values, their loss, and how good they are.

It knows nothing of how it is trained. Invariant: training and measuring read one and the same values.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from actors.engines.verifiers.value_head import FEATURES, STATE, ValueHead, likelihood_features
from orchestration.analysis.statistics import auroc, auroc_within, rank_correlation
from orchestration.training.batches import StepBatches


def step_logits(model: Any, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the value logit of the prompt and of every step [B, 1 + S], and the language-model logits [B, T - 1, V] of the
    tokens after the first.

    The model carries the head as `value_head`. The likelihood that the head reads is cut off from the gradient: it shall
    be read, not bent.
    """
    head: ValueHead = model.value_head
    hidden = model.base_model(input_ids=batch["input_ids"], use_cache=False).last_hidden_state
    logits = model.get_output_embeddings()(hidden[:, :-1]).float()
    with torch.no_grad():
        table = torch.log_softmax(logits, dim=-1)
        logprobs = table.gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
        entropies = -(table.exp() * table).sum(-1)
        features, _ = likelihood_features(
            logprobs,
            entropies,
            batch["step_of"][:, 1:],
            batch["ends"].shape[1] - 1,
            logprobs.new_zeros((len(logprobs), STATE)),
        )
        # As the head has it where it judges a prompt alone.
        features = torch.cat((features.new_zeros((len(features), 1, FEATURES)), features), dim=1)
    at = hidden.gather(1, batch["ends"][..., None].expand(-1, -1, hidden.shape[-1]))
    return head(at.float(), features), logits


def value_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy against soft labels, mean over the prompts and steps that have one."""
    known = ~targets.isnan()
    return F.binary_cross_entropy_with_logits(logits[known], targets[known])


def on_device(batch: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in batch.items()}


@torch.inference_mode()
def measure(model: Any, batches: StepBatches) -> dict[str, Any]:
    """Judge a verifier on held-out solutions: AUROC over all and within a question, against its own likelihood; calibration
    by step position (mean value and mean label of the first, second, ... step); and the values of prompts alone against the
    shares of right samples, one a question: the mean over its rows, where parts that met it have a share of it each."""
    model.eval()
    last: list[float] = []
    likelihood: list[float] = []
    right: list[bool] = []
    groups: list[str] = []
    by_position: dict[int, list[tuple[float, float]]] = {}
    prompts: dict[str, list[tuple[float, float]]] = {}
    for index in range(len(batches)):
        batch = on_device(batches[index], model.device)
        values, logits = step_logits(model, batch)
        values = torch.sigmoid(values)
        table = torch.log_softmax(logits, dim=-1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
        inside = batch["step_of"][:, 1:] >= 0
        sums = torch.where(inside, table, 0.0).sum(-1)
        for row, one in enumerate(batches.members(index)):
            last.append(float(values[row, len(one.ends)]))
            likelihood.append(float(sums[row]))
            right.append(one.correct)
            groups.append(one.problem_id)
            prompts.setdefault(one.problem_id, []).append((float(values[row, 0]), one.prompt_label))
            for number, label in enumerate(one.labels, start=1):
                by_position.setdefault(number, []).append((float(values[row, number]), label))
    within, questions = auroc_within(last, right, groups)
    # A prompt's value differs between batches by rounding alone.
    judged = [(rows[0][0], float(np.mean([label for _, label in rows]))) for rows in prompts.values()]
    return {
        "auroc": auroc(last, right),
        # What cannot be told is no number, in JSON either.
        "auroc_within_question": within if questions else None,
        "questions_with_both": questions,
        "likelihood_auroc": auroc(likelihood, right),
        "likelihood_auroc_within_question": auroc_within(likelihood, right, groups)[0] if questions else None,
        "prompts": _means(judged) | {"rank_correlation": rank_correlation(*zip(*judged, strict=True))},
        "calibration": [{"step": number} | _means(pairs) for number, pairs in sorted(by_position.items())],
    }


def _means(pairs: list[tuple[float, float]]) -> dict[str, float]:
    values, labels = zip(*pairs, strict=True)
    return {"count": len(pairs), "mean_value": float(np.mean(values)), "mean_label": float(np.mean(labels))}
