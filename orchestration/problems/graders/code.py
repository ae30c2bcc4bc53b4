"""Answers that are programs in Python, judged by running tests in a sandbox.

`fences` finds the blocks of a solution, and a helper which of them are its program; the sandbox knows how to run one.
Invariants: nothing that a model wrote runs in this process, in a helper's, or anywhere unconfined; a machine that cannot
confine it judges nothing.
"""

from __future__ import annotations

import ast
import json
import platform
from dataclasses import dataclass

from actors.errors import UserError
from actors.strategy import Answer
from orchestration.problems.graders.fences import programs_in
from orchestration.problems.problem import Problem
from orchestration.problems.sandbox.run import Limits, why_not
from orchestration.problems.workers.blocks import LONGEST
from orchestration.problems.workers.deadline import NoAnswer, Stalled, shared_pool, warn

_CODE = "orchestration.problems.workers.code"
_BLOCKS = 20
"""The last so many blocks of a solution are looked at."""


@dataclass(frozen=True, slots=True)
class CodeGrader:
    """A program in fenced blocks, or as plain text, that passes its tests.

    The reference is JSON: `tests`, a list of texts in Python; maybe `setup`, which stands before them; `entry_point`, then
    the tests define `check(candidate)`, and `prompt` with the beginning of the program; `names`, which are the program's
    even where Python has such a name. Programs vote together that differ in comments, docstrings and formatting alone.
    Reading uses at most `deadline` seconds of the processor; running is limited by the sandbox.
    """

    workers: int = 1
    deadline: float = 5.0

    @property
    def version(self) -> str:
        limits, python = Limits(), ".".join(platform.python_version_tuple()[:2])
        size = f"{limits.processor_seconds} s, {limits.memory_bytes >> 20} MB"
        return f"code-2 python-{python} ({size})"

    def extract(self, text: str) -> Answer | None:
        blocks = programs_in(text)[-_BLOCKS:]
        if not blocks or any(len(block) > LONGEST for block in blocks):
            return None
        try:
            found = shared_pool(_CODE, self.workers, self.deadline).call("canonical", *blocks)
        except NoAnswer as error:
            warn(f"is not read, for {error}", blocks[-1])
            return None
        return None if found is None else Answer(*map(str, found))

    def correct(self, answer: str | None, reference: str) -> bool:
        if answer is None:
            return False
        try:
            verdict = shared_pool(_CODE, self.workers, self.deadline).call("judge", str(answer), reference)
        except NoAnswer as error:
            warn(f"counts as wrong, for {error}", answer)
            return False
        if verdict is None:
            warn("counts as wrong, for its reference cannot be run", answer)
            return False
        if verdict["stalled"]:
            raise Stalled(f"the machine is overloaded: {verdict['why']}")
        if verdict["refused"]:
            raise refusal(verdict["refused"])
        return bool(verdict["passed"])

    def reads(self, reference: str) -> bool:
        """Whether it has tests, and they are Python."""
        try:
            given = json.loads(reference)
            texts = [given.get("setup", ""), *given["tests"]]
            for text in texts:
                ast.parse(text)
        except (ValueError, KeyError, TypeError, AttributeError, SyntaxError, RecursionError, MemoryError):
            return False
        return isinstance(given["tests"], list) and any(text.strip() for text in given["tests"])

    def as_text(self, reference: str, *, parse: bool = True) -> bool:
        return False

    def read_reference(self, reference: str) -> str | None:
        """Its tests."""
        return "\n".join(json.loads(reference)["tests"]) if self.reads(reference) else None

    def reference_of(self, problem: Problem) -> str | None:
        return problem.reference


def check_sandbox() -> None:
    """Raise UserError where this machine cannot run a model's programs safely."""
    if why := why_not():
        raise refusal(why)


def refusal(why: str) -> UserError:
    """What is to be said where programs cannot be confined."""
    mend = (
        f"this machine cannot confine a model's programs, so it runs none ({why}): use Linux 5.13 or newer with Landlock and "
        "seccomp"
    )
    return UserError.of("dataset.grader", "code", mend)
