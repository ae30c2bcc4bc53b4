"""What a grader is: from a solution's text to its final answer, whom that votes with, and whether it is right.

It knows nothing of models or strategies. Invariants: what an answer says (its ballot) is made of its text
alone, and serves voting, grading and difficulty alike; what cannot be read is None and never raises; nothing is ever
evaluated as code.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from orchestration.problems.problem import Problem


@runtime_checkable
class Grader(Protocol):
    """Reads and judges final answers. `version` changes whenever any verdict can."""

    @property
    def version(self) -> str: ...

    def extract(self, text: str) -> str | None:
        """Return the final answer of a solution, an `Answer` where equal ones may read differently, or None where none can be
        read."""
        ...

    def correct(self, answer: str | None, reference: str) -> bool:
        """Say whether an answer that `extract` gave agrees with a reference of `reference_of`."""
        ...

    def reads(self, reference: str) -> bool:
        """Say whether a reference is one that an answer could agree with: one that is not would count every answer as
        wrong."""
        ...

    def as_text(self, reference: str, *, parse: bool = True) -> bool:
        """Say whether a reference that it reads is a bare text to it, which only the same text equals, although it reads more
        than texts. Without `parse`, which may take milliseconds, what looks like an expression is taken for one."""
        ...

    def read_reference(self, reference: str) -> str | None:
        """Return what is read of a reference, for people; None where nothing is, or it is no text for them."""
        ...

    def reference_of(self, problem: Problem) -> str | None:
        """Return what answers to a problem are judged by, None where it has no label. It goes to the judge alone."""
        ...


class JudgedByAnswer:
    """Graders whose reference is the answer as the data set writes it, and that take no more for a text than they say."""

    __slots__ = ()

    def as_text(self, reference: str, *, parse: bool = True) -> bool:
        return False

    def reference_of(self, problem: Problem) -> str | None:
        return problem.answer
