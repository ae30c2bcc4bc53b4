"""Right and wrong solutions of one question, by which a verifier is tried.

It knows problems and graders, no model. Invariant: the right solution of a pair is right, and the wrong one wrong: by the
grader where they are of a data set, by arithmetic where they are written here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.problems import Grader, Problem

PAIRS = 7
"""Pairs of a data set that are scored: so many that chance seldom tells all but one."""

LEAST = 3
"""Fewer of a data set say nothing that chance would not."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Steps without what ends them."""

    question: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]


WRITTEN = (
    Pair(
        "A baker bakes 12 trays with 8 rolls each and sells 70 rolls. How many rolls are left?",
        (
            "The baker bakes 12 * 8 = 96 rolls.",
            "Of these 70 are sold, so 96 - 70 = 26 rolls are left.",
            "The answer is: 26",
        ),
        (
            "The baker bakes 12 + 8 = 20 rolls.",
            "Of these 70 are sold, so 70 - 20 = 50 rolls are left.",
            "The answer is: 50",
        ),
    ),
    Pair(
        "Solve for x: 3x + 7 = 22.",
        (
            "Subtract 7 from both sides: 3x = 22 - 7 = 15.",
            "Divide both sides by 3: x = 15 / 3 = 5.",
            "The answer is: 5",
        ),
        (
            "Add 7 to both sides: 3x = 22 + 7 = 29.",
            "Multiply both sides by 3: x = 29 * 3 = 87.",
            "The answer is: 87",
        ),
    ),
    Pair(
        "A train goes 60 miles an hour for 2.5 hours. How many miles does it go?",
        (
            "The distance is the speed times the time.",
            "So the train goes 60 * 2.5 = 150 miles.",
            "The answer is: 150",
        ),
        (
            "The distance is the speed divided by the time.",
            "So the train goes 60 / 2.5 = 30 miles.",
            "The answer is: 30",
        ),
    ),
    Pair(
        "A shirt costs 40 dollars and is sold at 15% off. What is its new price?",
        (
            "15% of 40 dollars is 0.15 * 40 = 6 dollars.",
            "The new price is 40 - 6 = 34 dollars.",
            "The answer is: 34",
        ),
        (
            "15% of 40 dollars is 40 / 15 = 3 dollars.",
            "The new price is 40 + 3 = 43 dollars.",
            "The answer is: 43",
        ),
    ),
    Pair(
        "What is the sum of the first 10 positive whole numbers?",
        (
            "The sum of the first n positive whole numbers is n(n + 1) / 2.",
            "With n = 10 these are 10 * 11 = 110, and 110 / 2 = 55.",
            "The answer is: 55",
        ),
        (
            "The sum of the first n positive whole numbers is n * n.",
            "With n = 10 it is 10 * 10 = 20.",
            "The answer is: 20",
        ),
    ),
    Pair(
        "The sides of a rectangle are 9 cm and 4 cm long. What is its area in square centimetres?",
        (
            "The area of a rectangle is the product of its sides.",
            "So it is 9 * 4 = 36 square centimetres.",
            "The answer is: 36",
        ),
        (
            "The area of a rectangle is the sum of its sides.",
            "So it is 9 + 4 = 14 square centimetres.",
            "The answer is: 14",
        ),
    ),
    Pair(
        "Tom has 3 times as many marbles as Ann. Together they have 48. How many does Ann have?",
        (
            "If Ann has a marbles, Tom has 3a, and together they have a + 3a = 4a.",
            "From 4a = 48 follows a = 48 / 4 = 12.",
            "The answer is: 12",
        ),
        (
            "If Ann has a marbles, Tom has a + 3, and together they have 3a.",
            "From 3a = 48 follows a = 48 - 3 = 46.",
            "The answer is: 46",
        ),
    ),
)
"""For verifiers that were trained on mathematics in words."""


def pairs_of(problems: Sequence[Problem], grader: Grader) -> tuple[Pair, ...]:
    """Pairs of problems that have worked solutions: the wrong one of each is another's solution, of as many steps where there
    is such a one. None where the data set has too few of them."""
    found: list[Pair] = []
    worked = [(one, _steps(one)) for one in problems if one.solution]
    for problem, right in worked:
        if len(found) == PAIRS:
            break
        if not _right(problem, right, grader):
            continue
        others = [steps for one, steps in worked if one is not problem and not _right(problem, steps, grader)]
        if others:
            wrong = min(others, key=lambda steps: abs(len(steps) - len(right)))
            found.append(Pair(problem.question, right, wrong))
    return tuple(found) if len(found) >= LEAST else ()


def by_chance(told: int, pairs: int) -> float:
    """How often a coin tells so many of the pairs, or more."""
    ways = sum(math.comb(pairs, number) for number in range(told, pairs + 1))
    return ways / (1 << pairs)


def _steps(problem: Problem) -> tuple[str, ...]:
    return tuple((problem.worked("\n") or "").split("\n"))


def _right(problem: Problem, steps: Sequence[str], grader: Grader) -> bool:
    reference = grader.reference_of(problem)
    return reference is not None and grader.correct(grader.extract("\n".join(steps)), reference)
