"""The settings of a run as typed values: what a config file or a caller of the API may say, checked once.

It knows nothing of Hydra, files or models. Invariant: each key either changes results, extends a run or does
neither, and `EFFECTS` says which; a folder goes on only where no key of the first kind differs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from actors.engines.plan import ReplicaShare
from actors.engines.verifiers.confidence import MEASURES
from actors.errors import UserError, nearest
from actors.strategy import ROLES
from actors.work import Unit
from orchestration.setup.engine_choice import ENGINES

Effect = Literal["changes", "extends", "free"]

MOST_FLOPS = 10**30
"""The largest budget: the books' columns hold 38 digits, and the ledger's "no budget" lies above it."""

KEEPS = ("all", "no_token_ids", "answers")
RETRIES = ("nothing", "quarantined")
DTYPES = ("float32", "bfloat16", "float16")
UNITS: tuple[Unit, ...] = get_args(Unit)
ALLOCATIONS = ("first_come", "global")
DEVICES = ("auto", "cpu", "cuda")
FIGURES = ("png", "svg", "pdf")

# The longest matching prefix decides. "changes": another value gives other results, so a folder that has
# results refuses it. "extends": another value adds rows or money. "free": it changes speed, place or looks.
EFFECTS: dict[str, Effect] = {
    "folder": "free",
    "strategies": "extends",
    # What it says is in the text of the strategy that goes by it.
    "plan": "free",
    "seeds": "extends",
    "keep": "free",
    "retry": "free",
    "reuse": "free",
    "dataset": "changes",
    "dataset.count": "extends",
    # A table is what its problems say: another file, or another column, has more of them or others.
    "dataset.path": "extends",
    "dataset.hub": "extends",
    "dataset.columns": "extends",
    "dataset.template": "extends",
    # It stands in policy.prompt.system where it counts.
    "dataset.system": "free",
    "policy": "changes",
    # The hash of the model's files says what it is; its path does not.
    "policy.path": "free",
    # As with models, what an example says counts, not where it lies.
    "policy.prompt.examples": "free",
    "policy.typical_tokens": "free",
    # What does not fit is quarantined, never cut shorter: no draw hangs on it.
    "policy.context": "free",
    # Where the server is does not count; the name by which it serves the model is told with the engine.
    "policy.url": "free",
    "policy.model": "free",
    "policy.key_variable": "free",
    "policy.timeout": "free",
    # The draws are the same; without them some figures of the report are missing.
    "policy.likelihoods": "free",
    "verifier": "changes",
    "verifier.path": "free",
    "reviser": "changes",
    "reviser.path": "free",
    "budget": "extends",
    # The books of a folder are kept in one accounting.
    "budget.unit": "changes",
    "cluster": "free",
    "report": "free",
}


def effect_of(key: str) -> Effect:
    """How a key bears on results, by the longest prefix in `EFFECTS`; KeyError for one that is not sorted."""
    name = key
    while name not in EFFECTS:
        name, dot, _ = name.rpartition(".")
        if not dot:
            raise KeyError(key)
    return EFFECTS[name]


def flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one mapping with dotted keys; an empty mapping is a value."""
    flat: dict[str, Any] = {}
    for name, value in data.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            flat |= flatten(value, f"{key}.")
        else:
            flat[key] = value
    return flat


PATH = {"path": True}
"""Of a field that names a file or folder, or a list of them: a ~ in it is resolved."""


QUOTED = {"quoted": True}
"""Of a field that is a list of texts in which commas and backslashes may be meant: they stand in quotes."""


@dataclass
class ColumnNames:
    question: str = "question"
    answer: str | None = "answer"
    id: str | None = "auto"
    choices: str | None = None
    tests: str | None = None
    setup: str | None = None
    entry_point: str | None = None
    program: str | None = None


@dataclass
class DatasetSettings:
    """What `orchestration.problems.load` takes, and the grader: its name, or a mapping with `_target_` for one's own.
    `hub` is where the file is taken from that no `path` names; `system` is what a chat's system turn says instead of the
    policy's own, where the problems need another."""

    name: str = "countdown_chain"
    path: str | None = field(default=None, metadata=PATH)
    hub: str | None = None
    split: str = "test"
    count: int | None = None
    seed: int = 0
    columns: ColumnNames = field(default_factory=ColumnNames)
    template: str = "{question}"
    system: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    grader: Any = "countdown"


