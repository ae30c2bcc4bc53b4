"""ThinkPRM: a judge that writes about each step before it is asked whether the solution is correct.

It is shown a solution as its authors' code does, with the source. It knows no model. Invariant: what a policy wrote is read
as text, whatever it holds, and what the judge wrote is never tokenised again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from actors.engines.base import Thinking, Writing
from actors.engines.verifiers.families.base import Reading, room_before
from actors.engines.verifiers.families.pieces import Pieces, Writer
from actors.errors import UserError

ASKED = (
    "You are given a math problem and a proposed step-by-step solution:\n\n[Math Problem]\n\n{problem}\n\n[Solution]\n\n"
    "{solution}\n\nReview and critique each step in the proposed solution to determine whether each step is correct. If the "
    "solution is incomplete, only verify the provided steps."
)
"""What the models were trained with (mukhal/ThinkPRM, utils/helper.py); raise the family's version with every change."""

BEGUN = "\nLet's verify step by step:"
VERDICT = "\nIs the solution correct?"
STOPS = ("Is the solution correct?", "</think>")
"""What ends a thought, beside an end token, and a step that is not there (prm/thinkprm_api.py, `cot_eval`)."""

_NUMBERED = re.compile(r"Step \d+:")


@dataclass(slots=True)
class ThinkChat:
    """The question and the numbered steps in a chat, a thought, and the chance of " yes" against " no" behind VERDICT.

    It is the softmax over the two logits, as the authors' paper has it.
    """

    pieces: Pieces
    model_context: int
    thinking: Thinking
    alone: bool = True
    pair: tuple[int, int] | None = field(init=False)
    context: int = field(init=False)
    writing: Writing | None = field(init=False)
    _usual: Writing = field(init=False)
    _around: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self._around = self.pieces.asking(thinks=True)
        then, (yes, no) = self.pieces.verdicts(VERDICT, (" yes", " no"))
        if not yes or not no or yes[0] == no[0]:
            mend = f'its tokenizer does not tell " yes" from " no" by one token behind "{VERDICT.strip()}"'
            raise UserError.of("verifier.path", str(self.pieces.folder), mend)
        self.pair = yes[0], no[0]
        self._usual = self.writing = Writing(self.thinking, STOPS, then)
        self.context = room_before(self._usual, self.model_context)

    def read(self, question: str, steps: Sequence[str]) -> Reading:
        head, behind = self._around
        before, after = ASKED.split("{solution}")
        before = before.replace("{problem}", question)
        start = Writer(self.pieces).frame(head).text(before).close()
        numbered = (f"Step {n}: {_NUMBERED.sub('', step).strip()}" for n, step in enumerate(steps, 1))
        writer = Writer(self.pieces).frame(head).text(before).text("\n".join(numbered)).text(after)
        ids = writer.frame(behind + BEGUN).ids
        writing = replace(self._usual, stops=(*STOPS, f"Step {len(steps) + 1}:"))
        return Reading(ids, min(start, len(ids) - 1), (len(ids),), writing)
