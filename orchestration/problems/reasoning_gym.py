"""Problems from reasoning-gym: any of its data sets by name, and the mixture that flopwise is shipped with.

It knows nothing of prompts or grading. Invariant: the problem at an index is a function of (settings, seed,
index); a stream holds no question twice and no question of another split.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

from actors.errors import UserError, nearest
from actors.seeds import derive
from orchestration.problems.gym_worker import reference
from orchestration.problems.problem import (
    Problem,
    Split,
    content_id,
    question_hash,
    split_of,
)

# A stream that finds nothing new for so many draws has run out of questions.
_PATIENCE = 20_000
# Some generators fix their plan for `size` items on creation: blocks of so many items, a seed for each block.
_BLOCK = 500
# gsm_symbolic templates whose solution does not end in their answer, or does not always.
_BROKEN_GSM_TEMPLATES = frozenset({25, 27, 84, 89})


class Source(Protocol):
    """Draws problems by index; may return None where the index holds nothing usable."""

    @property
    def description(self) -> str: ...

    def draw(self, seed: int, index: int) -> Problem | None: ...


@functools.lru_cache(maxsize=64)
def _generator(name: str, seed: int, options: tuple[tuple[str, Any], ...]) -> Any:
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if name not in DATASETS:
        raise UserError.of(
            "dataset.name", name, f"reasoning-gym has no such data set{nearest(name, DATASETS)}"
        )
    try:
        return reasoning_gym.create_dataset(name, seed=seed, size=_BLOCK, **dict(options))
    except (TypeError, AssertionError, ValueError) as error:
        raise UserError.of("dataset.options", dict(options), f"{name} refuses them: {error}") from None


def generator(name: str, seed: int, options: dict[str, Any]) -> Any:
    """Return reasoning-gym's data set of this name, in blocks of `_BLOCK` items; UserError where it has none."""
    frozen = tuple(sorted((key, tuple(v) if isinstance(v, list) else v) for key, v in options.items()))
    return _generator(name, seed, frozen)


def _entry(name: str, seed: int, index: int, options: dict[str, Any]) -> dict[str, Any]:
    # Item i of a reasoning-gym seed s draws from seed s + i: space the seeds, or neighbours share items.
    entry: dict[str, Any] = generator(name, derive("reasoning-gym", name, seed), options)[index]
    return entry


