"""GenPRM: a judge that writes an analysis of each step before its verdict on it, and reads what it wrote about those before.

It is shown a solution as its authors' code does, with the source, in their mode without programs: analysis alone. It knows no
model. Invariant: what a policy wrote is read as text, whatever it holds, and what the judge wrote is never tokenised again.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from actors.engines.base import Thinking, Writing
from actors.engines.verifiers.families.base import Reading, room_before
from actors.engines.verifiers.families.pieces import Pieces, Writer
from actors.errors import UserError

SYSTEM = (
    "You are a math teacher. Your task is to review and critique the paragraphs in solution step by step."
)
"""The system turn of RyanLiu112/GenPRM, prm_evaluation/prm_evaluate.py; raise the family's version with every change."""

FIRST = "Question: {question}\n\n"
"""What stands before the first step in the user's first turn (README.md and example/demo.ipynb there)."""

BEGUN = "<analyze>\nLet's analyze the Paragraph {number} step by step: "
END = "</analyze>\n"
"""What an analysis begins and ends with (prm_evaluation/genprm_inference.py, `inference`)."""

VERDICT = f"{END}<output>\n**Judgement**: $\\boxed{{"
"""What is read then; the authors' code leaves the bracket to the model."""

CLOSED = "}$\n</output>\n"


@dataclass(slots=True)
class AnalysisChat:
    """A chat in which each step is a turn of the user, the first with the question before it, and what the judge wrote about
    it the answer. The newest step's analysis is drawn where its answer is to begin, and its score is the chance of "Yes"
    against "No" behind VERDICT: the softmax over the two logits.
    """

    pieces: Pieces
    model_context: int
    thinking: Thinking
    alone: bool = True
    pair: tuple[int, int] | None = field(init=False)
    context: int = field(init=False)
    writing: Writing | None = field(init=False)
    _around: list[str] = field(init=False)
    _behind: str = field(init=False)

    def __post_init__(self) -> None:
        self._around = self.pieces.turns_alike(SYSTEM)
        self._behind = self.pieces.unanswered(SYSTEM)
        then, (yes, no) = self.pieces.verdicts(VERDICT, ("Yes", "No"))
        if len(yes) != 1 or len(no) != 1 or yes == no:
            mend = f'its tokenizer does not tell "Yes" from "No" by one token behind "{VERDICT.splitlines()[-1]}"'
            raise UserError.of("verifier.path", str(self.pieces.folder), mend)
        self.pair = yes[0], no[0]
        self.writing = Writing(self.thinking, (END,), then, stepwise=True)
        self.context = room_before(self.writing, self.model_context)

    def read(self, question: str, steps: Sequence[str]) -> Reading:
        if not steps:
            ids = self._before(question, (), ()).ids
            return Reading(ids, len(ids), ())
        return self.read_on(question, steps, ())

    def read_on(self, question: str, steps: Sequence[str], left: Sequence[tuple[int, ...]]) -> Reading:
        if len(left) != len(steps) - 1:
            raise ValueError(f"{len(steps)} steps are judged after what was written about {len(steps) - 1}")
        start = self._before(question, steps[:-1], left).close()
        ids = self._asked(question, steps, left)
        start = min(start, len(ids) - 1)
        fresh = 0
        if left:
            # What was written is read again where the template puts it into a turn; the verdict was not read at all.
            known = (*self._asked(question, steps[:-1], left[:-1]), *left[-1][:-1])
            same = itertools.takewhile(lambda two: two[0] == two[1], zip(known, ids, strict=False))
            fresh = max(0, start - sum(1 for _ in same))
        return Reading(ids, start, (len(ids),), self.writing, fresh)

    def _asked(self, question: str, steps: Sequence[str], left: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
        """All that is read before the analysis of the last of these steps is drawn."""
        writer = self._before(question, steps[:-1], left).text(steps[-1].strip())
        return writer.frame(self._behind + BEGUN.replace("{number}", str(len(steps)))).ids

    def _before(self, question: str, steps: Sequence[str], left: Sequence[tuple[int, ...]]) -> Writer:
        """All up to where the step behind these begins, of each of which something is left."""
        head, middle, between = self._around
        before, after = FIRST.split("{question}")
        writer = Writer(self.pieces).frame(head).frame(before).text(question).frame(after)
        for number, (step, one) in enumerate(zip(steps, left, strict=True), 1):
            begun = BEGUN.replace("{number}", str(number))
            writer.text(step.strip()).frame(middle + begun).tokens(one).frame(CLOSED + between)
        return writer
