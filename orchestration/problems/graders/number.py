"""Answers that are numbers: `#### number`, as in GSM8K.

It knows nothing of problems. Invariant: equal numbers, however they are written, have one canonical form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestration.problems.graders.grader import MARKER, JudgedByAnswer

# A number alone behind the last marker: sign, digits (grouped by thousands or not), decimals.
_NUMBER = re.compile(r"([-+]?)(\d{1,3}(?:,\d{3})+|\d*)(?:\.(\d*))?")


@dataclass(frozen=True, slots=True)
class NumberGrader(JudgedByAnswer):
    """`#### number`, as in GSM8K: microseconds an answer. "1,000", "+1000" and "1000.0" are one answer."""

    @property
    def version(self) -> str:
        return "number-1"

    def extract(self, text: str) -> str | None:
        _, marker, tail = text.rpartition(MARKER)
        return _canonical_number(tail) if marker else None

    def correct(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == _canonical_number(reference.rpartition(MARKER)[2])


def _canonical_number(text: str) -> str | None:
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        return None
    sign, whole, decimals = match[1], match[2].replace(",", ""), match[3] or ""
    # Lengths are bounded by nothing else; ASCII, for \d matches other scripts' digits too.
    if not (whole or decimals) or len(whole + decimals) > 100 or not (whole + decimals).isascii():
        return None
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    number = f"{whole}.{decimals}" if decimals else whole
    return f"-{number}" if sign == "-" and number != "0" else number
