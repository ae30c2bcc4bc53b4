"""Token ids of text in parts: text of a family's own, in which special tokens are read, and text of others, in which none is.

What a question or a policy wrote is never read as a special token: a step that holds "<|im_end|>" or a tag ends nothing. It
knows a tokenizer and no family. Invariant: but for that, the ids are those that the tokenizer gives for the whole text, for a
tokenizer parts a text at its special tokens first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from actors.engines.verifiers.families.bare import BareTokenizer
from actors.errors import UserError

KEPT = 4096
"""Texts whose ids are kept: those of a search's steps are asked for again with every step after them."""

_QUESTION, _ANSWER = "\ue000question{}\ue001", "\ue000answer{}\ue001"
"""Where a turn's text goes in a chat template; private use characters, which no template writes."""

_DAY = datetime(2024, 7, 26)
_CLOCK = {"date_string": "26 Jul 2024", "strftime_now": _DAY.strftime}
"""The time that every chat template is told: a score must not hang on the clock. Llama 3.1's names this day where it is told
none."""


_MARK = re.compile(r"[^\w\s▁]")
"""What tells a tag from a word or a run of spaces, which a tokenizer may have as tokens of their own, too."""

# White space as Unicode has it, which such tokens take with them; Python's own has four more.
_SPACE = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)


class Pieces:
    """The tokenizer of a model folder.

    `special` are the ids of the tokens that no text of others has: those that the tokenizer calls special, and tags of the
    family that it only added. Other tokens that it added, such as runs of spaces, are read in any text.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import AutoTokenizer

        self.folder = folder
        self.tokenizer: Any = AutoTokenizer.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True
        )
        # The added tokens by text, with their ids.
        found = self.tokenizer.backend_tokenizer.get_added_tokens_decoder()
        self._added: dict[str, tuple[int, Any]] = {
            one.content: (number, one) for number, one in found.items()
        }
        named = set(self.tokenizer.all_special_tokens)
        self.special: dict[str, int] = {}
        self.encode = lru_cache(KEPT)(self._encode)
        self._own(text for text, (_, one) in self._added.items() if one.special or text in named)

    def _own(self, tokens: Iterable[str]) -> None:
        """From here on no text of others has these added tokens."""
        self.special |= {text: self._added[text][0] for text in tokens}
        # Made when it is needed: more may follow.
        self._bare: BareTokenizer | None = None
        self.encode.cache_clear()
        longest_first = sorted(self.special, key=len, reverse=True)
        self._parts = (
            re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else None
        )
        taking = [self._added[text] for text in self.special]
        self.takes_before = frozenset(number for number, one in taking if one.lstrip)
        self.takes_behind = frozenset(number for number, one in taking if one.rstrip)

    def prepare(self) -> BareTokenizer:
        """Make what the first text needs, which may take a second."""
        if self._bare is None:
            whole = json.loads(self.tokenizer.backend_tokenizer.to_str())
            self._bare = BareTokenizer(whole, self.special)
        return self._bare

    def own(self, text: str, *, words: bool = False) -> None:
        """Take the tags in a text of the family's own, as a chat template, for special tokens; added `words` as well, if so
        asked."""
        found = [
            one
            for one in self._added.keys() - self.special.keys()
            if one in text and one.strip(_SPACE + "▁") and (words or _MARK.search(one))
        ]
        if found:
            self._own(found)

    def _encode(self, text: str, *, first: bool = True) -> tuple[int, ...]:
        """Ids of a text in which no special token is read; `first`: nothing stands before it."""
        return self.prepare().ids(text, first=first)

    def encoding(self, text: str) -> Any:
        """The same, of a text that nothing stands before, with the places of its characters."""
        return self.prepare().encoding(text)

    def split(self, text: str) -> list[str | int]:
        """A text of a family's own as special tokens, and what stands between them."""
        parts = self._parts.split(text) if self._parts is not None else [text]
        return [self.special.get(part, part) for part in parts if part]

    def token(self, text: str, instead: str) -> int:
        """The id of a tag. Raises UserError where the tokenizer added none of this text; `instead` says what then."""
        if text not in self._added:
            raise UserError.of("verifier.path", str(self.folder), f"its tokenizer has no {text}: {instead}")
        if text not in self.special:
            self._own([text])
        return self.special[text]

    def last_of(self, text: str) -> int:
        """The last id of a text, as the families' own scripts take it: `tokenizer.encode(text)[-1]`."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return ids[-1]

    def verdicts(self, begun: str, words: Sequence[str]) -> tuple[tuple[int, ...], list[tuple[int, ...]]]:
        """The ids of a verdict's beginning, behind what a judge wrote, and of each of these words behind it; none of a word
        that is not told from it by tokens of its own."""
        then = self.encode(begun, first=False)
        whole = [self.encode(begun + word, first=False) for word in words]
        return then, [one[len(then) :] if one[: len(then)] == then else () for one in whole]

    def turns(self, count: int, system: str | None) -> list[str]:
        """What the chat template writes around the texts of so many turns of a user, each answered by the assistant: before
        the first, between each and the next, and behind the last."""
        self._check_template()
        said = [] if system is None else [{"role": "system", "content": system}]
        marks = []
        for number in range(count):
            for role, mark in (("user", _QUESTION.format(number)), ("assistant", _ANSWER.format(number))):
                said.append({"role": role, "content": mark})
                marks.append(mark)
        return self._around(said, marks, add_generation_prompt=False)

    def turns_alike(self, system: str | None) -> list[str]:
        """The same around any number of turns: before the first, between a user's and its answer, between that and the next.
        Raises UserError for a template that writes some otherwise."""
        around = self.turns(3, system)
        # A template may begin with special words; from the second turn on all are written alike.
        if around[1] != around[3] or around[3] != around[5] or around[2] != around[4]:
            mend = "its chat template does not write all turns alike, as this family's does"
            raise UserError.of("verifier.path", str(self.folder), mend)
        return around[:3]

    def unanswered(self, system: str) -> str:
        """What the chat template writes behind a user's only turn where nobody answers, without an end token."""
        mark = _QUESTION.format(0)
        said = [{"role": "system", "content": system}, {"role": "user", "content": mark}]
        behind = self._around(said, [mark], add_generation_prompt=False)[1]
        end: str = self.tokenizer.eos_token or ""
        return behind.removesuffix(f"{end}\n") if behind.endswith(f"{end}\n") else behind.removesuffix(end)

    def asking(self, *, thinks: bool = False) -> list[str]:
        """What the chat template writes around the text of a user's only turn, up to where the assistant answers; at once,
        unless it `thinks` before."""
        self._check_template()
        mark = _QUESTION.format(0)
        said = [{"role": "user", "content": mark}]
        # A model that thinks is asked not to where the answer's first token is read.
        asked = {} if thinks else {"enable_thinking": False}
        return self._around(said, [mark], add_generation_prompt=True, **asked)

    def _check_template(self) -> None:
        if not self.tokenizer.chat_template:
            mend = "its tokenizer has no chat template, which says how this family is asked: copy all of its files"
            raise UserError.of("verifier.path", str(self.folder), mend)
        self.own(str(self.tokenizer.chat_template))

    def _around(self, said: list[dict[str, str]], marks: list[str], **more: bool) -> list[str]:
        """The parts of a chat's text between these marks."""
        text: str = self.tokenizer.apply_chat_template(said, tokenize=False, **_CLOCK, **more)
        # A template may put a tag together of its parts.
        self.own(text)
        parts = re.split("|".join(map(re.escape, marks)), text)
        if len(parts) != len(marks) + 1:
            mend = "its chat template does not write every turn as it is: take the family's own tokenizer"
            raise UserError.of("verifier.path", str(self.folder), mend)
        return parts


