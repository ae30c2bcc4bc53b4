"""From token ids to text, steps and answers: the only place of the runtime that makes text.

It knows a tokenizer, and the texts that end a step or a solution, and is handed what reads an answer out of a text.
Invariants: text is never encoded again, ids are the truth; where a step ends depends on the tokens up to there alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.engines.text_ends import TextEnds, Watch, answer_end, pieces
from actors.messages import States
from actors.work import Extractor


@dataclass(frozen=True, slots=True)
class ReaderPlan:
    """How solutions of one policy are read: its tokenizer's folder, the text that ends a step (None: a solution is one step),
    the texts that end a solution, and whether the first whole line with an answer behind #### does."""

    tokenizer: Path
    delimiter: str | None
    extractor: Extractor
    stop: tuple[str, ...] = ()
    end_after_answer: bool = False


class TokenReader:
    """Reads solutions of one policy."""

    def __init__(self, plan: ReaderPlan, eos_ids: tuple[int, ...], vocabulary: int = 0) -> None:
        from transformers import AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(
            plan.tokenizer, trust_remote_code=False, local_files_only=True
        )
        self._extractor, self._plan = plan.extractor, plan
        self._eos = frozenset(eos_ids)
        known = pieces(self._tokenizer.backend_tokenizer)
        # A model may have more rows than its tokenizer has tokens, and draw one of them.
        known += [b""] * max(0, vocabulary - len(known))
        self._blank = frozenset(i for i, one in enumerate(known) if not one.decode(errors="replace").strip())
        self._blank |= self._eos
        # Bytes that are white space only together, as those of U+3000.
        self._bytes = {i: one for i, one in enumerate(known) if not _is_whole(one)}
        self._unsure = self._blank | self._bytes.keys()
        self._steps = TextEnds(known, [plan.delimiter]) if plan.delimiter else None
        ending = plan.stop or plan.end_after_answer
        self._ends = TextEnds(known, plan.stop, answer=plan.end_after_answer) if ending else None
        self.stop_ids = self._steps.always if self._steps is not None else ()

    def watches(self, solution: tuple[int, ...], *, one_step: bool) -> tuple[Watch, ...]:
        """What ends a draw after this solution, besides `stop_ids` where one step is drawn. Raises ValueError for a step
        where none can end."""
        found = []
        if self._ends is not None:
            found.append(Watch(self._ends, self._ends.state(solution), "eos"))
        if one_step:
            if self._steps is None or not self._steps.possible:
                raise ValueError(f"no step can end: policy.delimiter = {self._plan.delimiter!r}")
            if not self._steps.by_token:
                found.append(Watch(self._steps, self._steps.state(solution), "stop"))
        return tuple(found)

    def watching(self, states: States) -> tuple[Watch, ...]:
        """What a reader of the same plan watches in these states."""
        texts = {"eos": self._ends, "stop": self._steps}
        known = ((texts[finish], state, finish) for finish, state in states)
        return tuple(Watch(one, state, finish) for one, state, finish in known if one is not None)

    def step_ends(self, solution: tuple[int, ...]) -> tuple[int, ...]:
        """Offsets (exclusive) where the non-empty steps end: with the token that completes the delimiter.

        A blank step counts to the one after it; what is blank behind the last step, such as a lone end token, to none.
        """
        ends: list[int] = []
        start = 0
        for end in self._steps.ends(solution) if self._steps is not None else ():
            if not self._is_blank(solution[start:end]):
                ends.append(end)
                start = end
        if not self._is_blank(solution[start:]):
            ends.append(len(solution))
        return tuple(ends)

    def ends_from_last(self, solution: tuple[int, ...]) -> Iterator[int]:
        """The same offsets, the last first, reading no further than is asked for."""
        end = len(solution)
        for start in self._steps.ends_from_last(solution) if self._steps is not None else ():
            if start < end:
                if not self._is_blank(solution[start:end]):
                    yield end
                end = start
        if not self._is_blank(solution[:end]):
            yield end

    def _is_blank(self, tokens: tuple[int, ...]) -> bool:
        if self._blank.issuperset(tokens):
            return True
        if not self._unsure.issuperset(tokens):
            return False
        # What stands between parts of characters, were it white space itself, would leave them in pieces.
        shown = b"".join(self._bytes.get(token, b" ") for token in tokens if token not in self._eos)
        return not shown.decode(errors="replace").strip()

    def step_text(self, solution: tuple[int, ...], start: int, end: int) -> str:
        """The text of the tokens of a step: what they add to the text before them. Without the text that ended the solution,
        unless the step is nothing else."""
        before, whole = self._decoded(solution[:start]), self._decoded(solution[:end])
        shown = self.text(solution[:end])[len(before) :]
        return shown if shown.strip() else whole[len(before) :]

    def _decoded(self, ids: tuple[int, ...]) -> str:
        shown = [i for i in ids if i not in self._eos]
        text: str = self._tokenizer.decode(
            shown, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text

    def text(self, ids: tuple[int, ...]) -> str:
        """Decode ids, without the end token, and without the text that ended the solution or what stands behind it."""
        text = self._decoded(ids)
        if self._plan.end_after_answer:
            text = text[: answer_end(text)]
        return text[
            : min((at for stop in self._plan.stop if (at := text.find(stop)) >= 0), default=len(text))
        ]

    async def answer(self, solution: tuple[int, ...]) -> str | None:
        answer = await asyncio.to_thread(self._extractor.extract, self.text(solution))
        if not isinstance(answer, str | None):
            raise TypeError(f"the grader read {answer!r}, which is not a text")
        return answer


def _is_whole(piece: bytes) -> bool:
    """Whether the bytes of a token are characters by themselves."""
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True
