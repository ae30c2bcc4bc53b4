"""The plan as a file that people read: what it was made of and when, the best strategy by difficulty, and the value table.

It knows YAML and the parts of a plan, nothing of runs or models beyond their hashes. Invariants: what is written is
read back equal; a plan of another format, of other models, another grader or another accounting of FLOPs is refused in
one line.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from actors.errors import UserError, nearest
from orchestration.allocation.evidence import Evidence
from orchestration.allocation.fitting import Calibration
from orchestration.allocation.logistic import Logistic
from orchestration.allocation.value_table import Move, Offer, Stage, ValueTable

T = TypeVar("T")

PLAN_FORMAT = 2


FEATURES = tuple(Evidence(0).features())
"""What a state's score may be made of."""


@dataclass(frozen=True, slots=True)
class Made:
    """What a plan was made of. `models` are hashes by role, `setup` that of what else decides a sample (prompt, ends of steps
    and solutions, most tokens), `unit` the accounting of FLOPs, `data` names the problems and
    `data_hash` tells them apart; `problems` were seen in so many `orders` of their samples each, on a day."""

    models: Mapping[str, str]
    grader: str
    setup: str
    unit: str
    data: str
    data_hash: str
    problems: int
    orders: int
    day: str


@dataclass(frozen=True, slots=True)
class Difficulty:
    """How a prompt's bin is told without labels: the mean of the verifier's final values of its first `samples`, or (0) its
    value of the prompt alone, cut at `thresholds`, which fall. A value at least the first is in bin 1, the easiest."""

    samples: int
    thresholds: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.samples < 0 or list(self.thresholds) != sorted(self.thresholds, reverse=True):
            raise ValueError(f"difficulty needs a number of samples, and thresholds that fall: {self}")

    def bin_of(self, value: float) -> int:
        """The bin of a mean value, from 1."""
        return 1 + sum(value < threshold for threshold in self.thresholds)

    @property
    def of_prompt(self) -> bool:
        """Whether the prompt alone tells it."""
        return self.samples == 0


@dataclass(frozen=True, slots=True)
class Pick:
    """Of problems of a `bin` (1: easiest) with a budget of `n` generations each, the best `strategy`: its accuracy with
    interval, each fold's choice judged on the other; the `runner_up`, and by how much it is worse, with interval."""

    bin: int
    n: int
    strategy: str
    accuracy: float
    low: float
    high: float
    problems: int
    runner_up: str
    behind: float
    behind_low: float
    behind_high: float


@dataclass(frozen=True, slots=True)
class Plan:
    """How much a prompt should get, and spent how: what it was made of, what it offers, the value table with its calibration,
    and the best strategies by difficulty."""

    made: Made
    offer: Offer
    table: ValueTable
    calibration: tuple[Calibration, ...] = ()
    picks: tuple[Pick, ...] = ()
    difficulty: Difficulty | None = None

    def check(self, models: Mapping[str, str], grader: str, setup: str | None, unit: str, path: Path) -> None:
        """Raise UserError unless it is of these models, this grader, this set-up of samples (None: not looked at) and this
        accounting. A reviser that no option of it asks is not looked at."""
        mine = {**self.made.models, "grader": self.made.grader, "unit": self.made.unit}
        asked = {**models, "grader": grader, "unit": unit}
        roles = self.made.models.keys() | (models.keys() - {"reviser"})
        for name in (*sorted(roles), "grader", "unit"):
            if mine.get(name) != asked.get(name):
                mend = "calibrate again" if name != "unit" else f"set budget.unit={self.made.unit}"
                was = f"it was made with another {name} ({mine.get(name)}, now {asked.get(name)})"
                raise UserError.of("plan", str(path), f"{was}; {mend}")
        if setup is not None and self.made.setup != setup:
            mend = "it was made with another policy.prompt, policy.max_tokens or end of steps and solutions; calibrate again"
            raise UserError.of("plan", str(path), mend)

    def need(self, option: str, path: Path) -> str:
        """The name of an option that the plan has; raise UserError where it does not."""
        if option in self.offer.stages:
            return option
        mend = f"it has no option {option}{nearest(option, self.offer.stages)}; calibrate with it"
        raise UserError.of("plan", str(path), mend)

    def best(self, n: int, path: Path) -> dict[int, str]:
        """The best strategy of each bin with a budget of `n` generations; raise UserError where the plan does not tell it for
        all bins."""
        found = {pick.bin: pick.strategy for pick in self.picks if pick.n == n}
        if self.difficulty is None or not self.picks:
            mend = "it tells no difficulty, so no strategy by difficulty; calibrate with budgets"
            raise UserError.of("plan", str(path), mend)
        if set(found) != set(range(1, len(self.difficulty.thresholds) + 2)):
            known = ", ".join(map(str, sorted({pick.n for pick in self.picks})))
            mend = f"it has no best strategies for n={n}; choose one of {known}, or calibrate with it"
            raise UserError.of("plan", str(path), mend)
        return found

    def write(self, path: Path) -> None:
        path.write_text(self.text)

    @property
    def name(self) -> str:
        """What results know it by, wherever its file lies: a word made of its content."""
        return f"plan_{hashlib.blake2b(self.text.encode(), digest_size=6).hexdigest()}"

    @property
    def text(self) -> str:
        """The whole file."""
        content = {
            "format": PLAN_FORMAT,
            "made": asdict(self.made),
            "options": {
                "prompt": self.offer.prompt,
                "samples": list(self.offer.samples),
                "searches": list(self.offer.searches),
            },
            "difficulty": None if self.difficulty is None else _difficulty(self.difficulty),
            "best by difficulty": [asdict(pick) for pick in self.picks],
            "calibration": [asdict(one) for one in self.calibration],
            "groups": list(self.table.thresholds),
            "stages": [_stage(stage) for stage in self.table.stages],
            "moves": [_move(move) for move in self.table.moves],
        }
        text: str = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)
        return text


