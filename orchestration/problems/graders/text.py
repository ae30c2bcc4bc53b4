"""Answers that are words: `#### words`.

It knows nothing of problems. Invariant: case, white space, emphasis and a full stop never tell two answers apart.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from orchestration.problems.graders.ending import MARKER, marked_answer, unwrapped
from orchestration.problems.graders.grader import JudgedByAnswer

_MOST_WORDS = 40
"""Of a reference: a longer text is no answer that a solution would end in."""


@dataclass(frozen=True, slots=True)
class TextGrader(JudgedByAnswer):
    """`#### words`, to the end of the line: equal up to case, white space and a full stop. For answers that are not
    numbers."""

    @property
    def version(self) -> str:
        return "text-3"

    def extract(self, text: str) -> str | None:
        content = marked_answer(text)
        return None if content is None else _canonical(content)

    def correct(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == self.read_reference(reference)

    def reads(self, reference: str) -> bool:
        content = marked_answer(reference) or unwrapped(reference)
        if not content or "\n" in content or len(content.split()) > _MOST_WORDS:
            return False
        # What a solution cannot say: `#### Summary` is a heading.
        return self.correct(self.extract(f"{MARKER} {content}"), reference)

    def read_reference(self, reference: str) -> str | None:
        content = marked_answer(reference) or reference
        # A reference may begin as an answer does: `Answer: B` is B.
        return self.extract(f"{MARKER} {content}") or _canonical(content)


def _canonical(text: str) -> str | None:
    return " ".join(unicodedata.normalize("NFC", unwrapped(text)).casefold().split()) or None
