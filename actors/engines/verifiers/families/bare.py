"""A tokenizer that knows none of its special tokens: whatever a text holds, none of their ids is among those of the text.

It knows no families. Invariant: but for these tokens, ids are those that the tokenizer gives, for a text that begins there as
for one that stands behind something else.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Mapping
from typing import Any


class BareTokenizer:
    """`whole` is a tokenizer of the library `tokenizers` as JSON, `special` are the tokens that no text has."""

    def __init__(self, whole: Mapping[str, Any], special: Collection[str]) -> None:
        from tokenizers import AddedToken, Tokenizer

        # What nobody can know, so that no text holds it.
        secret = secrets.token_hex(16)
        # Given another name and not left out: the ids of those behind it follow from their order.
        names = {one: f"{secret}-{number}" for number, one in enumerate(sorted(special))}
        added = [
            one | {"content": names.get(one["content"], one["content"])} for one in whole["added_tokens"]
        ]
        model = _renamed(whole["model"], names)
        bare = {
            "added_tokens": added,
            "model": model,
            "post_processor": None,
            "truncation": None,
            "padding": None,
        }
        self._tokenizer: Any = Tokenizer.from_str(json.dumps({**whole, **bare}))
        # A text behind it is encoded as behind any special token.
        self._before = f"{secret}-before"
        self._tokenizer.add_special_tokens([AddedToken(self._before, normalized=False, special=True)])

    def ids(self, text: str, *, first: bool) -> tuple[int, ...]:
        """The ids of a text; `first`: nothing stands before it, where some tokenizers put a space."""
        if not text:
            return ()
        if first:
            return tuple(self.encoding(text).ids)
        return tuple(self.encoding(self._before + text).ids[1:])

    def encoding(self, text: str) -> Any:
        """The ids of a text that nothing stands before, with the places of its characters."""
        return self._tokenizer.encode(text, add_special_tokens=False)


def _renamed(model: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The model of a tokenizer with other names for these pieces, which may be in its vocabulary as well: the search for the
    likeliest pieces finds them there, and so does one that takes a whole word."""
    changed = dict(model)
    if isinstance(model["vocab"], list):
        changed["vocab"] = [[names.get(piece, piece), score] for piece, score in model["vocab"]]
    else:
        changed["vocab"] = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
    if (unknown := model.get("unk_token")) is not None:
        changed["unk_token"] = names.get(unknown, unknown)
    if "merges" in model:
        # They name the pieces that they join and make.
        pairs = (one if isinstance(one, list) else one.split(" ") for one in model["merges"])
        changed["merges"] = [two for two in pairs if not names.keys() & {*two, "".join(two)}]
    return changed
