"""From settings to what they name: strategies, problems, models' costs, the budget in FLOPs; all of it
checked.

It reads configs, tokenizers and a few problems, and knows nothing of Ray or torch. Invariant: no weight is
loaded and nothing is written here, so a dry run and a real one are prepared by the same code.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actors.engines.base import EngineName
from actors.engines.verifiers.custom import Target
from actors.errors import UserError
from actors.strategy import Strategy
from orchestration.flops import ModelCost, Unit, generation_flops
from orchestration.problems import (
    Dataset,
    Generated,
    Grader,
    GymSource,
    PromptFormat,
    Quarantined,
    Table,
    load,
    make_grader,
)
from orchestration.setup.budget import _budget, _check_budget
from orchestration.setup.contexts import Contexts, check_contexts
from orchestration.setup.custom_verifier import read_own
from orchestration.setup.engine_choice import choose_engine
from orchestration.setup.model_folders import read_model
from orchestration.setup.packages import importable
from orchestration.setup.settings import (
    ClusterSettings,
    EvaluateSettings,
    ReplicaSettings,
    check,
)
from orchestration.strategies.parse import parse


@dataclass(frozen=True, slots=True)
class Prepared:
    """Settings turned into what they name. `verifier_cost` is None where no strategy asks a verifier; `verifier` is its
    folder, or `target` what makes one of the user's own. `packages` are folders and modules that workers are to get.
    `prompt_tokens` and `longest_prompt` are told from the first problems that fit; `budget` is in FLOPs of `unit`, None
    without one."""

    settings: EvaluateSettings
    strategies: tuple[Strategy, ...]
    dataset: Dataset
    grader: Grader
    prompt: PromptFormat
    policy: Path
    verifier: Path | None
    target: Target | None
    packages: tuple[Path, ...]
    policy_cost: ModelCost
    verifier_cost: ModelCost | None
    policy_engine: EngineName
    verifier_engine: EngineName
    unit: Unit
    prompt_tokens: int
    longest_prompt: int
    contexts: Contexts
    budget: int | None

    @property
    def verifier_name(self) -> str:
        """What a reader knows the verifier by."""
        return self.target.text if self.target else str(self.verifier)

    def described(self, problems: int) -> str:
        """What is solved, for people."""
        text = self.dataset.description
        return text if isinstance(self.dataset, Generated) else f"{problems:,} problems of {text}"


def prepare(settings: EvaluateSettings) -> Prepared:
    """Check all settings against what is there. Reads configs, tokenizer and a few problems; takes about a
    second.
    """
    check(settings)
    packages = importable(settings.cluster.packages)
    strategies = _strategies(settings.strategies)
    data = settings.dataset
    dataset = load(
        data.name,
        path=data.path,
        split=data.split,
        count=data.count,
        seed=data.seed,
        columns=asdict(data.columns),
        options=data.options,
    )
    ours = isinstance(dataset, Generated) and isinstance(dataset.source, GymSource)
    if data.grader == "gym" and not ours:
        mend = "it judges reasoning-gym's data sets by their names (dataset=gym); choose number, text or math"
        raise UserError.of("dataset.grader", data.grader, mend)
    prompt = PromptFormat(
        settings.policy.prompt.template, settings.policy.prompt.chat, settings.policy.prompt.system
    )
    given = settings.policy
    needing = [strategy.text for strategy in strategies if strategy.uses_verifier]
    own = settings.verifier._target_ is not None
    if settings.verifier.path is None and not own and needing:
        mend = f"{', '.join(needing)} need one: set verifier.path, or leave them out of strategies"
        raise UserError.of("verifier.path", None, mend)
    policy = read_model(given.path, "policy", chat=given.prompt.chat)
    policy_cost = ModelCost.from_folder(policy.path)
    verifier, verifier_cost, target, verifier_context = None, None, None, None
    if own and needing:
        mine = read_own(settings.verifier, policy.path)
        target, verifier_cost, verifier_context = mine.target, mine.cost, mine.context
    elif settings.verifier.path is not None and needing:
        verifier = read_model(settings.verifier.path, "verifier")
        verifier_cost, verifier_context = ModelCost.from_folder(verifier.path), verifier.context
        if policy.vocabulary != verifier.vocabulary:
            mend = "its tokenizer is not the policy's; a verifier reads the policy's own token ids"
            raise UserError.of("verifier.path", settings.verifier.path, mend)
    scored = verifier_cost is not None
    check_room(settings.cluster, scored)
    engines = _engines(settings, verifier is not None, target is not None)
    unit: Unit = "paper" if settings.budget.unit == "paper" else "exact"
    contexts = Contexts(policy.context, verifier_context, given.max_tokens)
    lengths = _prompt_lengths(dataset, policy.tokenizer, prompt)
    check_contexts(lengths, contexts, {"policy": given.path, "verifier": settings.verifier.path})
    fitting = [length for length in lengths if not contexts.policy_refuses(length)]
    mean, longest = round(sum(fitting) / len(fitting)), max(fitting)
    budget = _budget(settings, policy_cost, verifier_cost, mean, unit)
    if budget is not None:
        first = generation_flops(policy_cost, verifier_cost, longest, given.max_tokens, unit)
        _check_budget(settings, budget, first, scored)
    return Prepared(
        settings=settings,
        strategies=strategies,
        dataset=dataset,
        grader=make_grader(data.grader),
        prompt=prompt,
        policy=policy.path,
        verifier=verifier.path if verifier else None,
        target=target,
        packages=packages,
        policy_cost=policy_cost,
        verifier_cost=verifier_cost,
        policy_engine=engines[0],
        verifier_engine=engines[1],
        unit=unit,
        prompt_tokens=mean,
        longest_prompt=longest,
        contexts=contexts,
        budget=budget,
    )


def _strategies(given: Sequence[str | Mapping[str, object]]) -> tuple[Strategy, ...]:
    """The strategies, each once. Raises UserError where two that differ have one text: results are kept by it."""
    # By their texts: a class of a user's own may be unhashable.
    found: dict[str, tuple[object, Strategy]] = {}
    for one in given:
        strategy = parse(one)
        before = found.setdefault(strategy.text, (one, strategy))
        if before[0] != one and before[1] != strategy:
            mend = (
                f"two strategies have this text, and results are kept by it: {before[0]} and {one}; let their "
                "text name what differs, or leave one out"
            )
            raise UserError.of("strategies", strategy.text, mend)
    return tuple(strategy for _, strategy in found.values())


def _engines(settings: EvaluateSettings, scored: bool, own: bool) -> tuple[EngineName, EngineName]:
    """The engines of policy and verifier. `scored`: by a verifier of a model folder; `own`: by one of the user's own."""
    policy, verifier = settings.cluster.policy, settings.cluster.verifier
    ours = choose_engine(settings.policy.engine, "policy.engine", gpus=policy.gpus, device=policy.device)
    if ours == "local" and not settings.policy.reproducible:
        mend = "the local engine draws from seeds at no cost: leave it true, or set policy.engine=vllm"
        raise UserError.of("policy.reproducible", False, mend)
    if ours == "local":
        _check_local("policy", policy, own=False)
    theirs: EngineName = "local"
    if scored:
        asked = settings.verifier.engine
        theirs = choose_engine(asked, "verifier.engine", gpus=verifier.gpus, device=verifier.device)
    if theirs == "local" and (scored or own):
        _check_local("verifier", verifier, own=own)
    return ours, theirs


