r"""Answers that are a choice's letter: `\boxed{B}`, `#### (B)`, "the answer is B", or a letter that stands alone at the end.

It knows nothing of what the choices say. Invariant: a text that is no single letter or number of a choice is no answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestration.problems.graders.ending import boxed, final_answer, own_turn, unwrapped
from orchestration.problems.graders.grader import JudgedByAnswer

_LETTER = re.compile(
    r"(?:the\s+)?(?:(?:option|choice|letter)\s+)?(?:\\(?:text|textbf|textit|mathrm|mathbf)\s*\{)?[\s({\[*]*"
    r"([A-Za-z]|\d{1,2})(?!\w|[.]\w)[\s)}\]*]*(?:[.:)].*)?",
    re.IGNORECASE | re.DOTALL,
)
_ALONE = re.compile(r"[(*]*([A-Z])[)*]*(?:[.:)][)*]*(?:\s.*)?)?")


@dataclass(frozen=True, slots=True)
class ChoiceGrader(JudgedByAnswer):
    """The letter of a choice (`B`, `(b)`, `B. Paris`), or its number where choices are numbered."""

    @property
    def version(self) -> str:
        return "choice-1"

    def extract(self, text: str) -> str | None:
        content = final_answer(text)
        if content is not None:
            return _letter(content)
        # A model that was asked for a letter may say nothing else.
        lines = own_turn(text).rpartition("</think>")[2].strip().splitlines()
        found = _ALONE.fullmatch(lines[0].strip()) if len(lines) == 1 else None
        return found[1] if found is not None else None

    def correct(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == self.read_reference(reference)

    def reads(self, reference: str) -> bool:
        return self.read_reference(reference) is not None

    def read_reference(self, reference: str) -> str | None:
        return _letter(final_answer(reference) or reference)


def _letter(content: str) -> str | None:
    content = unwrapped(boxed(content) or content)
    found = _LETTER.fullmatch(content)
    return None if found is None else found[1].upper()
