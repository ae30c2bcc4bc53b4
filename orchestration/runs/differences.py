"""What two set-ups have that is not the same, in the words of the settings that lead to it.

It knows names of settings and of what is kept of them, nothing of folders. Invariant: a line stays one that is read: few
differences, values without their middle, and how many more there are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orchestration.runs.folder import shortened

_SETTINGS = {
    "policy": "policy.path",
    "tokenizer": "policy.path's tokenizer",
    "dtype": "policy.dtype",
    "engine": "policy.engine",
    # A folder, a class of the user's own, or the policy's own confidence.
    "verifier": "verifier",
    "reviser": "reviser.path",
    "reviser_tokenizer": "reviser.path's tokenizer",
    "reviser_reads": "reviser.turn",
    "reviser_dtype": "reviser.dtype",
    "reviser_engine": "reviser.engine",
    "verifier_dtype": "verifier.dtype",
    "verifier_engine": "verifier.engine",
    "grader": "dataset.grader",
    "prompt": "policy.prompt",
    "delimiter": "policy.delimiter",
    "max_tokens": "policy.max_tokens",
}
"""What a run's identity calls otherwise than a user does."""

_SHOWN = 3
_LONGEST = 80


def differences(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """By setting, what was `known` and what is `wanted`, where the two differ."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, after in wanted.items():
        before = known.get(name)
        if before == after:
            continue
        parts = _prompts(before, after) if name == "prompt" else {}
        found |= parts or {_SETTINGS.get(name, name): (before, after)}
    return found


def in_words(found: Mapping[str, tuple[Any, Any]]) -> str:
    """The first differences, and how many more there are."""
    lines = [
        f"{key} was {shortened(before, _LONGEST)} and is {shortened(after, _LONGEST)}"
        for key, (before, after) in found.items()
    ]
    more = len(lines) - _SHOWN
    # One more takes no more room than saying so.
    return "; ".join(lines if more <= 1 else [*lines[:_SHOWN], f"and {more} more differ"])


def _prompts(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """The parts in which the words of two prompts differ; none where they cannot be told."""
    try:
        old, new = (dict(json.loads(one)) for one in (before, after))
    except (TypeError, ValueError):
        return {}
    for words in (old, new):
        # Those of a prompt without worked examples do not speak of them.
        words.setdefault("shots", 0)
        words.setdefault("examples", None)
    return {
        f"{_SETTINGS['prompt']}.{name}": (old.get(name), value)
        for name, value in new.items()
        if old.get(name) != value
    }
