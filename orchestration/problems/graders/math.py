"""Answers that are mathematics, read and compared by math-verify in processes that can be killed.

It knows nothing of problems; `workers.math` parses what it finds in a text. Invariant: a text that cannot be parsed in time
is unreadable, and never raises; what the machine is to blame for is no verdict, and no failure is remembered.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from actors.errors import UserError
from orchestration.problems.graders.grader import MARKER, JudgedByAnswer
from orchestration.problems.workers.deadline import DeadlinePool, NoAnswer, shared_pool, warn

_PHRASE = re.compile(r"(?:final answer|answer)\s*(?:is|:|=)\s*(.+)", re.IGNORECASE)


_LONGEST_ANSWER = 1_000
_MATH = "orchestration.problems.workers.math"


@dataclass(frozen=True, slots=True)
class MathGrader(JudgedByAnswer):
    r"""Free mathematics through math-verify: `\boxed{...}`, else `####`, else "answer is ...".

    The canonical form is the LaTeX of the simplified expression with decimals as fractions, without the name that
    it is given (`x = 5` is `5`); two answers that math-verify finds equal have one, but for sets and tuples, see
    `orchestration.problems.workers.math`. All parsing runs in `workers` processes of its own, each killed and replaced when
    a call uses more than `deadline` seconds of the processor: such an answer is unreadable (extract) or wrong (correct), and
    the log says so. Where a process gets no time to find out in, `Stalled` is raised. Safe to call from any thread; a call
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

        return f"math-3 math-verify-{version('math-verify')} deadline-{self.deadline:g}"

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
        if answer == expected:
            return True
        try:
            return self._pool().call("equal", answer, expected) is True
        except NoAnswer as error:
            warn(f"counts as wrong, for {error}", answer)
            return False

    def _canonical(self, content: str) -> str | None:
        try:
            # The same few answers come again and again: references, and votes for one problem.
            return _canonical_math(self.workers, self.deadline, content)
        except NoAnswer as error:
            warn(f"cannot be read, for {error}", content)
            return None

    def _pool(self) -> DeadlinePool:
        return shared_pool(_MATH, self.workers, self.deadline)


@functools.lru_cache(maxsize=65_536)
def _canonical_math(workers: int, deadline: float, content: str) -> str | None:
    result = shared_pool(_MATH, workers, deadline).call("canonical", content)
    return result if isinstance(result, str) else None


def _final_math(text: str) -> str | None:
    """Return what is in the last closed `\\boxed{}`, else after the last `####`, else after "answer is"."""
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed.strip() or None
    _, marker, tail = text.rpartition(MARKER)
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
