"""What a problem is, what a dataset is, and which split a question belongs to.

It knows nothing of models, tokens or where problems come from. Invariant: the split of a question is a
function of its text alone, so two splits can never share one, whatever seeds and settings drew them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

# Of 100 equally likely hash buckets: 80 train, 5 validation, 15 test.
_VALIDATION_FROM = 80
_TEST_FROM = 85


@dataclass(frozen=True, slots=True)
class Problem:
    """One question.

    `question` is plain text without any prompt template. `answer` is the reference as the data set writes it,
    or None where there is no label; `reference` is a label that says more, for the grader that reads it.
    `solution` is a worked solution, one step a line, for training and for examples in prompts.
    `metadata` is JSON-like; problems of a table carry its further columns, generated ones `family`, mostly `length`, and how
    to draw them again.
    """

    id: str
    question: str
    answer: str | None = None
    solution: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    reference: str | None = None

    def worked(self, delimiter: str | None) -> str | None:
        """The worked solution with each step ended by `delimiter` (None: by a newline), None where there is none."""
        return None if self.solution is None else self.solution.strip().replace("\n", delimiter or "\n")


class Dataset(Protocol):
    """A stream of problems that can be started again from its beginning."""

    @property
    def description(self) -> str:
        """One line for people: what is in it."""
        ...

    @property
    def identity(self) -> dict[str, Any]:
        """By name, as JSON, what decides which problems are in it and is not told by the problems themselves."""
        ...

    def __iter__(self) -> Iterator[Problem]: ...


def text_hash(text: str) -> int:
    """Return a 64-bit hash of the text, the same on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def question_hash(question: str) -> int:
    """Return a 64-bit hash of the question, blind to case and white space."""
    return text_hash(plain(question))


def plain(question: str) -> str:
    """Return the question without case and needless white space: those who differ in them alone are one."""
    return " ".join(question.casefold().split())


def split_of(question: str) -> Split:
    """Return the one split that this question belongs to."""
    bucket = question_hash(question) % 100
    if bucket < _VALIDATION_FROM:
        return "train"
    return "validation" if bucket < _TEST_FROM else "test"


def content_id(source: str, question: str) -> str:
    """Return an id that stays the same for the same question: the source's name and a digest.

    Never made from the label: seeds derive from ids, and no label may reach a draw.
    """
    digest = hashlib.blake2b(question.encode(), digest_size=8).hexdigest()
    return f"{source}-{digest}"
