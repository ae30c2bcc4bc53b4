"""From settings to what they name: strategies, problems, models by role, the budget in FLOPs; all of it checked.

It reads configs, tokenizers and a few problems, and knows nothing of Ray or torch. Invariant: no weight is
loaded and nothing is written here, so a dry run and a real one are prepared by the same code.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

from actors.engines.verifiers.confidence import Measure
from actors.errors import UserError, counted
from actors.strategy import ROLES, Role, Strategy, asked_by
from actors.work import Unit, prompt_cost
from orchestration.flops import ModelCost, generation_flops
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
    why_unread,
)
from orchestration.problems.datasets.gym import GsmSymbolicSource
from orchestration.problems.datasets.hub import hub_file
from orchestration.setup.budget import budget_flops, check_budget
from orchestration.setup.contexts import Contexts, check_contexts
from orchestration.setup.domains import check_domain
from orchestration.setup.endings import ending
from orchestration.setup.examples import worked_examples
from orchestration.setup.machine import check_machine
from orchestration.setup.memory import ReplicaMemory, check_memory, check_sharing, estimated, runs_here
from orchestration.setup.models import (
    ModelSetup,
    check_engines,
    check_measure,
    costs_of,
    notes_of,
    read_models,
    read_policy,
    too_long_for,
)
from orchestration.setup.packages import importable
from orchestration.setup.plans import check_allocation, check_judging, check_whole, judges_prompts, with_plan
from orchestration.setup.prompt_lengths import prompt_lengths
from orchestration.setup.revising import Framed, read_framing, read_judging, reads_of
from orchestration.setup.serving import check_served
from orchestration.setup.settings import DatasetSettings, EvaluateSettings, check
from orchestration.strategies.parse import parse


@dataclass(frozen=True, slots=True)
class Prepared:
    """Settings turned into what they name.

    `models` has a policy, and the others that a strategy asks; `asked` are the roles whose replicas do anything.
    `framing` is how a reviser is shown its attempts, and `judging` how a verifier that reads them is. `packages` are
    folders and modules that workers are to get. `prompt_tokens` and `longest_prompt` are told from the first problems
    that fit. `ending` says what ends a step and a solution, in the words that keys have. `budget` is in FLOPs of
    `unit`, None without one, and `first_grant` what a task needs of it to start: one candidate at worst, scored.
    `memory` is what each replica takes, by role. `notes` are what a user should know before anything is spent.
    """

    settings: EvaluateSettings
    strategies: tuple[Strategy, ...]
    dataset: Dataset
    grader: Grader
    prompt: PromptFormat
    models: Mapping[Role, ModelSetup]
    asked: frozenset[Role]
    framing: Framed | None
    judging: Framed | None
    packages: tuple[Path, ...]
    unit: Unit
    prompt_tokens: int
    longest_prompt: int
    contexts: Contexts
    ending: str
    budget: int | None
    first_grant: int | None
    memory: Mapping[Role, ReplicaMemory]
    notes: tuple[str, ...] = ()

    @property
    def policy(self) -> ModelSetup:
        return self.models["policy"]

    @property
    def costs(self) -> dict[Role, ModelCost]:
        """What a token costs, by role."""
        return costs_of(self.models)

    @property
    def measure(self) -> Measure | None:
        """Of the policy's own confidence, where a strategy asks it for scores."""
        return cast("Measure | None", self.settings.verifier.measure) if "verifier" in self.asked else None

    @property
    def reads_texts(self) -> bool:
        """Whether a verifier is told questions as text."""
        verifier = self.models.get("verifier")
        return verifier is not None and (verifier.target is not None or verifier.family is not None)

    def described(self, problems: int) -> str:
        """What is solved, for people."""
        text = self.dataset.description
        return text if isinstance(self.dataset, Generated) else f"{counted(problems, 'problem')} of {text}"


