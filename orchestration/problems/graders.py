"""Graders: from a solution's text to its final answer in one canonical form, and whether it is right.

They know nothing of models or strategies. Invariants: the canonical form is one string per answer, used alike
for voting, grading and difficulty; what cannot be read is None and never raises; nothing is ever evaluated as
code.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from actors.errors import UserError, nearest
from orchestration.problems.deadline import DeadlinePool
from orchestration.problems.problem import Problem

_MARKER = "####"
# A number alone behind the last marker: sign, digits (grouped by thousands or not), decimals.
_NUMBER = re.compile(r"([-+]?)(\d{1,3}(?:,\d{3})+|\d*)(?:\.(\d*))?")
_PHRASE = re.compile(r"(?:final answer|answer)\s*(?:is|:|=)\s*(.+)", re.IGNORECASE)
_LONGEST_ANSWER = 1_000
_MATH = "orchestration.problems.math_worker"
_GYM = "orchestration.problems.gym_worker"


@runtime_checkable
class Grader(Protocol):
    """Reads and judges final answers. `version` changes whenever any verdict can."""

    @property
    def version(self) -> str: ...

    def extract(self, text: str) -> str | None:
        """Return the final answer of a solution in canonical form, or None where none can be read."""
        ...

    def correct(self, answer: str | None, reference: str) -> bool:
        """Say whether an answer that `extract` gave agrees with a reference of `reference_of`."""
        ...

    def reference_of(self, problem: Problem) -> str | None:
        """Return what answers to a problem are judged by, None where it has no label. It goes to the judge alone."""
        ...


class _ByAnswer:
    """Graders whose reference is the answer as the data set writes it."""

    __slots__ = ()

    def reference_of(self, problem: Problem) -> str | None:
        return problem.answer


@dataclass(frozen=True, slots=True)
class NumberGrader(_ByAnswer):
    """`#### number`, as in GSM8K: microseconds an answer. "1,000", "+1000" and "1000.0" are one answer."""

    @property
    def version(self) -> str:
        return "number-1"

    def extract(self, text: str) -> str | None:
        _, marker, tail = text.rpartition(_MARKER)
        return _canonical_number(tail) if marker else None

    def correct(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == _canonical_number(reference.rpartition(_MARKER)[2])


@dataclass(frozen=True, slots=True)
class TextGrader(_ByAnswer):
    """`#### words`: equal up to case and white space. For data sets whose answers are not numbers."""

    @property
    def version(self) -> str:
        return "text-1"

    def extract(self, text: str) -> str | None:
        _, marker, tail = text.rpartition(_MARKER)
        return (_canonical_text(tail) or None) if marker else None

    def correct(self, answer: str | None, reference: str) -> bool:
        return answer is not None and answer == _canonical_text(reference)


@dataclass(frozen=True, slots=True)
class MathGrader(_ByAnswer):
    r"""Free mathematics through math-verify: `\boxed{...}`, else `####`, else "answer is ...".

    The canonical form is the LaTeX of the simplified expression with decimals as fractions, without the name that
    it is given (`x = 5` is `5`); two answers that math-verify finds equal have one, but for sets and tuples, see
    `math_worker`. All parsing runs
    in `workers` processes of its own, each killed and replaced when a call takes longer than `deadline`
    seconds: such an answer is unreadable (extract) or wrong (correct). Safe to call from any thread; a call
    blocks its thread only.
    """

    workers: int = 1
    deadline: float = 5.0

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UserError.of("grader.workers", self.workers, "it must be at least 1")
        if self.deadline <= 0:
            raise UserError.of("grader.deadline", self.deadline, "it must be more than 0 seconds")

    @property
    def version(self) -> str:
        from importlib.metadata import version

        return f"math-2 math-verify-{version('math-verify')} deadline-{self.deadline:g}"

    def extract(self, text: str) -> str | None:
        content = _final_math(text)
        if content is None or len(content) > _LONGEST_ANSWER:
            return None
        return self._canonical(content)

    def correct(self, answer: str | None, reference: str) -> bool:
        if answer is None:
            return False
        expected = self._canonical(_final_math(reference) or reference.strip().strip("$"))
        if expected is None:
            return False
        return answer == expected or self._pool().call("equal", answer, expected) is True

    def _canonical(self, content: str) -> str | None:
        # The same few answers come again and again: references, and votes for one problem.
        return _canonical_math(self.workers, self.deadline, content)

    def _pool(self) -> DeadlinePool:
        return _pool(_MATH, self.workers, self.deadline)


@dataclass(frozen=True, slots=True)
class GymGrader:
    """reasoning-gym's own scoring of what stands behind `####`: right is a full score. For its data sets alone.

    The canonical form is the text as it is written, for only the data set knows what of it matters. Scoring runs in
    a process of its own; a call that takes longer than `deadline` seconds, or fails, finds the answer wrong.
    """

    deadline: float = 5.0

    @property
    def version(self) -> str:
        from importlib.metadata import version

        return f"gym-1 reasoning-gym-{version('reasoning-gym')} deadline-{self.deadline:g}"

    def extract(self, text: str) -> str | None:
        _, marker, tail = text.rpartition(_MARKER)
        return ("\n".join(line.rstrip() for line in tail.strip().splitlines()) or None) if marker else None

    def correct(self, answer: str | None, reference: str) -> bool:
        if answer is None:
            return False
        score = _pool(_GYM, 1, self.deadline).call("score", answer, reference)
        return isinstance(score, float) and score >= 1.0

    def reference_of(self, problem: Problem) -> str | None:
        return problem.reference


@functools.cache
def _pool(module: str, workers: int, deadline: float) -> DeadlinePool:
    return DeadlinePool(module, workers, deadline)


@functools.lru_cache(maxsize=65_536)
def _canonical_math(workers: int, deadline: float, content: str) -> str | None:
    result = _pool(_MATH, workers, deadline).call("canonical", content)
    return result if isinstance(result, str) else None


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


def _canonical_text(text: str) -> str:
    return " ".join(text.casefold().split())


def _final_math(text: str) -> str | None:
    """Return what is in the last closed `\\boxed{}`, else after the last `####`, else after "answer is"."""
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed.strip() or None
    _, marker, tail = text.rpartition(_MARKER)
    if not marker:
        phrases = _PHRASE.findall(text)
        if not phrases:
            return None
        tail = phrases[-1]
    return tail.strip().rstrip(".").strip("$").strip() or None


def _last_boxed(text: str) -> str | None:
    end = len(text)
    while (start := text.rfind(r"\boxed{", 0, end)) >= 0:
        depth = 0
        for place in range(start + len(r"\boxed"), len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                return text[start + len(r"\boxed{") : place]
        end = start  # cut off inside this box: an earlier one may be whole
    return None


_GRADERS: dict[str, Callable[[], Grader]] = {
    "number": NumberGrader,
    "text": TextGrader,
    "math": MathGrader,
    "gym": GymGrader,
}


def make_grader(name: str) -> Grader:
    """Return the grader of this name: "number", "text", "math" or "gym"; another name raises UserError."""
    if name not in _GRADERS:
        known = ", ".join(_GRADERS)
        raise UserError.of("dataset.grader", name, f"choose one of {known}{nearest(name, _GRADERS)}")
    return _GRADERS[name]()
