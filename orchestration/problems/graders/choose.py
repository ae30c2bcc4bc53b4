"""The graders by the names that a config gives them.

Invariant: every grader that has a name can be made without arguments.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

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

MOST_WORKERS = 16
"""Processes that judge at once, at most; each takes about 100 MB."""


def make_grader(name: str) -> Grader:
    """Return the grader of this name: "number", "text", "math" or "gym"; another name raises UserError."""
    if name not in _GRADERS:
        known = ", ".join(_GRADERS)
        raise UserError.of("dataset.grader", name, f"choose one of {known}{nearest(name, _GRADERS)}")
    return _GRADERS[name]()


def judge_of(grader: Grader) -> Grader:
    """The same grader for the run writer, which judges many tasks beside one another: where it reads in processes of its own,
    one for every second core of this machine. They start when they are needed."""
    if not isinstance(grader, MathGrader | GymGrader):
        return grader
    return replace(grader, workers=max(grader.workers, min(MOST_WORKERS, len(os.sched_getaffinity(0)) // 2)))
