"""Where a text is complete in what token ids decode to, told token by token without decoding.

Every token stands for some bytes, whatever stands around it (`pieces`). So looking for texts in a growing solution is a small
machine: from its state and the next token follow its next state and whether a text is complete, by two looks into a table.
A text may lie across tokens or inside one. It knows nothing of models or engines. Invariant: what it finds depends on the
tokens alone, in their order from the solution's first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ANSWER_MARKER = b"####"
"""What begins a line with the final answer, as in GSM8K."""

# What a line behind the marker is instead of an answer, as graders have it: a step, with anything behind it, or nothing but
# one of the names.
_STEPS = ("step",)
_HEADS = ("answer", "solution", "result", "conclusion", "summary")
_ARTICLES = ("the", "final")

_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def pieces(tokenizer: Any) -> list[bytes]:
    """The bytes that each token of a `tokenizers.Tokenizer` adds to a text that has begun, by its id."""
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    found = [b""] * (max(vocabulary.values(), default=-1) + 1)
    decoder = "" if tokenizer.decoder is None else tokenizer.decoder.__getstate__().decode()
    if '"ByteLevel"' in decoder:
        letters = _byte_letters()
        for word, number in vocabulary.items():
            try:
                found[number] = bytes([letters[letter] for letter in word])
            except KeyError:
                # The decoder, too, takes a word with a foreign letter as it is.
                found[number] = word.encode()
        return found
    ids = sorted(vocabulary.values())
    # Decoders may leave out a space at the start of a text: each token is read behind another.
    before = tokenizer.token_to_id("a") or next(
        (one for one in ids if tokenizer.decode([one]).isalnum()), ids[0]
    )
    start = tokenizer.decode([before], skip_special_tokens=False)
    texts = tokenizer.decode_batch([[before, one] for one in ids], skip_special_tokens=False)
    alone = tokenizer.decode_batch([[one] for one in ids], skip_special_tokens=False)
    for number, text, only in zip(ids, texts, alone, strict=True):
        found[number] = (text[len(start) :] if text.startswith(start) else only).encode()
    if '"ByteFallback"' in decoder:
        for word, number in vocabulary.items():
            if (byte := _BYTE_TOKEN.fullmatch(word)) is not None:
                found[number] = bytes([int(byte[1], 16)])
    return found


def _byte_letters() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary stands for (GPT-2's table)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + place): byte for place, byte in enumerate(hidden)}


class TextEnds:
    """Finds ends of any of `texts` in tokens that stand for `pieces`, or of a line with an answer (`answer`), which is no
    heading. What comes
    after an end is looked through anew.

    `kinds` [V] sorts tokens by what they do. `after` [S, K] is the next state, `hit` [S, K] whether a text is complete.
    `always` are the tokens that complete one whatever came before, `by_token` says that no others do, `possible` that some
    do.
    """

    def __init__(self, pieces: Sequence[bytes], texts: Sequence[str], *, answer: bool = False) -> None:
        step, done = _machine([text.encode() for text in texts if text], answer=answer)
        after, hit = _over_tokens(pieces, step, done)
        columns = np.ascontiguousarray(np.concatenate([after, hit]).T)
        one = columns.view(np.dtype((np.void, columns.dtype.itemsize * columns.shape[1])))[:, 0]
        _, first, kinds = np.unique(one, return_index=True, return_inverse=True)
        self.kinds: NDArray[np.int64] = kinds.reshape(-1)
        self.after: NDArray[np.int64] = after[:, first].astype(np.int64)
        self.hit: NDArray[np.bool_] = hit[:, first].astype(np.bool_)
        # Plain lists: one look at a time is several times as fast in them.
        self._kinds, self._after, self._hit = self.kinds.tolist(), self.after.tolist(), self.hit.tolist()
        same = (self.after == self.after[0]).all(axis=0)
        self._settled: list[int] = np.where(same, self.after[0], -1).tolist()
        always: NDArray[np.bool_] = np.asarray(self.hit.all(axis=0))
        self.always: tuple[int, ...] = tuple(np.flatnonzero(always[self.kinds]).tolist())
        self.by_token = bool((self.hit == self.hit[0]).all())
        self.possible = bool(self.hit.any())

    def state(self, tokens: Sequence[int], state: int = 0) -> int:
        """The state after these tokens. Only the last of them are read: most tokens lead to one state from every other."""
        start = len(tokens)
        while start and (settled := self._settled[self._kinds[tokens[start - 1]]]) < 0:
            start -= 1
        state = settled if start else state
        for token in tokens[start:]:
            state = self._after[state][self._kinds[token]]
        return state

    def next(self, state: int, token: int) -> tuple[int, bool]:
        """The state after one token more, and whether it completes a text."""
        kind = self._kinds[token]
        return self._after[state][kind], self._hit[state][kind]

    def ends(self, tokens: Sequence[int]) -> Iterator[int]:
        """Offsets (exclusive) of the tokens that complete a text, the first first."""
        state = 0
        for place, token in enumerate(tokens, start=1):
            kind = self._kinds[token]
            if self._hit[state][kind]:
                yield place
            state = self._after[state][kind]

    def ends_from_last(self, tokens: Sequence[int]) -> Iterator[int]:
        """The same, the last first, reading no further than is asked for."""
        stop = len(tokens)
        while stop:
            start = stop - 1
            while start and (settled := self._settled[self._kinds[tokens[start - 1]]]) < 0:
                start -= 1
            state, found = settled if start else 0, []
            for place in range(start, stop):
                state, hit = self.next(state, tokens[place])
                if hit:
                    found.append(place + 1)
            yield from reversed(found)
            stop = start


@dataclass(frozen=True, slots=True, eq=False)
class Watch:
    """What ends a request beside its tokens: the texts, the `state` in which the context has left them, and what to call such
    an end."""

    texts: TextEnds
    state: int
    finish: Literal["eos", "stop"]

    def ended(self, tokens: Sequence[int]) -> bool:
        """Whether the last of these new tokens completes a text."""
        return bool(tokens) and self.texts.next(self.texts.state(tokens[:-1], self.state), tokens[-1])[1]


def _machine(texts: list[bytes], *, answer: bool) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """Next state and whether a text is complete, by state and byte. A state is what of a text may have begun, and how much
    there is of a line with an answer."""
    starts = sorted({text[:length] for text in texts for length in range(len(text))} | {b""}, key=len)
    known = set(starts)
    states: dict[tuple[bytes, _Line], int] = {(b"", 0): 0}
    rows: list[list[tuple[int, bool]]] = []
    waiting: list[tuple[bytes, _Line]] = [(b"", 0)]
    for begun, line in waiting:
        row = []
        for byte in range(256):
            seen = begun + bytes([byte])
            done = any(seen.endswith(text) for text in texts)
            following, ended = _line(line, byte) if answer else (0, False)
            if done or ended:
                row.append((0, True))
                continue
            rest = next(seen[cut:] for cut in range(len(seen) + 1) if seen[cut:] in known)
            state = (rest, following)
            if state not in states:
                states[state] = len(states)
                waiting.append(state)
            row.append((states[state], False))
        rows.append(row)
    table = np.array(rows, dtype=np.int64)
    return table[:, :, 0].astype(np.int16), table[:, :, 1].astype(np.bool_)


# How much there is of a line with an answer: signs of the marker, the marker; of what stands behind it a word that may be a
# heading, a heading that is whole, a number that may count a heading; an answer, one that a colon ends, a line that is none.
_Line = int | str
_MARKER, _HEADING, _ANSWER, _COLON, _NONE = 4, "heading:", "answer:", "colon:", "none:"
_COUNT, _COUNTED, _APART = "count:", "counted:", "apart:"
_WORDS = (*_STEPS, *_HEADS, *_ARTICLES)
_BEGINNINGS = {word[:length] for word in _WORDS for length in range(1, len(word) + 1)}


def _line(line: _Line, byte: int) -> tuple[_Line, bool]:
    """Go on with a line, and say whether it is complete and an answer."""
    sign = chr(byte).lower()
    if sign == "\n":
        answers = line in (_ANSWER, _COUNT, _COUNTED, _APART) or (
            isinstance(line, str) and line in _BEGINNINGS and line not in (*_STEPS, *_HEADS)
        )
        return 0, answers
    if isinstance(line, int) and line < _MARKER:
        return (line + 1 if sign == "#" else 0), False
    return _behind(line, sign), False


def _behind(line: _Line, sign: str) -> _Line:
    """Go on behind the marker, with a sign that ends no line."""
    letter, blank = "a" <= sign <= "z", sign.isspace() or sign in "*_"
    on: _Line = _COLON if sign == ":" else _ANSWER
    if line == _MARKER:
        if blank or sign == "#":
            return line
        return sign if sign in _BEGINNINGS else _COUNT if sign.isdecimal() and sign.isascii() else on
    if line == _NONE:
        return line
    if line in _BEGINNINGS:
        if letter:
            return f"{line}{sign}" if f"{line}{sign}" in _BEGINNINGS else _ANSWER
        if line in _STEPS:
            return _NONE
        if line in _ARTICLES:
            return _MARKER if blank else on
        return _HEADING if line in _HEADS and (blank or sign in ".:") else on
    if line == _HEADING:
        return line if blank or sign in ".:" else on
    # "1. Add them" counts a step, and "1." and "1.5" are answers.
    if line == _COUNT:
        return _COUNTED if sign in ".)" else on
    if line in (_COUNTED, _APART):
        return _APART if blank else _NONE if letter and line == _APART else on
    return line if line == _COLON and blank else on


def answer_end(text: str) -> int | None:
    """Where the first whole line with an answer ends in a text, its newline included; None where there is none."""
    data = text.encode(errors="replace")
    start = data.find(ANSWER_MARKER)
    line: _Line = 0
    for place in range(start, len(data)) if start >= 0 else ():
        line, ended = _line(line, data[place])
        if ended:
            return len(data[: place + 1].decode())
    return None


def _over_tokens(
    pieces: Sequence[bytes], step: NDArray[np.int16], done: NDArray[np.bool_]
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """The same by state and token: all tokens at once, byte by byte."""
    # The longest first, so that those that have a byte at some place stand in front.
    order = sorted(range(len(pieces)), key=lambda one: -len(pieces[one]))
    lengths = np.array([len(pieces[one]) for one in order])
    text = np.frombuffer(b"".join(pieces[one] for one in order), np.uint8)
    offsets = np.cumsum(lengths) - lengths
    after = np.zeros((len(step), len(pieces)), np.int16)
    hit = np.zeros((len(step), len(pieces)), np.int16)
    places = range(int(lengths[0]) if len(lengths) else 0)
    counts = [int(np.searchsorted(-lengths, -place, side="left")) for place in places]
    read = [
        text[offsets[:count] + place].astype(np.int32) for place, count in zip(places, counts, strict=True)
    ]
    # Each look goes by one number, a state's first place in the table and the byte: half as long as by two.
    follows, ends = (step.astype(np.int32) << 8).ravel(), done.ravel()
    for state in range(len(step)):
        now = np.full(len(pieces), state << 8, np.int32)
        found = np.zeros(len(pieces), np.bool_)
        for count, byte in zip(counts, read, strict=True):
            looked = now[:count] + byte
            found[:count] |= ends.take(looked)
            now[:count] = follows.take(looked)
        after[state, order], hit[state, order] = now >> 8, found
    return after, hit
