"""Answers that are numbers: `#### number`, as in GSM8K.

It knows nothing of problems. Invariant: equal numbers, however they are written, have one canonical form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestration.problems.graders.ending import MARKER, marked_answer, unwrapped
from orchestration.problems.graders.grader import JudgedByAnswer
from orchestration.problems.graders.numbers import as_text, number_of
from orchestration.problems.graders.plain import cleaned

LONGEST_NUMBER = 100
"""Characters of a number, at most."""

# What nearly all answers are.
_WHOLE = re.compile(r"\s*(-?)0*([1-9][0-9]{0,17}|0)\s*", re.ASCII)


@dataclass(frozen=True, slots=True)
class NumberGrader(JudgedByAnswer):
    """`#### number`, as in GSM8K: microseconds an answer. "1,000", "$1000", "1000.0 dollars" and "**1e3**" are one answer; a
    percent sign or a unit is left out."""

    @property
    def version(self) -> str:
        return "number-2"

    def extract(self, text: str) -> str | None:
        head, marker, tail = text.rpartition(MARKER)
        if not marker:
            return None
        if MARKER not in head and "<" not in head and (whole := _WHOLE.fullmatch(tail)) is not None:
            return whole[2] if whole[2] == "0" else whole[1] + whole[2]
        content = marked_answer(text)
        return None if content is None else _canonical(content)

    def correct(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == _expected(reference)

    def reads(self, reference: str) -> bool:
        return _expected(reference) is not None

    def read_reference(self, reference: str) -> str | None:
        return _expected(reference)


def _expected(reference: str) -> str | None:
    return _canonical(marked_answer(reference) or reference)


def _canonical(content: str) -> str | None:
    text = cleaned(unwrapped(content)).removesuffix("$").rstrip()
    # `x = 7`, `(7)`, `[7]`
    text = re.sub(r"^[A-Za-z]\w*\s*=\s*", "", text)
    if text[:1] + text[-1:] in ("()", "[]"):
        text = text[1:-1].strip()
    number = number_of(text)
    if number is None:
        return None
    shown = as_text(number.value)
    return shown if len(shown) <= LONGEST_NUMBER else None