@dataclass
class PromptSettings:
    """`examples` None: of the data set's train split; `examples_seed` says which, and in which order. `chat_options` are
    variables of the chat template."""

    template: str = "{question}\n"
    chat: bool = False
    system: str | None = None
    shots: int = 0
    examples: str | None = field(default=None, metadata=PATH)
    examples_seed: int = 0
    chat_options: dict[str, Any] = field(default_factory=dict)


@dataclass
class PolicySettings:
    """`end_after_answer` None: unless the prompt is a chat's. `url`, `model`, `key_variable` and `timeout` are of the engine
    http, see `actors.engines.plan.Server`."""

    path: str = "bundled/countdown"
    engine: str = "auto"
    url: str | None = None
    model: str | None = None
    key_variable: str | None = None
    timeout: float = 600.0
    dtype: str = "float32"
    reproducible: bool = True
    likelihoods: bool = True
    max_tokens: int = 256
    typical_tokens: int | None = None
    context: int | None = None
    delimiter: str | None = "\n"
    stop: list[str] = field(default_factory=list, metadata=QUOTED)
    end_after_answer: bool | None = False
    prompt: PromptSettings = field(default_factory=PromptSettings)

    @property
    def typical(self) -> int:
        """Mean tokens of a solution: as given, else a fifth of what one may have, or 70 where that is more."""
        if self.typical_tokens is not None:
            return self.typical_tokens
        return min(self.max_tokens, max(70, self.max_tokens // 5))

    @property
    def ends_after_answer(self) -> bool:
        return not self.prompt.chat if self.end_after_answer is None else self.end_after_answer


@dataclass
class VerifierSettings:
    """With `_target_`: a class or function of a user's own, called with `options`; see `setup.custom_verifier`.

    `family` is that of a public verifier, `separator` the text that ended its steps in training, for one that was trained
    with any; `max_tokens`, `temperature` and `chains` say how one writes that does so before it scores; see
    `setup.public_verifier`. With a `measure` there is no model: what the policy's own log-probabilities say is the score.
    """

    path: str | None = "bundled/countdown"
    family: str | None = None
    separator: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    chains: int | None = None
    measure: str | None = None
    engine: str = "auto"
    dtype: str = "float32"
    _target_: str | None = None
    parameters: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class ReviserSettings:
    """`turn` is what a chat's user says to an attempt; None: the model was trained to read attempts, or reads them as such a
    model would."""

    path: str | None = None
    engine: str = "auto"
    dtype: str = "float32"
    turn: str | None = None


@dataclass
class BudgetSettings:
    """At most one of the three amounts, whole numbers; 1e13 is one, to the last digit. `allocation` says which prompt gets
    how much of it, `floor` how many samples each gets whatever the price."""

    unit: str = "paper"
    flops: int | None = None
    tokens: int | None = None
    generations: int | None = None
    allocation: str = "first_come"
    floor: int = 1

    @property
    def given(self) -> dict[str, int]:
        """The amounts that it was given, by name."""
        amounts = {name: getattr(self, name) for name in ("flops", "tokens", "generations")}
        return {name: value for name, value in amounts.items() if value is not None}


@dataclass
class ClusterSettings:
    address: str | None = None
    packages: list[str] = field(default_factory=list)
    grace: float = 30.0
    startup: float = 600.0
    policy: ReplicaShare = field(default_factory=ReplicaShare)
    reviser: ReplicaShare = field(default_factory=ReplicaShare)
    verifier: ReplicaShare = field(default_factory=ReplicaShare)


@dataclass
class ReportSettings:
    """How a report is made: the level of its intervals, further pairs to compare, the columns of the problems' metadata that
    it groups by, the formats of its figures, and folders of runs whose strategies stand beside its own."""

    level: float = 0.95
    pairs: list[str] = field(default_factory=list)
    by: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=lambda: ["png", "svg"])
    beside: list[str] = field(default_factory=list, metadata=PATH)


@dataclass
class GradeColumns:
    text: str = "text"
    answer: str | None = "answer"
    problem: str | None = "problem"


@dataclass
class GradeSettings:
    grader: Any = "math"
    count: int | None = None
    packages: list[str] = field(default_factory=list)
    columns: GradeColumns = field(default_factory=GradeColumns)


@dataclass
class ShowSettings:
    """What `flopwise show` may be told besides run and problem: `wrong`, `right` and `state` choose among its problems."""

    strategy: str | None = None
    count: int = 3
    wrong: list[str] = field(default_factory=list)
    right: list[str] = field(default_factory=list)
    state: str | None = None


@dataclass
class EvaluateSettings:
    """Everything that `flopwise evaluate` may be told. `plan` is that of compute_optimal where it names none."""

    folder: str = field(default="runs/evaluate", metadata=PATH)
    strategies: list[str | dict[str, Any]] = field(default_factory=list)
    plan: str | None = field(default=None, metadata=PATH)
    seeds: list[int] = field(default_factory=lambda: [0])
    keep: str = "all"
    retry: str = "nothing"
    reuse: list[str] = field(default_factory=list, metadata=PATH)
    dataset: DatasetSettings = field(default_factory=DatasetSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    verifier: VerifierSettings = field(default_factory=VerifierSettings)
    reviser: ReviserSettings = field(default_factory=ReviserSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    report: ReportSettings = field(default_factory=ReportSettings)


def check(settings: EvaluateSettings) -> None:
    """Raise UserError for the first value that cannot be meant."""
    if not settings.strategies:
        raise UserError.of("strategies", [], "name at least one, e.g. strategies=[greedy]")
    _check_seeds(settings.seeds)
    _choose("keep", settings.keep, KEEPS)
    _choose("retry", settings.retry, RETRIES)
    policy, budget = settings.policy, settings.budget
    for role in ROLES:
        model = getattr(settings, role)
        _choose(f"{role}.engine", model.engine, ENGINES)
        _choose(f"{role}.dtype", model.dtype, DTYPES)
    _check_turn(settings)
    _check_measure(settings.verifier)
    _at_least("policy.max_tokens", policy.max_tokens, 1)
    _at_least("policy.typical_tokens", policy.typical, 1)
    if policy.typical > policy.max_tokens:
        mend = (
            f"a typical solution cannot be longer than policy.max_tokens = {policy.max_tokens}: lower it too, or set it to "
            "null, which follows"
        )
        raise UserError.of("policy.typical_tokens", policy.typical_tokens, mend)
    if policy.context is not None and policy.context <= policy.max_tokens:
        mend = (
            f"a prompt and a solution of up to policy.max_tokens = {policy.max_tokens} have to fit: raise it, or lower "
            "policy.max_tokens"
        )
        raise UserError.of("policy.context", policy.context, mend)
    if policy.delimiter == "":
        mend = 'give the text that ends a step, e.g. "\\n", or null where no strategy goes by steps'
        raise UserError.of("policy.delimiter", policy.delimiter, mend)
    if policy.delimiter is not None and "\\n" in policy.delimiter:
        mend = 'that is a backslash and an n, which no step ends in: for a line break write "\\n" in double quotes'
        raise UserError.of("policy.delimiter", policy.delimiter, mend)
    if "" in policy.stop:
        raise UserError.of(
            "policy.stop", policy.stop, 'give texts that end a solution, e.g. ["\\n\\nQuestion:"]'
        )
    if "{question}" not in policy.prompt.template:
        mend = "it must hold {question}, where a problem's question goes"
        raise UserError.of("policy.prompt.template", policy.prompt.template, mend)
    if policy.prompt.system is not None and not policy.prompt.chat:
        mend = (
            "without policy.prompt.chat no model reads it: set policy.prompt.system=null, as policy=base does, and say it in "
            "policy.prompt.template"
        )
        raise UserError.of("policy.prompt.system", policy.prompt.system, mend)
    _check_chat_options(policy.prompt)
    _at_least("policy.prompt.shots", policy.prompt.shots, 0)
    if policy.prompt.examples is not None and not policy.prompt.shots:
        mend = "none of them is shown: say how many are, as in policy.prompt.shots=4"
        raise UserError.of("policy.prompt.examples", policy.prompt.examples, mend)
    _choose("budget.unit", budget.unit, UNITS)
    _choose("budget.allocation", budget.allocation, ALLOCATIONS)
    if budget.floor not in (0, 1):
        raise UserError.of("budget.floor", budget.floor, "it is 1, a sample for each prompt, or 0")
    given = budget.given
    if len(given) > 1:
        raise UserError.of("budget", given, "give one of flops, tokens and generations")
    for name, value in given.items():
        if not 1 <= value <= MOST_FLOPS:
            raise UserError.of(f"budget.{name}", value, "it must lie between 1 and 1e30; null for no limit")
    if settings.verifier.parameters is not None:
        _at_least("verifier.parameters", settings.verifier.parameters, 0)
    _at_least("cluster.grace", settings.cluster.grace, 0)
    _at_least("cluster.startup", settings.cluster.startup, 1)
    for role in ROLES:
        replica: ReplicaShare = getattr(settings.cluster, role)
        for name, least in (("replicas", 1), ("cpus", 0), ("gpus", 0), ("threads", 1), ("max_sequences", 1)):
            _at_least(f"cluster.{role}.{name}", getattr(replica, name), least)
        _choose(f"cluster.{role}.device", replica.device, DEVICES)
        _check_gpus(f"cluster.{role}", replica)
    check_report(settings.report)


def _check_chat_options(prompt: PromptSettings) -> None:
    options = prompt.chat_options
    if options and not prompt.chat:
        mend = "without policy.prompt.chat no chat template reads them: leave them out, or set policy=chat"
        raise UserError.of("policy.prompt.chat_options", options, mend)
    for name in options:
        if not isinstance(name, str) or not name.isidentifier():
            mend = "a variable of a chat template has a name, as in {enable_thinking: false}"
            raise UserError.of("policy.prompt.chat_options", options, mend)


def _check_turn(settings: EvaluateSettings) -> None:
    turn = settings.reviser.turn
    if turn is None:
        return
    if not settings.policy.prompt.chat:
        mend = (
            "only a chat has a user who says it: set policy=chat, or reviser=folder for a model that was trained to read its "
            "attempts"
        )
        raise UserError.of("reviser.turn", turn, mend)
    if not turn.strip():
        mend = "give what a chat's user says to an attempt, or null: as the reviser was trained"
        raise UserError.of("reviser.turn", turn, mend)


def _check_measure(given: VerifierSettings) -> None:
    if given.measure is None:
        return
    _choose("verifier.measure", given.measure, MEASURES)
    if given.path is not None:
        mend = "the policy's own confidence is told without a model: leave it null, or take verifier=folder for this one"
        raise UserError.of("verifier.path", given.path, mend)


def _check_gpus(name: str, replica: ReplicaShare) -> None:
    _at_least(f"{name}.tensor_parallel", replica.tensor_parallel, 1)
    if replica.tensor_parallel > 1 and replica.gpus != replica.tensor_parallel:
        mend = f"so many GPUs hold one copy of the model: set {name}.gpus={replica.tensor_parallel}"
        raise UserError.of(f"{name}.tensor_parallel", replica.tensor_parallel, mend)
    if replica.memory is not None and not 0 < replica.memory <= 1:
        raise UserError.of(
            f"{name}.memory", replica.memory, "it is a share, between 0 and 1; null: what fits the replica"
        )


def check_report(report: ReportSettings) -> None:
    """Raise UserError for the first value that cannot be meant."""
    if not 0.5 <= report.level < 1:
        raise UserError.of("report.level", report.level, "it must lie between 0.5 and 1, e.g. 0.95")
    check_figures("report.figures", report.figures)


def check_figures(field_name: str, kinds: list[str]) -> None:
    """Raise UserError for a file format that no figure has."""
    for kind in kinds:
        _choose(field_name, kind, FIGURES)


def _check_seeds(seeds: list[int]) -> None:
    if not seeds:
        raise UserError.of("seeds", seeds, "name at least one, e.g. seeds=[0]")
    for seed in seeds:
        if not 0 <= seed < 1 << 63:
            raise UserError.of("seeds", seed, "a seed lies between 0 and 9.2e18")
        if seeds.count(seed) > 1:
            mend = f"seed {seed} is named twice, and would draw the same samples again: name each once, as in seeds=[0,1]"
            raise UserError.of("seeds", seeds, mend)


def _choose(field_name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UserError.of(field_name, value, f"choose one of {', '.join(known)}{nearest(value, known)}")


def _at_least(field_name: str, value: float, least: float) -> None:
    if value < least:
        raise UserError.of(field_name, value, f"it must be at least {least}")
