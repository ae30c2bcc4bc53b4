"""What ends a step and a solution of the policy: checked against its tokenizer, and put in words for keys.

It knows nothing of models. Invariant: two set-ups whose steps or solutions may end otherwise have other words.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from actors.engines.text_ends import TextEnds, pieces
from actors.errors import UserError
from actors.strategy import Strategy
from orchestration.setup.settings import PolicySettings


def ending(given: PolicySettings, tokenizer: Any, strategies: Sequence[Strategy]) -> str:
    """The words. Raises UserError where a strategy draws step by step and no step can end."""
    known = pieces(tokenizer)
    steps = TextEnds(known, [given.delimiter] if given.delimiter else [])
    by_steps = [one.text for one in strategies if getattr(one, "by_steps", False)]
    if by_steps and not steps.possible:
        why = "no token of the policy's vocabulary ends in it" if given.delimiter else "there is none"
        mend = f"{', '.join(by_steps)} draw step by step, and {why}: give the text that ends a step of this model"
        raise UserError.of("policy.delimiter", given.delimiter, mend)
    words = given.delimiter or ""
    if given.delimiter and not _by_last_token(known, steps, given.delimiter):
        # Steps that one token ends by itself are older than those that are found in the text.
        words += " in the text"
    if given.stop:
        words += f", stop {json.dumps(given.stop, ensure_ascii=False)}"
    return words + (", end_after_answer but for headings" if given.ends_after_answer else "")


def _by_last_token(known: Sequence[bytes], steps: TextEnds, delimiter: str) -> bool:
    """Whether each step ends with a token that holds the delimiter, and nothing but blanks behind it."""
    sign = delimiter.encode()
    return steps.by_token and not any(known[one].rpartition(sign)[2].strip() for one in steps.always)
