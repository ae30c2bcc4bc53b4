"""What a family of public verifiers is to its callers: a wording that makes token ids of a question and of steps.

It knows no tokenizer and no model. Invariant: the ids of a reading are all that the model is shown, so whatever is kept of a
score is kept by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from actors.engines.base import Thinking, Writing


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model reads: `ids`, the first `start` of which stand before the first step. A score is read at the last token
    before each of `ends` (offsets, exclusive, ascending), the last of which is the number of ids; behind the `writing`, where
    there is one."""

    ids: tuple[int, ...]
    start: int
    ends: tuple[int, ...]
    writing: Writing | None = None

    def since(self, known: int) -> int:
        """Tokens of the solution behind its first `known` steps."""
        return len(self.ids) - (self.ends[known - 1] if known else self.start)


class Choice(Protocol):
    """A folder of a family as settings choose it: see `chosen.ChosenFamily`."""

    @property
    def path(self) -> Path: ...

    @property
    def separator(self) -> str | None: ...

    @property
    def thinking(self) -> Thinking | None: ...


class Wording(Protocol):
    """How one model folder is shown a solution, in its own tokens."""

    @property
    def context(self) -> int:
        """Tokens that may be read."""

    @property
    def alone(self) -> bool:
        """Whether each score takes a reading of its own, which no longer one begins with: outcome reward models."""

    @property
    def writing(self) -> Writing | None:
        """What is written before a score, but for the texts that end it at some solutions alone; None: nothing. One score
        stands for the whole solution then, and for each of its steps."""

    @property
    def pair(self) -> tuple[int, int] | None:
        """The ids of the tokens that say good and bad, where the score is read from a language model's logits."""

    def read(self, question: str, steps: Sequence[str]) -> Reading:
        """The reading of a question with its first steps: one end a step, or that of the last step where scores are `alone`.

        Raises ValueError where the ids of a text cannot be told apart into steps.
        """
