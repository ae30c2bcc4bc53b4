"""How earlier attempts stand before a new one: the one place that training and serving of a reviser, and the verifier that
reads its answers, all use.

A `RevisionFormat` is what a user sets, and what lies beside the weights of a model that was trained with it. Bound to a
tokenizer it is a `Revising`, which knows token ids alone and travels with a strategy. It knows nothing of models or of how
attempts are chosen. Invariants: an attempt stands there with the ids that were drawn, never encoded again, only without the
end token behind it; with no attempt at all the context is the prompt itself, id by id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from actors.errors import UserError
from orchestration.problems.prompting import Tokenizer, check_options

ATTEMPTS = 4
"""Attempts that a reviser reads at most, the last ones (paper section 6.1 and appendix H)."""

FILE = "revision.json"
"""In the folder of a model that was trained to read earlier attempts: the format that it knows."""


@dataclass(frozen=True, slots=True)
class Revising:
    """A format for one tokenizer, in token ids: the first `lead` tokens of the prompt, the attempts with `after` behind each,
    the prompt from token `again` on; None: all of it, or nothing. `ends` are the tokens that end an attempt."""

    lead: int | None
    again: int | None
    after: tuple[int, ...]
    ends: frozenset[int]
    attempts: int = ATTEMPTS

    def context(
        self, prompt: tuple[int, ...], attempts: Sequence[tuple[int, ...]], room: int | None = None
    ) -> tuple[int, ...]:
        """What stands before the next attempt: the last of these `attempts`, oldest first, in at most `room` tokens (None: no
        limit). Older ones are left out first; where not one has room it is the prompt alone, however long that is."""
        shown = [self._bare(one) for one in attempts[-self.attempts :]] if self.attempts else []
        fixed = self._fixed(len(prompt))
        while shown and room is not None and fixed + sum(map(self._taken, shown)) > room:
            shown.pop(0)
        if not shown:
            return prompt
        told = [one for attempt in shown for one in (*attempt, *self.after)]
        behind = () if self.again is None else prompt[self.again :]
        return (*prompt[: self.lead], *told, *behind)

    def length(self, prompt: int, attempt: int, attempts: int) -> int:
        """Tokens of a context with so many `attempts` of at most `attempt` tokens each, after a prompt of `prompt` tokens."""
        if not attempts:
            return prompt
        return self._fixed(prompt) + attempts * (attempt + len(self.after))

    def _fixed(self, prompt: int) -> int:
        lead = prompt if self.lead is None else min(self.lead, prompt)
        return lead + (0 if self.again is None else max(0, prompt - self.again))

    def _bare(self, attempt: tuple[int, ...]) -> tuple[int, ...]:
        """An attempt without what ended it: `after` says that it is over."""
        end = len(attempt)
        while end and attempt[end - 1] in self.ends:
            end -= 1
        return attempt[:end]

    def _taken(self, attempt: tuple[int, ...]) -> int:
        return len(attempt) + len(self.after)


@dataclass(frozen=True, slots=True)
class RevisionFormat:
    """How a model is shown its earlier attempts.

    Plain text: the attempts, an end token behind each, then the prompt. It stands last because a small model loses a question
    that its attempts part from the answer; with `first` it stands before them too. In a chat each attempt is a turn of the
    assistant behind the prompt, answered by `turn` from the user.
    """

    first: bool = False
    turn: str = "There may be a mistake in this solution. Solve the problem again, and correct what is wrong."
    attempts: int = ATTEMPTS

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise UserError.of("format.attempts", self.attempts, "a reviser reads at least 1 attempt")
        if not self.turn.strip():
            raise UserError.of(
                "format.turn", self.turn, "give the text with which a chat asks for another attempt"
            )

    def bind(
        self,
        tokenizer: Tokenizer,
        ends: Sequence[int],
        *,
        chat: bool,
        chat_options: Mapping[str, Any] | None = None,
    ) -> Revising:
        """The format in the ids of a tokenizer; `ends` are the model's end tokens, `chat` and `chat_options` as in the
        prompt's format. Raises UserError where the tokenizer has no end token, or its chat template leaves an attempt out."""
        known = frozenset(ends)
        if chat:
            after = tuple(
                tokenizer.encode(self._between(tokenizer, chat_options or {}), add_special_tokens=False)
            )
            return Revising(None, None, after, known, self.attempts)
        end = tokenizer.eos_token_id
        if end is None:
            raise UserError.of("tokenizer.eos_token", None, "revisions need an end token behind each attempt")
        special = _special(tokenizer)
        return Revising(None if self.first else special, special, (end,), known | {end}, self.attempts)

    def write(self, folder: Path) -> None:
        """Beside the weights of a model that was trained with it."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    def _between(self, tokenizer: Tokenizer, options: Mapping[str, Any]) -> str:
        """What a chat template writes behind an attempt, up to where the next one begins."""
        check_options(tokenizer, options)
        said = "flopwise attempt"
        turns = [
            {"role": role, "content": content}
            for role, content in (("user", "question"), ("assistant", said), ("user", self.turn))
        ]
        try:
            wrapped = str(
                tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False, **options)
            )
        except Exception as error:  # a template raises what it likes
            why = " ".join(str(error).split())
            mend = f"the tokenizer's chat template fails with an earlier attempt ({why}): use chat=false"
            raise UserError.of("format.turn", self.turn, mend) from None
        before, found, after = wrapped.partition(said)
        if not before or not found or self.turn.strip() not in after:
            mend = "the tokenizer's chat template leaves out an earlier turn: use chat=false"
            raise UserError.of("format.turn", self.turn, mend)
        return after


def trained_format(folder: Path, field: str = "model", given: str | None = None) -> RevisionFormat | None:
    """The format that the model of a folder was trained with; None where it was not trained to read attempts. Raises
    UserError by the setting `field` that names the folder, as it was `given`, where the file is none of ours."""
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        told: Any = json.loads(file.read_text())
        return RevisionFormat(**told)
    except (ValueError, TypeError) as error:
        mend = f"its {FILE} cannot be read ({error}): train the model again, or remove the file"
        raise UserError.of(field, given or str(folder), mend) from None


def _special(tokenizer: Tokenizer) -> int:
    """How many tokens a tokenizer puts before every text."""
    bare = tokenizer.encode("x", add_special_tokens=False)
    whole = tokenizer.encode("x")
    return next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), 0)
