"""How a question becomes the token ids that a policy reads, and a solution the ids that it learns.

The one place where text is templated: training, search and evaluation share it. It knows nothing of models.
Invariants: ids are made once, from text, and whoever extends them appends ids and never encodes the joined text again; what
special tokens a prompt has is the tokenizer's affair and its template's, never ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from actors.errors import UserError, nearest
from orchestration.problems.problem import plain

_CLOCK = "strftime_now"
_OURS = frozenset({"messages", "tools", "documents", "add_generation_prompt", _CLOCK, "raise_exception"})
"""Variables that every chat template has, and that no user sets."""


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    eos_token_id: int | None
    chat_template: Any

    def encode(self, text: str, add_special_tokens: bool = ...) -> list[int]: ...

    def apply_chat_template(self, conversation: list[dict[str, str]], **options: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """A prompt's shape: `template` around `{question}`.

    With `chat` that text is the user's turn in the tokenizer's chat template, after `system` if there is one. Where the
    template has no system turn, `system` stands at the beginning of the first user's. Before it stand the first `shots` of
    the `examples` (question and solution each) that are not the question itself: as text, or as turns of user and assistant.
    One example more than `shots` leaves a question that is one of them as many as the others. `chat_options` are variables of
    the chat template by their names, such as Qwen3's `enable_thinking`.
    """

    template: str = "{question}\n"
    chat: bool = False
    system: str | None = None
    shots: int = 0
    examples: tuple[tuple[str, str], ...] = ()
    chat_options: dict[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if "{question}" not in self.template:
            raise UserError.of("prompt.template", self.template, "it must contain {question}")

    def prompt_ids(self, tokenizer: Tokenizer, question: str, now: datetime | None = None) -> list[int]:
        """Return the ids of a prompt: the text as the tokenizer encodes it, or as the chat template wraps it.

        A template that asks for the date or time is told `now`, None: the clock's. Raises UserError where there is no
        template, or it fails.
        """
        if not self.chat:
            return _begun(tokenizer, self.text(question))
        wrapped, _ = self._wrapped(tokenizer, question, now)
        # A template writes its special tokens itself.
        return tokenizer.encode(wrapped, add_special_tokens=False)

    def text(self, question: str) -> str:
        """The prompt as plain text: the examples, each with an empty line behind it, and the question."""
        told = (_continued(self._asked(one), solution) + "\n\n" for one, solution in self._before(question))
        return "".join(told) + self._asked(question)

    def note(self, tokenizer: Tokenizer) -> str:
        """What a reader should know of how the prompt is made; empty where it is made as it was set. Raises UserError as
        `prompt_ids` does."""
        if not self.chat or self._wrapped(tokenizer, "{question}", None)[1] or not self.system:
            return ""
        return "this model's chat template has no system turn: policy.prompt.system stands at the beginning of the user's"

    def _asked(self, question: str) -> str:
        # Not str.format: a question or a template may hold other braces (LaTeX does).
        return self.template.replace("{question}", question)

    def _before(self, question: str) -> list[tuple[str, str]]:
        """The examples that stand before a question."""
        itself = plain(question) if self.shots else ""
        return [one for one in self.examples if plain(one[0]) != itself][: self.shots]

    def _wrapped(self, tokenizer: Tokenizer, question: str, now: datetime | None) -> tuple[str, bool]:
        """A question in the chat template, and whether the template took the system turn as one."""
        if not tokenizer.chat_template:
            raise UserError.of(
                "prompt.chat", True, "this tokenizer has no chat template: set policy=base (plain text)"
            )
        check_options(tokenizer, self.chat_options)
        # The name under which transformers gives templates the clock.
        clock = {} if now is None else {_CLOCK: now.strftime}

        def render(*turns: tuple[str, str]) -> str:
            said = [{"role": role, "content": content} for role, content in turns]
            rendered = tokenizer.apply_chat_template(
                said, add_generation_prompt=True, tokenize=False, **clock, **self.chat_options
            )
            return str(rendered)

        told = [(self._asked(one), solution) for one, solution in self._before(question)]
        turns = [turn for one, solution in told for turn in (("user", one), ("assistant", solution))]
        turns.append(("user", self._asked(question)))
        if self.system:
            try:
                wrapped = render(("system", self.system), *turns)
            except Exception:  # a template raises what it likes where a role is not meant
                wrapped = ""
            # Some templates leave out a turn that they do not know, without a word.
            if _holds(wrapped, self.system):
                _check_told(wrapped, told)
                return wrapped, True
            turns[0] = ("user", f"{self.system.strip()}\n\n{turns[0][1]}")
        try:
            wrapped = render(*turns)
        except Exception as error:
            why = " ".join(str(error).split())
            mend = f"the tokenizer's chat template fails ({why}): mend it, or set policy=base (plain text)"
            raise UserError.of("prompt.chat", True, mend) from None
        _check_told(wrapped, told)
        return wrapped, False


def check_options(tokenizer: Tokenizer, options: Mapping[str, Any]) -> None:
    """Raise UserError for a variable that a tokenizer's chat template does not have: it would say nothing of it."""
    words = set(re.findall(r"\w+", str(tokenizer.chat_template)))
    for name, value in options.items():
        if name in _OURS or name not in words:
            meant = nearest(name, words - _OURS)
            mend = f"this tokenizer's chat template has no such variable to set{meant}: leave it out"
            raise UserError.of(f"prompt.chat_options.{name}", value, mend)


def _continued(asked: str, solution: str) -> str:
    """A prompt with its solution; one that ends in a word, as in "A:", is gone on with behind a blank."""
    return asked + ("" if asked[-1:].isspace() else " ") + solution


def _holds(wrapped: str, text: str) -> bool:
    """Whether what a template made holds a text; white space is the template's own affair."""
    return "".join(text.split()) in "".join(wrapped.split())


def _check_told(wrapped: str, told: list[tuple[str, str]]) -> None:
    """Raise UserError where a template left an example out, which would show in no number."""
    # Of a solution its end: some templates leave out what a model thought before it.
    if not all(_holds(wrapped, asked) and _holds(wrapped, said.splitlines()[-1]) for asked, said in told):
        mend = (
            "the tokenizer's chat template leaves out earlier turns: set it to 0, or policy=base (plain text)"
        )
        raise UserError.of("prompt.shots", len(told), mend)


def _begun(tokenizer: Tokenizer, text: str) -> list[int]:
    """A text that is to be continued, with what the tokenizer puts before it."""
    ids, bare = tokenizer.encode(text), tokenizer.encode(text, add_special_tokens=False)
    # Some tokenizers end every text, and nothing follows an end.
    ended = ids[-1:] == [tokenizer.eos_token_id] and len(ids) > len(bare) and ids[-len(bare) :] != bare
    return ids[:-1] if ended else ids


def solution_ids(tokenizer: Tokenizer, solution: str) -> list[int]:
    """Return the ids of a whole solution: its lines, each ended by a newline, and the end token.

    A tokenizer without an end token raises UserError: nothing would ever end a solution.
    """
    if tokenizer.eos_token_id is None:
        raise UserError.of("tokenizer.eos_token", None, "training needs an end token")
    # The last line ends in its newline too: every step ends in the delimiter, and the end token is no step.
    text = solution.rstrip("\n") + "\n"
    return [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
