"""Answers that are words: `#### words`.

It knows nothing of problems. Invariant: case and white space never tell two answers apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestration.problems.graders.grader import MARKER, JudgedByAnswer


@dataclass(frozen=True, slots=True)
class TextGrader(JudgedByAnswer):
    """`#### words`: equal up to case and white space. For data sets whose answers are not numbers."""

    @property
    def version(self) -> str:
        return "text-1"

    def extract(self, text: str) -> str | None:
        _, marker, tail = text.rpartition(MARKER)
        return (_canonical_text(tail) or None) if marker else None

    def correct(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == _canonical_text(reference)


def _canonical_text(text: str) -> str:
    return " ".join(text.casefold().split())
