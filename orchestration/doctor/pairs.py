"""Right and wrong solutions of one question, by which a verifier is tried.

It knows problems and graders, no model. Invariant: the right solution of a pair is right, and the wrong one wrong: by the
grader where they are of a data set, by arithmetic where they are written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestration.problems import Grader, Problem

PAIRS = 5
"""Pairs of a data set that are scored; an odd number, so that one side has more."""


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
)
"""For verifiers that were trained on mathematics in words."""


def pairs_of(problems: Sequence[Problem], grader: Grader) -> tuple[Pair, ...]:
    """Pairs of problems that have worked solutions: the wrong one of each is another's solution, of as many steps where there
    is such a one. None where the data set has no worked solutions."""
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
    return tuple(found)


def _steps(problem: Problem) -> tuple[str, ...]:
    return tuple((problem.worked("\n") or "").split("\n"))


def _right(problem: Problem, steps: Sequence[str], grader: Grader) -> bool:
    reference = grader.reference_of(problem)
    return reference is not None and grader.correct(grader.extract("\n".join(steps)), reference)
