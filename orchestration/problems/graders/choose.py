"""The graders by the names that a config gives them.

Invariant: every grader that has a name can be made without arguments.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from actors.errors import UserError, nearest
from orchestration.problems.graders.choice import ChoiceGrader
from orchestration.problems.graders.code import CodeGrader, check_sandbox
from orchestration.problems.graders.countdown import CountdownGrader
from orchestration.problems.graders.grader import Grader
from orchestration.problems.graders.gym import GymGrader
from orchestration.problems.graders.math import MathGrader
from orchestration.problems.graders.number import NumberGrader
from orchestration.problems.graders.own import own_grader
from orchestration.problems.graders.text import TextGrader

_GRADERS: dict[str, Callable[[], Grader]] = {
    "number": NumberGrader,
    "text": TextGrader,
    "math": MathGrader,
    "gym": GymGrader,
    "countdown": CountdownGrader,
    "choice": ChoiceGrader,
    "code": CodeGrader,
}

_SHOWN = 40

MOST_WORKERS = 16
"""Processes that judge at once, at most; each takes about 100 MB."""


def make_grader(name: str | Mapping[str, Any]) -> Grader:
    """Return the grader of this name, one of `_GRADERS`, or that which a mapping's `_target_` names. Raises UserError, also
    where this machine cannot run programs and the grader would."""
    if isinstance(name, Mapping):
        return own_grader(name)
    if name not in _GRADERS:
        known = ", ".join(_GRADERS)
        raise UserError.of("dataset.grader", name, f"choose one of {known}{nearest(name, _GRADERS)}")
    if name == "code":
        check_sandbox()
    return _GRADERS[name]()


def why_unread(grader: Grader, name: str, reference: str, setting: str = "dataset.grader") -> str:
    """Why a reference is of no use to the grader of this name, with the grader that reads it, as `setting` takes it; "" where
    it is of use."""
    if grader.reads(reference):
        return ""
    # Words are the text grader's first.
    others = (
        ("text", "math") if reference.replace(" ", "").isalpha() else ("number", "countdown", "math", "text")
    )
    fits = next((other for other in others if other != name and _serves(_GRADERS[other](), reference)), None)
    mend = f"{setting}={fits} reads it" if fits is not None else "no grader reads it"
    shown = reference if len(reference) <= _SHOWN else f"{reference[: _SHOWN - 3]}..."
    return f"{shown!r}; {mend}"


def _serves(grader: Grader, reference: str) -> bool:
    return grader.reads(reference) and not grader.as_text(reference, parse=False)


def judge_of(grader: Grader) -> Grader:
    """The same grader for the run writer, which judges many tasks beside one another: where it reads in processes of its own,
    one for every second core of this machine. They start when they are needed."""
    if not isinstance(grader, MathGrader | GymGrader | CodeGrader):
        return grader
    return replace(grader, workers=max(grader.workers, min(MOST_WORKERS, len(os.sched_getaffinity(0)) // 2)))