class Writer:
    """Token ids as they are written: what stands between two special tokens is encoded as one text."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._ids: list[int] = []
        self._open: list[str] = []
        # Whether the token before takes the white space with it that begins what follows.
        self._taken = False

    def frame(self, text: str) -> Writer:
        """Write a text of the family's own."""
        for part in self._pieces.split(text):
            if isinstance(part, int):
                self.token(part)
            else:
                self._open.append(part)
        return self

    def text(self, text: str) -> Writer:
        """Write a text of others."""
        self._open.append(text)
        return self

    def token(self, token: int) -> Writer:
        if token in self._pieces.takes_before:
            self._open = ["".join(self._open).rstrip(_SPACE)]
        self.tokens((token,))
        self._taken = token in self._pieces.takes_behind
        return self

    def tokens(self, tokens: Sequence[int]) -> Writer:
        """Write tokens as they are, such as a model drew."""
        self.close()
        self._ids.extend(tokens)
        self._taken = False
        return self

    def close(self) -> int:
        """Encode what is open, so that nothing that follows is a part of its tokens; the number of ids up to here."""
        text = "".join(self._open)
        self._open.clear()
        if self._taken:
            text = text.lstrip(_SPACE)
        if text:
            self._ids.extend(self._pieces.encode(text, first=not self._ids))
            self._taken = False
        return len(self._ids)

    @property
    def ids(self) -> tuple[int, ...]:
        self.close()
        return tuple(self._ids)
