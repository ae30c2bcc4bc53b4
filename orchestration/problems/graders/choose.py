"""The graders by the names that a config gives them.

Invariant: every grader that has a name can be made without arguments.
"""

from __future__ import annotations

from collections.abc import Callable

from actors.errors import UserError, nearest
from orchestration.problems.graders.grader import Grader
from orchestration.problems.graders.gym import GymGrader
from orchestration.problems.graders.math import MathGrader
from orchestration.problems.graders.number import NumberGrader
from orchestration.problems.graders.text import TextGrader

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
