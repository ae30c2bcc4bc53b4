"""Answers to reasoning-gym's data sets, judged by their own scoring in a process that can be killed.

It does not know what an answer should look like. Invariant: right is a full score; what raises or takes too long is wrong,
and what the machine is to blame for is no verdict.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestration.problems.graders.ending import MARKER, own_turn
from orchestration.problems.problem import Problem
from orchestration.problems.workers.deadline import NoAnswer, shared_pool, warn

_GYM = "orchestration.problems.workers.gym"


@dataclass(frozen=True, slots=True)
class GymGrader:
    """reasoning-gym's own scoring of what stands behind `####`: right is a full score. For its data sets alone.

    The canonical form is the text as it is written, for only the data set knows what of it matters. Scoring runs in
    `workers` processes of its own; a call that raises, or uses more than `deadline` seconds of the processor, which the log
    says, finds the answer wrong. Where a process gets no time to find out in, `Stalled` is raised.
    """

    workers: int = 1
    deadline: float = 5.0

    @property
    def version(self) -> str:
        from importlib.metadata import version

        return f"gym-4 reasoning-gym-{version('reasoning-gym')} deadline-{self.deadline:g}"

    def extract(self, text: str) -> str | None:
        _, marker, tail = own_turn(text).rpartition(MARKER)
        return ("\n".join(line.rstrip() for line in tail.strip().splitlines()) or None) if marker else None

    def correct(self, answer: str | None, reference: str) -> bool:
        if answer is None:
            return False
        try:
            score = shared_pool(_GYM, self.workers, self.deadline).call("score", answer, reference)
        except NoAnswer as error:
            warn(f"counts as wrong, for {error}", answer)
            return False
        return isinstance(score, float) and score >= 1.0

    def reads(self, reference: str) -> bool:
        return True

    def as_text(self, reference: str, *, parse: bool = True) -> bool:
        return False

    def read_reference(self, reference: str) -> str | None:
        return None

    def reference_of(self, problem: Problem) -> str | None:
        return problem.reference
