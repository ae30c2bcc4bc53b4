"""The prompts of a run's problems, as token ids.

It knows tokenizer and template, nothing of outcomes. Invariant: one question has one prompt in all starts of a run, as far as
time goes: a template that tells the date is told the day on which the run was begun.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from orchestration.problems import PromptFormat


class Prompts:
    """`begun` is when the run was begun, in ISO format. The tokenizer is loaded with the first question."""

    def __init__(self, prompt: PromptFormat, tokenizer: Path, begun: str) -> None:
        self._format, self._folder, self._begun = prompt, tokenizer, datetime.fromisoformat(begun)
        self._tokenizer: Any = None

    def ids(self, question: str) -> tuple[int, ...]:
        if self._tokenizer is None:
            from transformers import AutoTokenizer

            self._tokenizer = AutoTokenizer.from_pretrained(
                self._folder, local_files_only=True, trust_remote_code=False
            )
        return tuple(self._format.prompt_ids(self._tokenizer, question, self._begun))
