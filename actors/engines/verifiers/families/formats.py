"""Families that read plain text: Math-Shepherd, Skywork-o1-Open-PRM, ReasonFlux-PRM-1.5B, and what TRL's PRMTrainer makes.

Each says where its authors' code puts question, steps and tags, with the source. None knows a model. Invariant: as many ends
as steps, or one where scores are read alone, whatever the texts hold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.engines.base import Writing
from actors.engines.verifiers.families.base import Reading
from actors.engines.verifiers.families.pieces import Pieces, Writer
from actors.errors import UserError

TAG = "ки"
"""Math-Shepherd's: a rare word of its tokenizer, id 12902 in the published one."""

_BEGUN = re.compile(rf"(?<!\w){TAG}")
"""Where a text may be read as the tag of a tokenizer that tells words by the space before them."""


@dataclass(slots=True)
class MathShepherd:
    """`question step ки`, each further step on a line of its own; the logits of "+" and "-" at the tag (model card of
    peiyi9979/math-shepherd-mistral-7b-prm). The text is encoded as a whole, as there."""

    pieces: Pieces
    context: int
    alone: bool = False
    writing: Writing | None = None
    pair: tuple[int, int] | None = field(init=False)
    _tag: int = field(init=False)
    _lead: tuple[int, ...] = field(init=False)
    _read_as_tag: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        both = self.pieces.tokenizer.encode("+ -", add_special_tokens=False)
        tag = self.pieces.tokenizer.encode(TAG, add_special_tokens=False)
        if len(both) != 2 or len(tag) != 1:
            mend = f'its tokenizer makes more than one token of "{TAG}", "+" or "-": it is another family\'s'
            raise UserError.of("verifier.path", str(self.pieces.folder), mend)
        self.pair, self._tag = (both[0], both[1]), tag[0]
        self._lead = tuple(self.pieces.tokenizer.encode(""))
        begins = self.pieces.tokenizer.convert_ids_to_tokens(self._tag).startswith("▁")
        self._read_as_tag = _BEGUN if begins else re.compile(TAG)
        try:
            self.read("1 + 1?", ("2.", "2!"))
        except ValueError as error:
            raise UserError.of(
                "verifier.path", str(self.pieces.folder), f"{error}: it is another family's"
            ) from None

    def read(self, question: str, steps: Sequence[str]) -> Reading:
        clean = [self._read_as_tag.sub(" ".join(TAG), one) for one in (question, *steps)]
        text, last = clean[0] + " ", []
        for number, step in enumerate(clean[1:]):
            text += ("\n" if number else "") + f"{step.strip()} {TAG}"
            last.append(len(text) - 1)
        encoding, lead = self.pieces.encoding(text), len(self._lead)
        ids = encoding.ids
        places = [encoding.char_to_token(place) for place in last]
        if [place for place, one in enumerate(ids) if one == self._tag] != places:
            raise ValueError(f'the tokens of a step run into the tag "{TAG}" behind it')
        ends = tuple(lead + place + 1 for place in places)
        first = encoding.char_to_token(len(clean[0]) - 1) if clean[0] else None
        start = lead + (0 if first is None else first + 1)
        whole = (*self._lead, *ids)
        return Reading(whole[: ends[-1]] if ends else whole, min(start, ends[0] - 1 if ends else start), ends)


@dataclass(slots=True)
class Skywork:
    """The begin token, question and line break, then each step encoded by itself with the token of a line break behind it,
    where the value head is read (SkyworkAI/skywork-o1-prm-inference, `prepare_input`). A step is a line: line breaks
    inside one become spaces, for each would be a further step."""

    pieces: Pieces
    context: int
    alone: bool = False
    writing: Writing | None = None
    pair: tuple[int, int] | None = None
    _begin: int = field(init=False)
    _line: int = field(init=False)

    def __post_init__(self) -> None:
        begin = self.pieces.tokenizer.bos_token_id
        if begin is None:
            mend = "its tokenizer names no begin token (bos_token), which this family puts first"
            raise UserError.of("verifier.path", str(self.pieces.folder), mend)
        self._begin, self._line = begin, self.pieces.last_of("\n")

    def read(self, question: str, steps: Sequence[str]) -> Reading:
        ids = [self._begin, *self.pieces.encode(question + "\n", first=False)]
        start, ends = len(ids), []
        for step in steps:
            ids += self.pieces.encode(re.sub(r"[\r\n]+", " ", step.strip("\r\n")))
            ids.append(self._line)
            ends.append(len(ids))
        return Reading(tuple(ids), start, tuple(ends))


TRAINED = 8192
"""Tokens to which the texts of ReasonFlux-PRM-1.5B were cut in training (Gen-Verse/ReasonFlux, utils/rm_utils.py)."""


@dataclass(slots=True)
class OutcomeText:
    """Question and answer as one text with nothing between them, read at its last token (Gen-Verse/ReasonFlux,
    utils/rm_utils.py, `RewardModel`). The value of a step is that of the answer up to there: a reading of its own."""

    pieces: Pieces
    context: int
    alone: bool = True
    writing: Writing | None = None
    pair: tuple[int, int] | None = None
    _lead: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        # A begin token, of a tokenizer that puts one first.
        self._lead = tuple(self.pieces.tokenizer.encode(""))

    def read(self, question: str, steps: Sequence[str]) -> Reading:
        ids = self._lead + self.pieces.encode(question + "".join(steps).strip())
        start = max(1, len(self._lead) + len(self.pieces.encode(question)))
        return Reading(ids, min(start, len(ids) - 1), (len(ids),))


@dataclass(slots=True)
class Trl:
    """Begin token, if there is one, question, then each step and the separator, each encoded by itself; the class is read at
    the separator's last token (TRL, `PRMTrainer.tokenize_row`)."""

    pieces: Pieces
    context: int
    separator: str
    alone: bool = False
    writing: Writing | None = None
    pair: tuple[int, int] | None = None
    _between: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        # It may be a tag.
        self.pieces.own(self.separator, words=True)
        self._between = Writer(self.pieces).frame(self.separator).ids

    def read(self, question: str, steps: Sequence[str]) -> Reading:
        begin = self.pieces.tokenizer.bos_token_id
        ids = [*([] if begin is None else [begin]), *self.pieces.encode(question)]
        start, ends = len(ids), []
        for step in steps:
            ids += [*self.pieces.encode(step.strip()), *self._between]
            ends.append(len(ids))
        # Something has to stand before a step, even of an empty question.
        return Reading(tuple(ids), max(start, 1), tuple(ends))


def check_separator(pieces: Pieces, separator: str) -> None:
    """Raise UserError for a separator that is no text."""
    if not separator or not Writer(pieces).frame(separator).ids:
        mend = 'it stands between steps, where a value is read: give the text of the training, as "\\n"'
        raise UserError.of("verifier.separator", separator, mend)
