"""What a check found: one line with a mark, and what there is to see besides.

It knows no check. Invariant: what could not be looked at is "-", never "ok".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mark = Literal["ok", "warning", "wrong", "-"]
"""`wrong` is what a run would refuse, or fail of; `warning` what it would do badly with; "-" what was not looked at."""

MARKS: tuple[Mark, ...] = ("ok", "warning", "wrong", "-")


@dataclass(frozen=True, slots=True)
class PromptShown:
    """A problem's prompt: its text in quotes and its ids, both shortened."""

    problem: str
    tokens: int
    text: str
    ids: str


@dataclass(frozen=True, slots=True)
class Finding:
    """`check` names what was looked at, `text` says in one line what was found, and for what is wrong how to mend it.
    `details` are further lines, `prompts` rows of a table."""

    check: str
    mark: Mark
    text: str
    details: tuple[str, ...] = ()
    prompts: tuple[PromptShown, ...] = ()


def skipped(check: str, why: str) -> Finding:
    """What was not looked at, and why."""
    return Finding(check, "-", f"not looked at: {why}")
