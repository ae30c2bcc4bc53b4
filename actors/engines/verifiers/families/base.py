"""What a family of public verifiers is to its callers: a wording that makes token ids of a question and of steps.

It knows no tokenizer and no model. Invariant: the ids of a reading are all that the model is shown, so whatever is kept of a
score is kept by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from actors.engines.base import Thinking, Writing
from actors.errors import UserError


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model reads: `ids`, the first `start` of which stand before the first step that is scored. A score is read at
    the last token before each of `ends` (offsets, exclusive, ascending), the last of which is the number of ids; behind the
    `writing`, where there is one. The last `fresh` tokens before `start` stood in no reading of the steps before."""

    ids: tuple[int, ...]
    start: int
    ends: tuple[int, ...]
    writing: Writing | None = None
    fresh: int = 0

    def since(self, known: int) -> int:
        """Tokens of the solution behind its first `known` steps."""
        return len(self.ids) - (self.ends[known - 1] if known else self.start)


def room_before(writing: Writing, context: int) -> int:
    """Tokens of a model's `context` that a judge may read, before all that it may write. Raises UserError for none."""
    # The pass that reads the verdict asks for one more token.
    room = context - writing.most - 1
    if room < 1:
        mend = f"its thought and the verdict leave nothing of the context of {context:,}: lower it"
        raise UserError.of("verifier.max_tokens", writing.thinking.tokens, mend)
    return room


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
        """What is written before a score, but for the texts that end it at some solutions alone; None: nothing. Unless it is
        `stepwise`, one score stands for the whole solution, and for each of its steps."""

    @property
    def pair(self) -> tuple[int, int] | None:
        """The ids of the tokens that say good and bad, where the score is read from a language model's logits."""

    def read(self, question: str, steps: Sequence[str]) -> Reading:
        """The reading of a question with its first steps: one end a step, or that of the last step where scores are `alone`.

        Raises ValueError where the ids of a text cannot be told apart into steps.
        """


@runtime_checkable
class Following(Wording, Protocol):
    """The wording of a judge that reads what it wrote about the steps before a step: its `writing` is stepwise."""

    def read_on(self, question: str, steps: Sequence[str], left: Sequence[tuple[int, ...]]) -> Reading:
        """The reading of the last of these steps, behind what the judge left of each before it (`Scores.left`)."""