def prepare(settings: EvaluateSettings) -> Prepared:
    """Check all settings against what is there. Reads configs, tokenizer and a few problems; takes about a
    second.
    """
    check(settings)
    check_served(settings)
    packages = importable(settings.cluster.packages)
    strategies = strategies_of(settings)
    check_allocation(settings.budget, strategies)
    given = settings.policy
    asked: frozenset[Role] = frozenset().union(*(asked_by(one) for one in strategies))
    check_known(settings, asked)
    settings = with_file(settings)
    dataset, grader = problems_of(settings.dataset)
    shown = given.prompt
    examples = worked_examples(settings, grader)
    prompt = PromptFormat(shown.template, shown.chat, shown.system, shown.shots, examples, shown.chat_options)
    policy = read_policy(settings, strategies)
    models = read_models(settings, policy, asked)
    check_engines(settings, models)
    if "verifier" in asked:
        check_measure(settings.verifier.measure, models)
    crowded = check_sharing(models)
    check_judging(strategies, models, settings.verifier.measure)
    check_whole(strategies, models)
    running = {role: model for role, model in models.items() if role in asked}
    check_machine(settings.cluster, {role: model.share for role, model in running.items()})
    framing, judging = read_framing(settings, models), read_judging(settings, models)
    contexts = contexts_of(settings, strategies, models, {"reviser": framing, "verifier": judging})
    questions = first_questions(dataset)
    lengths = prompt_lengths(questions, policy, prompt)
    check_contexts(lengths, contexts, paths_of(settings), shown.shots)
    fitting = [length for length in lengths if not contexts.policy_refuses(length)]
    mean, longest = round(sum(fitting) / len(fitting)), max(fitting)
    too_long = too_long_for(running.get("verifier"), questions, contexts.most)
    here = runs_here(settings.cluster)
    memory = estimated(running, contexts, longest, here=here)
    tight = check_memory(running, memory, here=here)
    costs = costs_of(models)
    unit: Unit = "paper" if settings.budget.unit == "paper" else "exact"
    budget, first = budget_flops(settings, costs, mean, unit), None
    if budget is not None:
        first = max(
            generation_flops({**costs, "policy": costs[role]}, longest, given.max_tokens, unit)
            for role in asked - {"verifier"}
        )
        if judges_prompts(strategies):
            # Before its first candidate a task asks for the prompt's value.
            judged = prompt_cost(costs["verifier"], longest)
            first += judged.paper if unit == "paper" else judged.exact
        check_budget(settings, budget, first, scored="verifier" in models)
    return Prepared(
        settings=settings,
        strategies=strategies,
        dataset=dataset,
        grader=grader,
        prompt=prompt,
        models=models,
        asked=asked,
        framing=framing,
        judging=judging,
        packages=packages,
        unit=unit,
        prompt_tokens=mean,
        longest_prompt=longest,
        contexts=contexts,
        ending=ending(given, policy.tokenizer, strategies),
        budget=budget,
        first_grant=first,
        memory=memory,
        notes=(
            *notes_of(settings, policy, models),
            *([framing.note] if framing and framing.note else []),
            *(note for note in (too_long, crowded, tight) if note),
        ),
    )


def paths_of(settings: EvaluateSettings) -> dict[Role, str | None]:
    """The models' paths as set, by role."""
    return {role: getattr(settings, role).path for role in ROLES}


def check_known(settings: EvaluateSettings, asked: Collection[Role]) -> None:
    """Raise UserError where a model that comes with flopwise is asked about other problems than it knows."""
    made = settings.dataset.path is None and settings.dataset.hub is None
    paths = paths_of(settings)
    its = {role: path if role in asked or role == "policy" else None for role, path in paths.items()}
    check_domain(settings.dataset.name if made else None, its)


def with_file(settings: EvaluateSettings) -> EvaluateSettings:
    """The settings with the file of a data set that a hub has."""
    if settings.dataset.path is not None or settings.dataset.hub is None:
        return settings
    return replace(settings, dataset=replace(settings.dataset, path=str(hub_file(settings.dataset.hub))))


