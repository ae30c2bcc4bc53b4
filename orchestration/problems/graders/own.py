"""A grader of a user's own (`dataset.grader={_target_: my.module.Grader}`), checked on its way in and held to its answers.

It knows nothing of what it imports. Invariant: a class that cannot be made, or lacks a method, is refused before anything
runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from actors.errors import UserError
from actors.strategy import Answer, ballot_of
from actors.targets import check_arguments, imported
from orchestration.problems.graders.ending import MARKER
from orchestration.problems.graders.grader import JudgedByAnswer

_FIELD = "dataset.grader"


@dataclass(frozen=True, slots=True)
class OwnGrader(JudgedByAnswer):
    """`made` has `extract` and `correct` as a `Grader` has them; and, where it wants, `version` (a text that changes
    whenever a verdict can) and `ballot` (from an answer to the text that equal ones share)."""

    name: str
    made: Any

    @property
    def version(self) -> str:
        return f"{self.name} {getattr(self.made, 'version', '')}".rstrip()

    def extract(self, text: str) -> str | None:
        answer = self.made.extract(text)
        if not isinstance(answer, str | None):
            raise TypeError(f"{self.name}.extract gave {answer!r}, which is no text and not None")
        ballot = getattr(self.made, "ballot", None)
        if answer is None or ballot is None:
            return answer
        # A tab parts what a ballot says (`ballots`); here it is a letter.
        return Answer(answer, ballot_of(str(ballot(answer))))

    def correct(self, answer: str | None, reference: str) -> bool:
        return answer is not None and bool(self.made.correct(str(answer), reference))

    def reads(self, reference: str) -> bool:
        """Whether it finds right what the reference says, written as solutions end."""
        return self.read_reference(reference) is not None

    def read_reference(self, reference: str) -> str | None:
        ends = (f"{MARKER} {reference}", rf"\boxed{{{reference}}}", reference)
        read = (self.extract(end) for end in ends)
        return next((one for one in read if self.correct(one, reference)), None)


def own_grader(given: Mapping[str, Any]) -> OwnGrader:
    """Make what `_target_` names with the other keys as its arguments. Raises UserError."""
    target = given.get("_target_")
    if not isinstance(target, str):
        raise UserError.of(_FIELD, dict(given), "give a name, or a mapping with _target_")
    arguments = {str(name): value for name, value in given.items() if name != "_target_"}
    maker = imported(_FIELD, target, target)
    example = f"dataset.grader={{_target_: {target}, {{}}: ...}}"
    check_arguments(
        _FIELD,
        target,
        target,
        maker,
        arguments,
        example.replace("{_target_", "{{_target_").replace("...}", "...}}"),
    )
    made = maker(**arguments)
    for method in ("extract", "correct"):
        if not callable(getattr(made, method, None)):
            raise UserError.of(
                _FIELD, target, f"it has no method {method!r}; a grader has extract and correct"
            )
    told = json.dumps(arguments, sort_keys=True, default=str) if arguments else ""
    return OwnGrader(f"{target}{told}", made)