@dataclass(frozen=True, slots=True)
class GymSource:
    """Any reasoning-gym data set, its questions as they are; `options` are its own settings."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def description(self) -> str:
        settings = ", ".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return f"reasoning-gym {self.name}({settings})"

    def draw(self, seed: int, index: int) -> Problem | None:
        block, offset = divmod(index, _BLOCK)
        entry = _entry(self.name, derive("block", seed, block), offset, self.options)
        if entry["answer"] is None:
            return None
        question, answer = str(entry["question"]).strip(), str(entry["answer"])
        return Problem(
            content_id(self.name, question),
            question,
            answer,
            metadata={"family": self.name},
            reference=reference(self.name, self.options, entry),
        )


@dataclass(frozen=True, slots=True)
class GsmSymbolicSource:
    """gsm_symbolic with its chains of thought, without the templates that contradict themselves."""

    @property
    def description(self) -> str:
        return "reasoning-gym gsm_symbolic, four templates with wrong solutions dropped"

    def draw(self, seed: int, index: int) -> Problem | None:
        block, offset = divmod(index, _BLOCK)
        entry = _entry("gsm_symbolic", derive("block", seed, block), offset, {})
        template = int(self._template(derive("block", seed, block), offset))
        if template in _BROKEN_GSM_TEMPLATES:
            return None
        question, answer = str(entry["question"]).strip(), str(entry["answer"])
        solution = str(entry["metadata"]["answer_cot"]).strip()
        if not solution.endswith(f"#### {answer}"):
            return None
        metadata = {"family": "gsm_symbolic", "template": template, "length": solution.count("\n")}
        return Problem(content_id("gsm", question), question, answer, solution, metadata)

    @staticmethod
    def _template(seed: int, offset: int) -> int:
        generator = _generator("gsm_symbolic", derive("reasoning-gym", "gsm_symbolic", seed), ())
        return int(generator.task_indices[offset])


@dataclass(frozen=True, slots=True)
class ArithmeticSource:
    """The shipped mixture: counting legs (regular word problems) and chain sums (the hard tail).

    Ranges are inclusive: `legs` kinds of animals with `counts` of each; `terms` of a sum and their `digits`.
    `sums` is the share of sums. Questions are reasoning-gym's without their constant instructions; every
    solution line is one step and carries the running total, so a slip is visible where it happens.
    """

    legs: tuple[int, int] = (1, 8)
    counts: tuple[int, int] = (1, 30)
    terms: tuple[int, int] = (2, 6)
    digits: tuple[int, int] = (1, 2)
    sums: float = 0.4

    def __post_init__(self) -> None:
        for name, least in (("legs", 1), ("counts", 1), ("terms", 2), ("digits", 1)):
            low, high = getattr(self, name)
            object.__setattr__(self, name, (low, high))  # a config file brings lists
            if not least <= low <= high:
                raise UserError.of(
                    f"dataset.options.{name}", [low, high], f"two rising numbers from {least} on"
                )
        if not 0 <= self.sums <= 1:
            raise UserError.of("dataset.options.sums", self.sums, "it is a share between 0 and 1")

    def with_options(self, options: dict[str, Any]) -> ArithmeticSource:
        """Return this source with some settings replaced, ranges given as [low, high]."""
        known = [setting.name for setting in fields(self)]
        for name, value in options.items():
            if name not in known:
                mend = f"choose among {', '.join(known)}{nearest(name, known)}"
                raise UserError.of("dataset.options", name, mend)
            if name != "sums" and (
                not isinstance(value, list | tuple) or [type(v) for v in value] != [int, int]
            ):
                raise UserError.of(f"dataset.options.{name}", value, "give two whole numbers: [low, high]")
        ranges = {name: tuple(value) for name, value in options.items() if name != "sums"}
        return replace(self, **(options | ranges))

    @property
    def description(self) -> str:
        return (
            f"arithmetic: legs of {self.legs[0]}-{self.legs[1]} kinds of {self.counts[0]}-"
            f"{self.counts[1]} animals, {self.sums:.0%} sums of "
            f"{self.terms[0]}-{self.terms[1]} terms with {self.digits[0]}-{self.digits[1]} digits"
        )

    def draw(self, seed: int, index: int) -> Problem | None:
        if derive("family", seed, index) / 2**63 < self.sums:
            options = {
                "min_terms": self.terms[0],
                "max_terms": self.terms[1],
                "min_digits": self.digits[0],
                "max_digits": self.digits[1],
            }
            return _sum_problem(_entry("chain_sum", seed, index, options))
        options = {
            "min_animals": self.legs[0],
            "max_animals": self.legs[1],
            "min_instances": self.counts[0],
            "max_instances": self.counts[1],
        }
        return _legs_problem(_entry("leg_counting", seed, index, options))


# What the bundled models are judged on: long enough that one sample is often wrong, and sixteen rarely all.
BENCHMARK = ArithmeticSource(legs=(6, 8), terms=(4, 6), digits=(2, 2), sums=0.7)


def _legs_problem(entry: dict[str, Any]) -> Problem:
    from reasoning_gym.arithmetic.leg_counting import ANIMALS

    animals: dict[str, int] = entry["metadata"]["animals"]
    lines: list[str] = []
    names: list[str] = []
    total = 0
    for animal, count in animals.items():
        name = f"{count} {animal}{'s' if count > 1 else ''}"
        product = count * ANIMALS[animal]
        line = f"{name} * {ANIMALS[animal]} = {product}"
        if lines:
            line += f", {total} + {product} = {total + product}"
        total += product
        lines.append(line)
        names.append(name)
    question, answer = f"How many legs: {', '.join(names)}?", entry["answer"]
    lines.append(f"#### {answer}")
    metadata = {"family": "legs", "length": len(animals)}
    return Problem(content_id("legs", question), question, answer, "\n".join(lines), metadata)


def _sum_problem(entry: dict[str, Any]) -> Problem:
    expression, answer = entry["metadata"]["expression"], entry["answer"]
    first, *rest = expression.split(" ")
    total, lines = int(first), []
    for sign, term in zip(rest[::2], rest[1::2], strict=True):
        value = total + int(term) if sign == "+" else total - int(term)
        lines.append(f"{total} {sign} {term} = {value}")
        total = value
    question = f"{expression} = ?"
    lines.append(f"#### {answer}")
    metadata = {
        "family": "sums",
        "length": entry["metadata"]["num_terms"],
        "digits": entry["metadata"]["num_digits"],
    }
    return Problem(content_id("sums", question), question, answer, "\n".join(lines), metadata)


@dataclass(frozen=True, slots=True)
class Generated:
    """`count` problems of one split, drawn from a source; iterating again gives the same problems.

    The only thing kept in memory is 8 bytes per question already given, to give none twice.
    """

    source: Source
    split: Split
    count: int
    seed: int = 0

    @property
    def description(self) -> str:
        return f"{self.count:,} {self.split} problems of {self.source.description} (seed {self.seed})"

    def problem(self, index: int) -> Problem | None:
        """Return the problem drawn at this index, or None where the index holds none of this split."""
        problem = self.source.draw(self.seed, index)
        if problem is None or split_of(problem.question) != self.split:
            return None
        place = {"split": self.split, "seed": self.seed, "draw": index}
        return replace(problem, metadata=problem.metadata | place)

    def __iter__(self) -> Iterator[Problem]:
        seen: set[int] = set()
        index = barren = 0
        while len(seen) < self.count:
            problem = self.problem(index)
            index += 1
            if problem is None or (key := question_hash(problem.question)) in seen:
                barren += 1
                if barren >= _PATIENCE:
                    mend = (
                        f"{self.source.description} gave only {len(seen):,} {self.split} questions with an answer,"
                        f" then nothing new in {_PATIENCE:,} draws"
                    )
                    raise UserError.of("dataset.count", self.count, mend)
                continue
            barren = 0
            seen.add(key)
            yield problem
