r"""Answers that are a choice's letter: `\boxed{B}`, `#### (B)`, "the answer is B", or a letter that stands alone at the end.

It knows nothing of what the choices say. Invariants: a text that is no single letter or number of a choice is no answer, nor
is one that names two; reading takes time in proportion to the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestration.problems.graders.ending import boxed, final_answer, own_turn, unwrapped
from orchestration.problems.graders.grader import JudgedByAnswer

# Whatever repeats gives nothing back: a model may repeat a blank thousands of times.
_LETTER = re.compile(
    r"(?:the\s++)?(?:(?:option|choice|letter)\s++)?(?:\\(?:text|textbf|textit|mathrm|mathbf)\s*+\{)?[\s({\[*\"']*+"
    r"([A-Za-z]|\d{1,2})(?!\w|[.]\w)([\s)}\]*\"']*+)",
    re.IGNORECASE,
)
_ALONE = re.compile(r"[(*\"']*+([A-Z]|(?<=\()[a-z](?=\)))(?![\w'])([\s)*\"']*+)")

_BEHIND = re.compile(r"[.:]|[,(–—-](?![\w'])|\((?=\w)")
"""What may stand between a letter and what its choice says."""

_SECOND = re.compile(r"(?<!\w)[A-Z][.):]\s++\S|\b(?:or|and)\s++\(?[A-Z]\b(?!')")
"""Another letter as a choice."""


@dataclass(frozen=True, slots=True)
class ChoiceGrader(JudgedByAnswer):
    """The letter of a choice (`B`, `(b)`, `B. Paris`), or its number where choices are numbered."""

    @property
    def version(self) -> str:
        return "choice-2"

    def extract(self, text: str) -> str | None:
        content = final_answer(text)
        if content is not None:
            return _letter(content, _LETTER)
        # A model that was asked for a letter may say nothing else.
        lines = own_turn(text).rpartition("</think>")[2].strip().splitlines()
        return _letter(lines[0].strip(), _ALONE) if len(lines) == 1 else None

    def correct(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == self.read_reference(reference)

    def reads(self, reference: str) -> bool:
        return self.read_reference(reference) is not None

    def read_reference(self, reference: str) -> str | None:
        return _letter(final_answer(reference) or reference, _LETTER)


def _letter(content: str, begins: re.Pattern[str]) -> str | None:
    """The letter or number that a text begins with, where what follows it can be the words of its choice."""
    content = unwrapped(boxed(content) or content)
    found = begins.match(content)
    if found is None:
        return None
    rest = content[found.end() :]
    if rest:
        behind = _BEHIND.match(rest)
        closed = ")" in found[2]
        # A small letter that words follow is an article.
        named = closed or (behind is not None and (rest[0] in ".:" or found[1].isupper()))
        if not named or _SECOND.search(rest) is not None:
            return None
    return found[1].upper()
