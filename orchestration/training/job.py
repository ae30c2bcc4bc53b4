"""The whole making of a verifier: sample the policy on training problems, roll out from its steps, train, write the card.

Sampling is an evaluation like any other, through replicas and into run folders, so it is resumable and its tables can be
read. It knows nothing of how either is done. Invariant: only training problems are used, and a finished part is not done
again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from actors.errors import UserError
from actors.work import Progress
from orchestration.setup.settings import PATH, EvaluateSettings
from orchestration.training.prm import PrmTraining, train_prm
from orchestration.training.sampling import (
    Part,
    SampledJob,
    draw,
    prepared_sampling,
    prompts_of,
    sampling_of,
    tell_of_chat,
)


@dataclass(frozen=True, slots=True)
class Sampled(Part):
    """A part, and which stage of the training it feeds."""

    use: Literal["language", "value", "both"] = "both"


@dataclass(frozen=True, slots=True)
class PrmJob(SampledJob):
    """From a policy to its verifier.

    `parts` are sampled in turn; `majority(n=4)` gives samples labelled by their answers, `monte_carlo(samples=4,rollouts=4)`
    soft labels at every step (paper section 5.1: 16 and 16); one that only feeds the language stage is left out where the
    training has none.
    """

    runs: str = field(default="runs/prm", metadata=PATH)
    parts: tuple[Sampled, ...] = (
        Sampled(70_000, 1, "majority(n=2)", "language"),
        Sampled(1_200, 2, "monte_carlo(samples=6,rollouts=4)", "value"),
    )
    training: PrmTraining = field(default_factory=PrmTraining)

    def __post_init__(self) -> None:
        if not any(part.use != "language" for part in self.parts):
            raise UserError.of("parts", self.parts, "at least one part must feed the value stage")
        if len({part.seed for part in self.parts}) < len(self.parts):
            raise UserError.of("parts", [p.seed for p in self.parts], "each part needs a seed of its own")


def sampling_settings(job: PrmJob, number: int) -> EvaluateSettings:
    """The evaluation that draws one part."""
    return sampling_of(job, number, job.parts[number])


def make_prm(
    job: PrmJob,
    output: Path,
    on_progress: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Sample what is missing of every part, train the verifier and write it to `output`; return its measures. `say` is told,
    in lines, what a user should know on the way."""
    tell_of_chat(job, say)
    tables: list[tuple[str, pa.Table]] = []
    prompts: dict[str, tuple[int, ...]] = {}
    for number, part in enumerate(job.parts):
        if part.use == "language" and not job.training.language_stage:
            continue
        prepared = prepared_sampling(job, number, part)
        tables.append((part.use, draw(prepared, on_progress).candidates()))
        prompts |= prompts_of(prepared)
    return train_prm(
        job.training,
        prepared.policy.path,
        [table for use, table in tables if use != "value"],
        [table for use, table in tables if use != "language"],
        prompts,
        output,
        say,
    )
