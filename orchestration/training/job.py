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

from actors.engines.folder_files import has_chat_template
from actors.engines.plan import ReplicaShare
from actors.errors import UserError
from actors.work import Progress
from orchestration.runs.evaluation import evaluate
from orchestration.setup.model_folders import model_folder
from orchestration.setup.prepare import prepare
from orchestration.setup.settings import (
    PATH,
    QUOTED,
    ClusterSettings,
    DatasetSettings,
    EvaluateSettings,
    PolicySettings,
    PromptSettings,
    VerifierSettings,
)
from orchestration.training.naming import as_here
from orchestration.training.prm import PrmTraining, train_prm


@dataclass(frozen=True, slots=True)
class Sampled:
    """One part of the data: how many problems, which of them (`seed`), what is drawn for each, and which stage of the
    training it feeds."""

    problems: int
    seed: int
    strategy: str
    use: Literal["language", "value", "both"] = "both"


@dataclass(frozen=True, slots=True)
class PrmJob:
    """From a policy to its verifier.

    `parts` are sampled in turn; `majority(n=4)` gives samples labelled by their answers, `monte_carlo(samples=4,rollouts=4)`
    soft labels at every step (paper section 5.1: 16 and 16); one that only feeds the language stage is left out where the
    training has none. `dataset` and `options` name a generator of training problems, of which each part takes others by
    its seed. `prompt`, `chat`, `system`, `shots`, `examples` and `examples_seed` are what the policy reads, `delimiter`,
    `stop` and `end_after_answer` what ends a step and a solution, as in `flopwise evaluate`; `replicas` are the policy
    replicas that sample, one core each.
    """

    policy: str
    dataset: str
    options: dict[str, Any] = field(default_factory=dict)
    grader: Any = "number"
    prompt: str = "{question}\n"
    chat: bool = False
    system: str | None = None
    shots: int = 0
    examples: str | None = field(default=None, metadata=PATH)
    examples_seed: int = 0
    delimiter: str = "\n"
    stop: list[str] = field(default_factory=list, metadata=QUOTED)
    end_after_answer: bool | None = False
    max_tokens: int = 256
    parts: tuple[Sampled, ...] = (
        Sampled(70_000, 1, "majority(n=2)", "language"),
        Sampled(1_200, 2, "monte_carlo(samples=6,rollouts=4)", "value"),
    )
    replicas: int = 2
    runs: str = field(default="runs/prm", metadata=PATH)
    training: PrmTraining = field(default_factory=PrmTraining)

    def __post_init__(self) -> None:
        if not any(part.use != "language" for part in self.parts):
            raise UserError.of("parts", self.parts, "at least one part must feed the value stage")
        if len({part.seed for part in self.parts}) < len(self.parts):
            raise UserError.of("parts", [p.seed for p in self.parts], "each part needs a seed of its own")


def sampling_settings(job: PrmJob, number: int) -> EvaluateSettings:
    """The evaluation that draws one part."""
    part = job.parts[number]
    return EvaluateSettings(
        folder=str(Path(job.runs) / f"part-{number}"),
        strategies=[part.strategy],
        dataset=DatasetSettings(
            name=job.dataset,
            split="train",
            count=part.problems,
            seed=part.seed,
            options=dict(job.options),
            grader=job.grader,
        ),
        policy=PolicySettings(
            path=job.policy,
            max_tokens=job.max_tokens,
            delimiter=job.delimiter,
            stop=list(job.stop),
            end_after_answer=job.end_after_answer,
            prompt=PromptSettings(
                job.prompt, job.chat, job.system, job.shots, job.examples, job.examples_seed
            ),
        ),
        verifier=VerifierSettings(path=None),
        cluster=ClusterSettings(policy=ReplicaShare(replicas=job.replicas)),
    )


def make_prm(
    job: PrmJob,
    output: Path,
    on_progress: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Sample what is missing of every part, train the verifier and write it to `output`; return its measures. `say` is told,
    in lines, what a user should know on the way."""
    try:
        untold = not job.chat and has_chat_template(model_folder(job.policy, "policy"), "policy.path")
    except UserError as error:
        raise _as_here(error) from None
    if untold:
        say(
            "chat is false, and the policy's tokenizer has a chat template: a model that was tuned with it answers badly "
            "without; chat=true uses it"
        )
    tables: list[tuple[str, pa.Table]] = []
    prompts: dict[str, tuple[int, ...]] = {}
    for number, part in enumerate(job.parts):
        if part.use == "language" and not job.training.language_stage:
            continue
        try:
            prepared = prepare(sampling_settings(job, number))
        except UserError as error:
            raise _as_here(error) from None
        tables.append((part.use, evaluate(prepared, on_progress=on_progress).candidates()))
        prompts |= _prompts(prepared)
    return train_prm(
        job.training,
        prepared.policy.path,
        [table for use, table in tables if use != "value"],
        [table for use, table in tables if use != "language"],
        prompts,
        output,
        say,
    )


_HERE = {
    "strategies": "parts.strategy",
    "policy.path": "policy",
    "policy.prompt.template": "prompt",
    "policy.prompt.chat": "chat",
    "policy.prompt.system": "system",
    "policy.prompt.shots": "shots",
    "policy.prompt.examples": "examples",
    "policy.delimiter": "delimiter",
    "policy.stop": "stop",
    "policy.max_tokens": "max_tokens",
    "dataset.name": "dataset",
    "dataset.count": "parts.problems",
    "dataset.grader": "grader",
    "dataset.options": "options",
    "cluster.policy.replicas": "replicas",
}
"""Settings of an evaluation that have other names in a job."""


def _as_here(error: UserError) -> UserError:
    """The same mistake by the name that this command has for the setting."""
    told = as_here(error, _HERE)
    if told is error:
        return error
    return UserError(str(told).replace(", as policy=base does", "").replace("policy=base", "chat=false"))


def _prompts(prepared: Any) -> dict[str, tuple[int, ...]]:
    """Token ids of every problem's prompt, by problem id."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        prepared.policy.tokenizer, local_files_only=True, trust_remote_code=False
    )
    return {
        problem.id: tuple(prepared.prompt.prompt_ids(tokenizer, problem.question))
        for problem in prepared.dataset
    }