def _check_local(model: str, replica: ReplicaSettings, *, own: bool) -> None:
    """Raise UserError for what only vLLM heeds, where another engine runs the model."""
    usual = ReplicaSettings()
    for name in ("tensor_parallel", "memory"):
        value, normal = getattr(replica, name), getattr(usual, name)
        if value == normal:
            continue
        mend = f"only vLLM heeds it: leave it {'null' if normal is None else normal}"
        if not own:
            mend += f", or set {model}.engine=vllm (this {model} runs on the local engine)"
        raise UserError.of(f"cluster.{model}.{name}", value, mend)


def _prompt_lengths(dataset: Dataset, tokenizer: Any, prompt: PromptFormat, most: int = 100) -> list[int]:
    """Lengths of the first prompts in tokens, without the few tokens of a chat template's own. UserError where there is
    no problem."""
    lengths = []
    for problem, _ in zip(dataset, range(most), strict=False):
        text = (prompt.system or "") + prompt.template.replace("{question}", problem.question)
        lengths.append(1 + len(tokenizer.encode(text, add_special_tokens=False).ids))
    if not lengths:
        if not isinstance(dataset, Table):
            raise UserError.of("dataset", dataset.description, "it has no problem")
        rows = [row for row in dataset.rows() if isinstance(row, Quarantined)]
        mend = f"none of its {len(rows):,} rows is a problem; row {rows[0].row}: {rows[0].text}"
        raise UserError.of("dataset.path", str(dataset.path), mend)
    return lengths


def check_room(cluster: ClusterSettings, verifier: bool) -> None:
    """Raise UserError where the replicas want more CPUs than this machine has, unless a cluster is to be joined: who fits
    nowhere would wait for ever."""
    ray = sys.modules.get("ray")
    if cluster.address or os.environ.get("RAY_ADDRESS") or (ray is not None and ray.is_initialized()):
        return
    kinds = {"policy": cluster.policy} | ({"verifier": cluster.verifier} if verifier else {})
    need, there = sum(one.cpus * one.replicas for one in kinds.values()), os.cpu_count() or 1
    if need > there + 1e-6:
        name, most = max(kinds.items(), key=lambda kind: kind[1].cpus * kind[1].replicas)
        asked = ", ".join(f"{kind} {one.replicas} x {one.cpus:g}" for kind, one in kinds.items())
        mend = (
            f"the replicas take {need:g} CPUs ({asked}) and this machine has {there}: lower the replicas or their cpus, or "
            "join a cluster by cluster.address"
        )
        raise UserError.of(f"cluster.{name}.replicas", most.replicas, mend)
