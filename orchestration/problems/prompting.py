"""How a question becomes the token ids that a policy reads, and a solution the ids that it learns.

The one place where text is templated: training, search and evaluation share it. It knows nothing of models.
Invariant: ids are made once, from text; whoever extends them appends ids and never encodes the joined text
again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from actors.errors import UserError


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    bos_token_id: int | None
    eos_token_id: int | None
    chat_template: Any

    def encode(self, text: str, add_special_tokens: bool = ...) -> list[int]: ...

    def apply_chat_template(self, conversation: list[dict[str, str]], **options: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class PromptFormat:
    """A prompt's shape: `template` around `{question}`.

    With `chat` that text is the user's turn in the tokenizer's chat template, after `system` if there is one.
    """

    template: str = "{question}\n"
    chat: bool = False
    system: str | None = None

    def __post_init__(self) -> None:
        if "{question}" not in self.template:
            raise UserError.of("prompt.template", self.template, "it must contain {question}")

    def prompt_ids(self, tokenizer: Tokenizer, question: str, now: datetime | None = None) -> list[int]:
        """Return the ids of a prompt: [bos] and the encoded text, or the chat template's own ids.

        A template that asks for the date or time is told `now`, None: the clock's.
        """
        # Not str.format: a question or a template may hold other braces (LaTeX does).
        text = self.template.replace("{question}", question)
        if not self.chat:
            start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
            return start + tokenizer.encode(text, add_special_tokens=False)
        if not tokenizer.chat_template:
            raise UserError.of("prompt.chat", True, "this tokenizer has no chat template: set chat=false")
        turns = [{"role": "system", "content": self.system}] if self.system else []
        turns.append({"role": "user", "content": text})
        # The name under which transformers gives templates the clock.
        clock = {} if now is None else {"strftime_now": now.strftime}
        ids = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=False, **clock
        )
        return [int(token) for token in ids]


def solution_ids(tokenizer: Tokenizer, solution: str) -> list[int]:
    """Return the ids of a whole solution: its lines, each ended by a newline, and the end token.

    A tokenizer without an end token raises UserError: nothing would ever end a solution.
    """
    if tokenizer.eos_token_id is None:
        raise UserError.of("tokenizer.eos_token", None, "training needs an end token")
    # The last line ends in its newline too: every step ends in the delimiter, and the end token is no step.
    text = solution.rstrip("\n") + "\n"
    return [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
