"""How many tokens prompts have, before a run: as the policy will read them.

It knows tokenizer and template, nothing of the day on which a run is begun. Invariant: what cannot be made into a prompt is
refused here, by the setting that a user knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from actors.errors import UserError
from orchestration.problems import PromptFormat
from orchestration.setup.model_folders import ModelFolder


def prompt_lengths(questions: Sequence[str], policy: ModelFolder, prompt: PromptFormat) -> list[int]:
    """Lengths of the prompts of these questions in the policy's tokens. Raises UserError where its chat template makes no
    prompt of them."""
    if not prompt.chat:
        return [len(policy.tokenizer.encode(prompt.text(question)).ids) for question in questions]
    from transformers import AutoTokenizer

    # A chat template may be longer than what it wraps, and tell system turns and dates of its own.
    templated = AutoTokenizer.from_pretrained(policy.path, local_files_only=True, trust_remote_code=False)
    with in_settings():
        return [len(prompt.prompt_ids(templated, question)) for question in questions]


@contextmanager
def in_settings() -> Iterator[None]:
    """Name a prompt's setting as a user of a run knows it."""
    try:
        yield
    except UserError as error:
        ours = str(error).startswith("prompt.")
        raise UserError(f"policy.{error}" if ours else str(error)) from None
