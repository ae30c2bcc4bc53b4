"""What every training from a policy's samples begins with: which policy, on which problems, read and ended how; as the
evaluations that draw them.

It knows nothing of what the samples are for. Invariant: what is drawn for a training is drawn as an evaluation with the same
settings draws it, into run folders of its own, so it is resumed, shared and read like any other run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.engines.folder_files import has_chat_template
from actors.engines.plan import ReplicaShare
from actors.errors import UserError
from actors.work import Progress
from orchestration.runs.evaluation import evaluate
from orchestration.runs.run import Run
from orchestration.setup.model_folders import model_folder
from orchestration.setup.prepare import Prepared, prepare
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


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the samples: how many problems, which of them (`seed`), and what is drawn for each."""

    problems: int
    seed: int
    strategy: str


@dataclass(frozen=True, slots=True)
class SampledJob:
    """A policy and what it is sampled on.

    `dataset` and `options` name a generator of training problems, of which each part takes others by its seed. `prompt`,
    `chat`, `system`, `shots`, `examples`, `examples_seed` and `chat_options` are what the policy reads, `delimiter`, `stop`
    and `end_after_answer` what ends a step and a solution, as in `flopwise evaluate`; `replicas` are the policy replicas that
    sample, one core each. Samples go to `runs`; those that the runs in `reuse` hold already are not drawn again.
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
    chat_options: dict[str, Any] = field(default_factory=dict)
    delimiter: str = "\n"
    stop: list[str] = field(default_factory=list, metadata=QUOTED)
    end_after_answer: bool | None = False
    max_tokens: int = 256
    replicas: int = 2
    runs: str = field(default="runs/samples", metadata=PATH)
    reuse: list[str] = field(default_factory=list, metadata=PATH)


def sampling_of(job: SampledJob, number: int, part: Part) -> EvaluateSettings:
    """The evaluation that draws part `number`."""
    return EvaluateSettings(
        folder=str(Path(job.runs) / f"part-{number}"),
        strategies=[part.strategy],
        reuse=list(job.reuse),
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
                job.prompt,
                job.chat,
                job.system,
                job.shots,
                job.examples,
                job.examples_seed,
                dict(job.chat_options),
            ),
        ),
        verifier=VerifierSettings(path=None),
        cluster=ClusterSettings(policy=ReplicaShare(replicas=job.replicas)),
    )


def prepared_sampling(job: SampledJob, number: int, part: Part) -> Prepared:
    """The same, checked. Raises UserError by the names that a job has for its settings."""
    try:
        return prepare(sampling_of(job, number, part))
    except UserError as error:
        raise in_job(error) from None


def draw(prepared: Prepared, on_progress: Callable[[Progress], None]) -> Run:
    """Draw what the folder of samples does not hold yet. Raises UserError, before anything is drawn, where it holds those of
    another model or another set-up."""
    try:
        return evaluate(prepared, on_progress=on_progress)
    except UserError as error:
        told = str(in_job(error))
        raise UserError(re.sub(r"^folder = ", "runs = ", told).replace("folder=...", "runs=...")) from None


def tell_of_chat(job: SampledJob, say: Callable[[str], None]) -> None:
    """Say where a policy that was tuned with a chat template is sampled without. Raises UserError where there is no
    policy."""
    try:
        untold = not job.chat and has_chat_template(model_folder(job.policy, "policy"), "policy.path")
    except UserError as error:
        raise in_job(error) from None
    if untold:
        say(
            "chat is false, and the policy's tokenizer has a chat template: a model that was tuned with it answers badly "
            "without; chat=true uses it"
        )


_HERE = {
    "strategies": "parts.strategy",
    "policy.path": "policy",
    "policy.prompt.template": "prompt",
    "policy.prompt.chat": "chat",
    "policy.prompt.system": "system",
    "policy.prompt.shots": "shots",
    "policy.prompt.examples": "examples",
    "policy.prompt.chat_options": "chat_options",
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


def in_job(error: UserError) -> UserError:
    """The same mistake by the name that a job has for the setting."""
    told = as_here(error, _HERE)
    if told is error:
        return error
    return UserError(str(told).replace(", as policy=base does", "").replace("policy=base", "chat=false"))


def prompts_of(prepared: Prepared) -> dict[str, tuple[int, ...]]:
    """Token ids of every problem's prompt, by problem id."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        prepared.policy.tokenizer, local_files_only=True, trust_remote_code=False
    )
    return {
        problem.id: tuple(prepared.prompt.prompt_ids(tokenizer, problem.question))
        for problem in prepared.dataset
    }
