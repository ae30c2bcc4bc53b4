"""The prompts of a run's problems, as token ids.

It knows tokenizer and template, nothing of outcomes. Invariant: one question has one prompt in all starts of a run, as far as
time goes: a template that tells the date is told the day on which the run was begun.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration.problems import PromptFormat
from orchestration.setup.contexts import LEAST
from orchestration.setup.prompt_lengths import in_settings


class Prompts:
    """`begun` is when the run was begun, in ISO format. The tokenizer is loaded with the first question."""

    def __init__(self, prompt: PromptFormat, tokenizer: Path, begun: str) -> None:
        self._format, self._folder, self._begun = prompt, tokenizer, datetime.fromisoformat(begun)
        self._tokenizer: Any = None

    def text(self, ids: Sequence[int]) -> str:
        """What ids stand for, special tokens and all; for people."""
        text: str = self._loaded().decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    @property
    def begin(self) -> int | None:
        """The token that the tokenizer begins texts with; None where it names none."""
        token: int | None = self._loaded().bos_token_id
        return token

    def continued(self, text: str) -> tuple[int, ...]:
        """The ids of a text that goes on from a prompt."""
        return tuple(self._loaded().encode(text, add_special_tokens=False))

    def ids(self, question: str) -> tuple[int, ...]:
        with in_settings():
            return tuple(self._format.prompt_ids(self._loaded(), question, self._begun))

    def note(self) -> str:
        """What a reader should know of how prompts are made; empty where they are made as it was set. Raises UserError where
        they cannot be made."""
        # Of a plain prompt there is nothing to say, and no tokenizer to load for it.
        if not self._format.chat:
            return ""
        with in_settings():
            return self._format.note(self._loaded())

    def _loaded(self) -> Any:
        if self._tokenizer is None:
            from transformers import AutoTokenizer

            self._tokenizer = AutoTokenizer.from_pretrained(
                self._folder, local_files_only=True, trust_remote_code=False
            )
        return self._tokenizer


class Longest:
    """How many tokens no prompt exceeds of those that were seen."""

    def __init__(self, prompts: Prompts) -> None:
        self._prompts = prompts
        self._around: int | None = None
        self.tokens = LEAST

    def see(self, question: str) -> None:
        if self._around is None:
            self._around = len(self._prompts.ids("1"))
        # A token has a byte at least, so that few questions have to be encoded.
        if self._around + len(question.encode()) > self.tokens:
            self.tokens = max(self.tokens, len(self._prompts.ids(question)))
