"""Answers that are chains of operations: `#### 7 * 8 - 30`, worked from left to right.

The canonical form is what the chain makes and which numbers it takes, "26 from 7 8 30": chains that make the same of the same
numbers vote together. It knows nothing of problems, and believes no line of a solution: the chain itself is computed, by a
reader of its own. Invariant: whatever stands there is read or is None; nothing raises, and the work is a few products.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestration.problems.graders.ending import marked_answer
from orchestration.problems.graders.grader import JudgedByAnswer

_LONGEST = 9
"""Digits of a number, at most."""

_MOST = 20
"""Numbers of a chain, at most."""

_NUMBER = rf"[0-9]{{1,{_LONGEST}}}"
_CHAIN = re.compile(rf"\s*{_NUMBER}(?:\s*[-+*]\s*{_NUMBER}){{0,{_MOST - 1}}}\s*")
_PART = re.compile(r"[-+*]|[0-9]+")
# Else it may pass for emphasis, which is taken off an answer.
_POWER = re.compile(r"(?<=[0-9])[ \t]*\*\*[ \t]*(?=[0-9])")
# A value has as many digits as all of its numbers, at most.
_REFERENCE = re.compile(rf"(-?[0-9]{{1,{_LONGEST * _MOST}}}) from ({_NUMBER}(?: {_NUMBER}){{0,{_MOST - 1}}})")


@dataclass(frozen=True, slots=True)
class CountdownGrader(JudgedByAnswer):
    """`#### 7 * 8 - 30`, from left to right: right where it makes the target of the given numbers, each taken once. Division,
    brackets and anything else is not read."""

    @property
    def version(self) -> str:
        return "countdown-1"

    def extract(self, text: str) -> str | None:
        return _marked(text)

    def correct(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == _expected(reference)

    def reads(self, reference: str) -> bool:
        return _expected(reference) is not None

    def read_reference(self, reference: str) -> str | None:
        return _expected(reference)


def _expected(reference: str) -> str | None:
    """The canonical form of a reference: as the data set writes it, or that of a worked solution."""
    found = _REFERENCE.fullmatch(reference.strip())
    if found is None:
        return _marked(reference)
    return _form(int(found[1]), [int(number) for number in found[2].split()])


def _marked(text: str) -> str | None:
    content = marked_answer(_POWER.sub("^", text))
    if content is None or _CHAIN.fullmatch(content) is None:
        return None
    total, numbers, sign = 0, [], "+"
    for part in _PART.findall(content):
        if part in "+-*":
            sign = part
            continue
        number = int(part)
        numbers.append(number)
        total = total * number if sign == "*" else total - number if sign == "-" else total + number
    return _form(total, numbers)


def _form(value: int, numbers: list[int]) -> str:
    return f"{value} from {' '.join(map(str, sorted(numbers)))}"
