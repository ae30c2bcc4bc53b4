"""The mixture of arithmetic problems that flopwise is shipped with: legs of animals, and chains of sums.

Questions are reasoning-gym's without their constant instructions. It knows nothing of prompts or grading. Invariant: every
line of a solution is one step, and where it adds something up, it carries the running total, so a slip is visible where it
happens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from actors.errors import UserError
from actors.seeds import derive
from orchestration.problems.datasets.generated import WORKED, with_options
from orchestration.problems.datasets.gym import entry_at
from orchestration.problems.problem import Problem, content_id

_SHARES = ("sums", "halves")


@dataclass(frozen=True, slots=True)
class ArithmeticSource:
    """The shipped mixture: counting legs (regular word problems) and chain sums (the hard tail).

    Ranges are inclusive: `legs` kinds of animals with `counts` of each; `terms` of a sum and their `digits`.
    `sums` is the share of sums, `halves` that of the lines of a solution that are written as two: a product and what it is
    added to, or a term's tens and its ones. Nothing in a question tells which, so a policy that learns from them writes
    solutions of different lengths to one question. Questions are reasoning-gym's without their constant instructions.
    """

    legs: tuple[int, int] = (1, 8)
    counts: tuple[int, int] = (1, 30)
    terms: tuple[int, int] = (2, 6)
    digits: tuple[int, int] = (1, 2)
    sums: float = 0.4
    halves: float = field(default=0.0, metadata=WORKED)

    def __post_init__(self) -> None:
        for name, least in (("legs", 1), ("counts", 1), ("terms", 2), ("digits", 1)):
            given = getattr(self, name)
            if not isinstance(given, list | tuple) or [type(one) for one in given] != [int, int]:
                raise UserError.of(f"dataset.options.{name}", given, "give two whole numbers: [low, high]")
            low, high = given
            object.__setattr__(self, name, (low, high))  # a config file brings lists
            if not least <= low <= high:
                raise UserError.of(
                    f"dataset.options.{name}", [low, high], f"two rising numbers from {least} on"
                )
        for name in _SHARES:
            share = getattr(self, name)
            if type(share) not in (int, float) or not 0 <= share <= 1:
                raise UserError.of(f"dataset.options.{name}", share, "it is a share between 0 and 1")

    def with_options(self, options: dict[str, Any]) -> ArithmeticSource:
        """Return this source with some settings replaced, ranges given as [low, high]."""
        return with_options(self, options)

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
            return _sum_problem(entry_at("chain_sum", seed, index, options), self.halves)
        options = {
            "min_animals": self.legs[0],
            "max_animals": self.legs[1],
            "min_instances": self.counts[0],
            "max_instances": self.counts[1],
        }
        return _legs_problem(entry_at("leg_counting", seed, index, options), self.halves)


# What the models of this domain are judged on: long enough that one sample is often wrong, and sixteen rarely all.
SHIPPED = ArithmeticSource(legs=(6, 8), terms=(4, 6), digits=(2, 2), sums=0.7)


def _halved(question: str, place: int, halves: float) -> bool:
    """Whether the line at this place is written as two."""
    return halves > 0 and derive("halves", question, place) / 2**63 < halves


def _legs_problem(entry: dict[str, Any], halves: float) -> Problem:
    from reasoning_gym.arithmetic.leg_counting import ANIMALS

    animals: dict[str, int] = entry["metadata"]["animals"]
    names = [f"{count} {animal}{'s' if count > 1 else ''}" for animal, count in animals.items()]
    question, answer = f"How many legs: {', '.join(names)}?", entry["answer"]
    lines: list[str] = []
    total = 0
    for place, (name, (animal, count)) in enumerate(zip(names, animals.items(), strict=True)):
        product = count * ANIMALS[animal]
        line = f"{name} * {ANIMALS[animal]} = {product}"
        if lines:
            apart = "\n" if _halved(question, place, halves) else ", "
            line += f"{apart}{total} + {product} = {total + product}"
        total += product
        lines.append(line)
    lines.append(f"#### {answer}")
    metadata = {"family": "legs", "length": len(animals)}
    return Problem(content_id("legs", question), question, answer, "\n".join(lines), metadata)


def _sum_problem(entry: dict[str, Any], halves: float) -> Problem:
    expression, answer = entry["metadata"]["expression"], entry["answer"]
    question = f"{expression} = ?"
    first, *rest = expression.split(" ")
    total, lines = int(first), []
    for place, (sign, term) in enumerate(zip(rest[::2], rest[1::2], strict=True)):
        parts = [int(term)]
        if int(term) > 10 and int(term) % 10 and _halved(question, place, halves):
            parts = [int(term) // 10 * 10, int(term) % 10]
        for part in parts:
            value = total + part if sign == "+" else total - part
            lines.append(f"{total} {sign} {part} = {value}")
            total = value
    lines.append(f"#### {answer}")
    metadata = {
        "family": "sums",
        "length": entry["metadata"]["num_terms"],
        "digits": entry["metadata"]["num_digits"],
    }
    return Problem(content_id("sums", question), question, answer, "\n".join(lines), metadata)
