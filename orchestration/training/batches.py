"""Labelled solutions as training batches: token ids, step ends and soft labels, padded.

It knows nothing of losses or models. Invariant: the same rows and seed give the same batches in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from actors.errors import UserError
from orchestration.problems.revising import Revising
from orchestration.training.step_data import Solved
from orchestration.training.trainer import batched

IGNORED_LABEL = -100
"""What a token is labelled with that has no part in the loss: the value that torch leaves out."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A training row: prompt and solution ids, the prompt's length, step ends within the whole, a label a step, and one for
    the prompt alone, NaN where there is none."""

    ids: tuple[int, ...]
    prompt: int
    ends: tuple[int, ...]
    labels: tuple[float, ...]
    correct: bool
    problem_id: str
    prompt_label: float = float("nan")


class StepBatches(Dataset[dict[str, Tensor]]):
    """Rows of about equal length in batches of at most `tokens` ids with padding, in a seeded order.

    An item is a whole batch: `input_ids` [B, T]; `language` [B, T], the ids that the language loss counts (-100
    elsewhere); `step_of` [B, T], the step a token belongs to (-1: prompt, padding); `ends` [B, 1 + S], the position of the
    last token of the prompt and of each step; `targets` [B, 1 + S], NaN where a row has fewer steps.
    """

    def __init__(self, rows: Sequence[Labelled], tokens: int, pad: int, seed: int) -> None:
        self._batches = batched([len(row.ids) for row in rows], tokens, seed)
        self.rows, self._pad = rows, pad

    def __len__(self) -> int:
        return len(self._batches)

    def members(self, index: int) -> list[Labelled]:
        return [self.rows[i] for i in self._batches[index]]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rows = self.members(index)
        width, steps = max(len(r.ids) for r in rows), max(len(r.ends) for r in rows)
        ids = torch.full((len(rows), width), self._pad, dtype=torch.long)
        language = torch.full((len(rows), width), IGNORED_LABEL, dtype=torch.long)
        step_of = torch.full((len(rows), width), -1, dtype=torch.long)
        ends = torch.zeros((len(rows), 1 + steps), dtype=torch.long)
        targets = torch.full((len(rows), 1 + steps), float("nan"))
        for place, row in enumerate(rows):
            length = len(row.ids)
            ids[place, :length] = torch.tensor(row.ids)
            if row.correct:
                language[place, row.prompt : length] = ids[place, row.prompt : length]
            start = row.prompt
            for number, end in enumerate(row.ends):
                step_of[place, start:end] = number
                start = end
            ends[place, : 1 + len(row.ends)] = torch.tensor((row.prompt, *row.ends)) - 1
            targets[place, : 1 + len(row.labels)] = torch.tensor((row.prompt_label, *row.labels))
        return {"input_ids": ids, "language": language, "step_of": step_of, "ends": ends, "targets": targets}


@dataclass(frozen=True, slots=True)
class Shown:
    """How a verifier reads the attempts before an answer: their format, and the room in tokens that its policy had for
    prompt and attempts."""

    revising: Revising
    room: int


def training_rows(
    solved: Iterable[Solved], prompts: dict[str, tuple[int, ...]], context: int, shown: Shown | None = None
) -> list[Labelled]:
    """Put prompts before solutions, with earlier attempts where these are `shown`. A solution whose prompt is unknown, or
    that exceeds `context` tokens, is an error."""
    rows = []
    for one in solved:
        prompt = prompts[one.problem_id]
        if shown is not None:
            prompt = shown.revising.context(prompt, one.earlier, shown.room)
        if len(prompt) + len(one.token_ids) > context:
            raise UserError.of("verifier context", context, f"{one.problem_id} has a longer solution")
        rows.append(
            Labelled(
                ids=prompt + one.token_ids,
                prompt=len(prompt),
                ends=tuple(len(prompt) + end for end in one.step_ends),
                labels=one.labels,
                correct=one.correct,
                problem_id=one.problem_id,
                prompt_label=one.prompt_label,
            )
        )
    return rows
