"""Families that are asked in their chat template: Qwen2.5-Math-PRM, ReasonFlux-PRM, RLHFlow's, outcome reward models, judges.

Each says where its authors' code puts question, steps and tags, with the source. None knows a model. Invariant: as many ends
as steps, or one where scores are read alone, whatever the texts hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.engines.base import Writing
from actors.engines.verifiers.families.base import Reading
from actors.engines.verifiers.families.pieces import Pieces, Writer
from actors.errors import UserError

BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
"""The system turn that Qwen's mathematical models were trained with (their model cards)."""

EXTRA = "<extra_0>"


@dataclass(slots=True)
class TaggedChat:
    """A chat whose assistant's turn has `<extra_0>` behind each step, where two classes are read (model cards of
    Qwen/Qwen2.5-Math-PRM-7B, with `system` = BOXED, and Gen-Verse/ReasonFlux-PRM-7B, without a system turn)."""

    pieces: Pieces
    context: int
    system: str | None
    alone: bool = False
    writing: Writing | None = None
    pair: tuple[int, int] | None = None
    _around: list[str] = field(init=False)
    _tag: int = field(init=False)

    def __post_init__(self) -> None:
        self._tag = self.pieces.token(EXTRA, "this family reads its scores there")
        self._around = self.pieces.turns(1, self.system)

    def read(self, question: str, steps: Sequence[str]) -> Reading:
        writer = Writer(self.pieces).frame(self._around[0]).text(question).frame(self._around[1])
        start, ends = 0, list[int]()
        for step in steps:
            if not ends:
                # Encoded with the words before it, as in one text; where it begins is told from these alone.
                start = (
                    Writer(self.pieces).frame(self._around[0]).text(question).frame(self._around[1]).close()
                )
            ends.append(writer.text(step.strip()).token(self._tag).close())
        ids = writer.ids
        return Reading(ids, min(start, ends[0] - 1) if ends else len(ids), tuple(ends))


@dataclass(slots=True)
class TurnChat:
    """A chat in which each step is a turn of the user, the first with the question before it, and the assistant answers "+"
    to all; the score is that of "+" against "-" in the logits from which this "+" would be drawn
    (RLHFlow/RLHF-Reward-Modeling, math-rm/prm_evaluate.py)."""

    pieces: Pieces
    context: int
    alone: bool = False
    writing: Writing | None = None
    pair: tuple[int, int] | None = field(init=False)
    _around: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.pair = (self.pieces.last_of("+"), self.pieces.last_of("-"))
        self._around = self.pieces.turns_alike(None)
        self._check()

    def _check(self) -> None:
        """The token before "+" has to be the same with it: only then are its logits those that "+" is drawn from."""
        assert self.pair is not None
        before = Writer(self.pieces).frame(self._around[1]).ids
        behind = self.pieces.split(self._around[2])
        joint = Writer(self.pieces).frame(self._around[1]).text("+").ids
        if joint != (*before, self.pair[0]) or not behind or not isinstance(behind[0], int):
            mend = "its chat template does not part the assistant's \"+\" from the words around it, as this family's does"
            raise UserError.of("verifier.path", str(self.pieces.folder), mend)

    def read(self, question: str, steps: Sequence[str]) -> Reading:
        assert self.pair is not None
        head, middle, between = self._around
        writer, ends = Writer(self.pieces).frame(head), list[int]()
        start = Writer(self.pieces).frame(head).text(question.strip()).close()
        for number, step in enumerate(steps):
            if number:
                writer.token(self.pair[0]).frame(between)
            said = step.strip() if number else f"{question.strip()} {step.strip()}"
            ends.append(writer.text(said).frame(middle).close())
        ids = writer.ids if steps else Writer(self.pieces).frame(head).text(question.strip()).ids
        return Reading(ids, min(start, ends[0] - 1) if ends else len(ids), tuple(ends))


@dataclass(slots=True)
class OutcomeChat:
    """A chat of question and answer, read at its last token that is no padding, as transformers' models for sequence
    classification do. The value of a step is that of the answer up to there, as if it ended: a reading of its own."""

    pieces: Pieces
    context: int
    system: str | None
    padding: int | None = None
    alone: bool = True
    writing: Writing | None = None
    pair: tuple[int, int] | None = None
    _around: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self._around = self.pieces.turns(1, self.system)

    def read(self, question: str, steps: Sequence[str]) -> Reading:
        head, middle, behind = self._around
        start = Writer(self.pieces).frame(head).text(question).frame(middle).close()
        writer = Writer(self.pieces).frame(head).text(question).frame(middle)
        ids = writer.text("".join(steps).strip()).frame(behind).ids
        while len(ids) > 1 and ids[-1] == self.padding:
            ids = ids[:-1]
        return Reading(ids, min(start, len(ids) - 1), (len(ids),))


ASKED = (
    "Question:\n{question}\n\nSolution so far:\n{solution}\n\nIs every step of this solution so far correct? Answer with one "
    "word, Yes or No."
)
"""What a chat model is asked to judge; raise its family's version with every change."""


@dataclass(slots=True)
class YesNoChat:
    """Any chat model as a judge: asked about the steps up to here, how much likelier its answer begins with Yes than with No.
    A reading of its own for each step."""

    pieces: Pieces
    context: int
    alone: bool = True
    writing: Writing | None = None
    pair: tuple[int, int] | None = field(init=False)
    _around: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self._around = self.pieces.asking()
        yes, no = self.pieces.encode("Yes"), self.pieces.encode("No")
        if yes[0] == no[0]:
            mend = "its tokenizer begins Yes and No with one token, so its first word tells nothing"
            raise UserError.of("verifier.path", str(self.pieces.folder), mend)
        self.pair = (yes[0], no[0])

    def read(self, question: str, steps: Sequence[str]) -> Reading:
        head, behind = self._around
        before, after = ASKED.split("{solution}")
        before = before.replace("{question}", question)
        start = Writer(self.pieces).frame(head).text(before).close()
        solution = "".join(steps).strip()
        ids = Writer(self.pieces).frame(head).text(before).text(solution).text(after).frame(behind).ids
        return Reading(ids, min(start, len(ids) - 1), (len(ids),))