def read_plan(path: Path) -> Plan:
    """Read a plan; raise UserError for one that is not there, or no plan, or of another format."""
    try:
        text = path.read_text()
    except OSError as error:
        raise UserError.of(
            "plan", str(path), f"cannot be read ({error.strerror}); give one that calibrate made"
        ) from None
    except UnicodeDecodeError:
        raise UserError.of("plan", str(path), "is not a text; give a plan that calibrate made") from None
    try:
        return _plan(yaml.safe_load(text), path)
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
        yaml.YAMLError,
    ) as error:
        why = " ".join(str(error).split())[:100]
        raise UserError.of("plan", str(path), f"is no plan ({why}); give one that calibrate made") from None


def _plan(content: Any, path: Path) -> Plan:
    found = content["format"]
    if found != PLAN_FORMAT:
        mend = f"it has format {found}, and this version reads format {PLAN_FORMAT}; calibrate again"
        raise UserError.of("plan", str(path), mend)
    options = content["options"]
    if type(options["prompt"]) is not bool:
        raise ValueError(f"prompt is {options['prompt']!r}")
    offer = Offer(tuple(options["samples"]), tuple(options["searches"]), options["prompt"])
    table = ValueTable(
        tuple(_read_stage(one) for one in content["stages"]),
        tuple(_read_move(one) for one in content["moves"]),
        _numbers(content["groups"]),
    )
    if tuple(stage.name for stage in table.stages) != offer.stages:
        raise ValueError("its stages are not those of its options")
    if tuple((move.source, move.target) for move in table.moves) != offer.moves:
        raise ValueError("its moves are not those of its options")
    return Plan(
        made=_filled(Made, content["made"]),
        offer=offer,
        table=table,
        calibration=tuple(_filled(Calibration, one) for one in content["calibration"]),
        picks=tuple(_filled(Pick, one) for one in content["best by difficulty"]),
        difficulty=None if content["difficulty"] is None else _read_difficulty(content["difficulty"]),
    )


def _filled(kind: type[T], values: Mapping[str, Any]) -> T:
    """A part of a plan, each of its fields of the type that it says."""
    hints = get_type_hints(kind)
    for name, value in values.items():
        if hints.get(name) is float:
            _number(value)
        elif name == "models":
            if not all(isinstance(one, str) for pair in value.items() for one in pair):
                raise ValueError(f"models are {value!r}")
        elif type(value) is not hints.get(name):
            raise ValueError(f"{name} is {value!r}")
    return kind(**values)


def _difficulty(one: Difficulty) -> dict[str, Any]:
    return {"samples": one.samples, "thresholds": list(one.thresholds)}


def _read_difficulty(one: Mapping[str, Any]) -> Difficulty:
    if type(one["samples"]) is not int:
        raise ValueError(f"difficulty from {one['samples']!r} samples")
    return Difficulty(one["samples"], _numbers(one["thresholds"]))


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "stage": stage.name,
        "weights": dict(zip(stage.score.features, stage.score.weights, strict=True)),
        "bias": stage.score.bias,
        "cuts": [list(some) for some in stage.cuts],
        "right": list(stage.right),
        "problems": list(stage.problems),
    }


def _read_stage(one: Mapping[str, Any]) -> Stage:
    weights = one["weights"]
    if unknown := [name for name in weights if name not in FEATURES]:
        raise ValueError(f"{unknown[0]!r} is none of the features {', '.join(FEATURES)}")
    score = Logistic(
        tuple(weights), tuple(_number(value) for value in weights.values()), _number(one["bias"])
    )
    cuts = tuple(_numbers(some) for some in one["cuts"])
    return Stage(str(one["stage"]), score, cuts, _numbers(one["right"]), _numbers(one["problems"]))


def _move(move: Move) -> dict[str, Any]:
    return {
        "from": move.source,
        "to": move.target,
        "flops": list(move.flops),
        "leads": [list(row) for row in move.leads],
    }


def _read_move(one: Mapping[str, Any]) -> Move:
    leads = tuple(_numbers(row) for row in one["leads"])
    return Move(str(one["from"]), str(one["to"]), _numbers(one["flops"]), leads)


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(_number(value) for value in values)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)