def contexts_of(
    settings: EvaluateSettings,
    strategies: Sequence[Strategy],
    models: Mapping[Role, ModelSetup],
    framed: Mapping[Role, Framed | None],
) -> Contexts:
    """What the models take; `framed` says how those are shown attempts that read them."""
    return Contexts(
        {role: model.context for role, model in models.items()},
        settings.policy.max_tokens,
        settings.policy.context,
        {role: one.revising for role, one in framed.items() if one is not None},
        reads_of(strategies),
    )


def problems_of(given: DatasetSettings) -> tuple[Dataset, Grader]:
    """The data set, and what judges its answers: of a table, all that it can read."""
    if given.path is None and given.count is None:
        raise UserError.of(
            "dataset.count",
            None,
            "problems that are made have no end: give a number, as in dataset.count=200",
        )
    grader = make_grader(given.grader)
    if given.grader == "code" and given.columns.tests is None:
        mend = "it runs a program's tests: name their column, as in dataset.columns.tests=test_list"
        raise UserError.of("dataset.grader", given.grader, mend)
    if given.columns.tests is not None and given.grader != "code" and isinstance(given.grader, str):
        mend = "it runs no tests: set dataset.grader=code, or dataset.columns.tests=null"
        raise UserError.of("dataset.grader", given.grader, mend)
    dataset = load(
        given.name,
        path=given.path,
        split=given.split,
        count=given.count,
        seed=given.seed,
        columns=asdict(given.columns),
        template=given.template,
        options=given.options,
        unread=partial(why_unread, grader, str(given.grader)),
    )
    ours = isinstance(dataset, Generated) and isinstance(dataset.source, GymSource | GsmSymbolicSource)
    if given.grader == "gym" and not ours:
        mend = "it judges reasoning-gym's data sets by their names (dataset=gym); choose number, text, math or countdown"
        raise UserError.of("dataset.grader", given.grader, mend)
    if isinstance(dataset, Generated):
        _check_references(dataset, grader, str(given.grader))
    return dataset, grader


def _check_references(dataset: Generated, grader: Grader, name: str, most: int = 20) -> None:
    """Raise UserError where the grader reads none of the first references: accuracy would be 0, whatever was answered."""
    references = [
        reference
        for problem in itertools.islice(dataset, most)
        if (reference := grader.reference_of(problem)) is not None
    ]
    unread = [why for one in references if (why := why_unread(grader, name, one))]
    if unread and len(unread) == len(references):
        raise UserError.of(
            "dataset.grader", name, f"it reads no answer of {dataset.description}: {unread[0]}"
        )


def strategies_of(settings: EvaluateSettings) -> tuple[Strategy, ...]:
    """The strategies, each once. Raises UserError where two that differ have one text: results are kept by it."""
    # By their texts: a class of a user's own may be unhashable.
    found: dict[str, tuple[object, Strategy]] = {}
    for one in settings.strategies:
        strategy = with_plan(parse(one), settings.plan)
        before = found.setdefault(strategy.text, (one, strategy))
        if before[0] != one and before[1] != strategy:
            mend = (
                f"two strategies have this text, and results are kept by it: {before[0]} and {one}; let their "
                "text name what differs, or leave one out"
            )
            raise UserError.of("strategies", strategy.text, mend)
    return tuple(strategy for _, strategy in found.values())


def first_questions(dataset: Dataset, most: int = 100) -> list[str]:
    """The first questions. UserError where there is no problem."""
    questions = [problem.question for problem in itertools.islice(dataset, most)]
    if not questions:
        raise no_problem(dataset)
    return questions


def no_problem(dataset: Dataset) -> UserError:
    """What is to say of a data set without a problem."""
    if not isinstance(dataset, Table):
        return UserError.of("dataset", dataset.description, "it has no problem")
    rows = [row for row in dataset.rows() if isinstance(row, Quarantined)]
    which = f"none of its {len(rows):,} rows is a problem" if len(rows) > 1 else "its only row is no problem"
    return UserError.of("dataset.path", str(dataset.path), f"{which}; row {rows[0].row}: {rows[0].text}")
