"""From token ids to text, steps and answers: the only place of the runtime that makes text.

It knows a tokenizer and a delimiter, and is handed what reads an answer out of a text. Invariant: text is never encoded
again; ids are the truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.errors import UserError
from actors.work import Extractor


@dataclass(frozen=True, slots=True)
class ReaderPlan:
    """How solutions of one policy are read: its tokenizer's folder and the text that ends a step."""

    tokenizer: Path
    delimiter: str
    extractor: Extractor


class TokenReader:
    """Reads solutions of one policy."""

    def __init__(self, plan: ReaderPlan, eos_ids: tuple[int, ...]) -> None:
        from transformers import AutoTokenizer

        if not plan.delimiter:
            raise UserError.of("delimiter", plan.delimiter, "a step must end in some text, usually a newline")
        self._tokenizer = AutoTokenizer.from_pretrained(
            plan.tokenizer, trust_remote_code=False, local_files_only=True
        )
        self._extractor = plan.extractor
        self._delimiter = plan.delimiter
        self._eos = frozenset(eos_ids)
        size = len(self._tokenizer)
        texts = self._tokenizer.batch_decode(
            [[i] for i in range(size)], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        # Every token after whose delimiter nothing is written ends a step: ".\n\n" is often one token, as is "\n  ".
        self.stop_ids = tuple(
            i
            for i, text in enumerate(texts)
            if plan.delimiter in text and not text.rpartition(plan.delimiter)[2].strip()
        )
        if not self.stop_ids:
            raise UserError.of("delimiter", plan.delimiter, "no token of the policy's vocabulary ends in it")
        self._stops = frozenset(self.stop_ids)
        self._blank = frozenset(i for i, text in enumerate(texts) if not text.strip()) | self._eos

    def step_ends(self, solution: tuple[int, ...]) -> tuple[int, ...]:
        """Offsets (exclusive) where the non-empty steps end.

        A blank step counts to the one after it; what is blank behind the last step, such as a lone end token, to none.
        """
        ends: list[int] = []
        filled = False
        for position, token in enumerate(solution, start=1):
            filled = filled or token not in self._blank
            if filled and token in self._stops:
                ends.append(position)
                filled = False
        if filled:
            ends.append(len(solution))
        return tuple(ends)

    def ends_from_last(self, solution: tuple[int, ...]) -> Iterator[int]:
        """The same offsets, the last first, reading no further than is asked for: whether a step ends at a delimiter depends
        on the tokens since the delimiter before it alone."""
        end, filled = len(solution), False
        for position in range(len(solution), 0, -1):
            token = solution[position - 1]
            if token in self._stops and position < end:
                if filled:
                    yield end
                end, filled = position, False
            filled = filled or token not in self._blank
        if filled:
            yield end

    def text(self, ids: tuple[int, ...]) -> str:
        """Decode ids, without the end token."""
        shown = [i for i in ids if i not in self._eos]
        text: str = self._tokenizer.decode(
            shown, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    async def answer(self, solution: tuple[int, ...]) -> str | None:
        answer = await asyncio.to_thread(self._extractor.extract, self.text(solution))
        if not isinstance(answer, str | None):
            raise TypeError(f"the grader read {answer!r}, which is not a text")
        return answer
