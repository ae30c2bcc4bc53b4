"""The steps of one task's solutions as a tree, so that what is kept of a step is found without reading all before it again.

Each step is known by the step before it and its own tokens; a solution that was asked about before is found at once, and one
that goes on from it by its last steps. It knows how a reader finds steps, and nothing of what a score costs. Invariant: equal
tokens are one step, and a step's key is `score_key` of all tokens up to its end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from actors.replicas.reader import TokenReader
from actors.store.library import Prior, feed, score_hash

_NEAR = 8
"""Ends from the last back at which a solution may be known; one that is new from further back is walked from its start."""


@dataclass(eq=False, slots=True)
class Step:
    """One non-empty step; `ends` are the offsets where it and those before it end. The root has no parent and no tokens.

    `known` is a score that an earlier run has given it, or this task where scores cost nothing; `scored` says that there is
    one, of this task or an earlier. `text` is what it says, once that was asked for; `written` how many tokens a judge wrote
    in each chain for its score, and `left` those that the next step's judgement reads.
    """

    parent: Step | None = None
    ends: tuple[int, ...] = ()
    children: dict[tuple[int, ...], Step] = field(default_factory=dict)
    hash: hashlib.blake2b | None = None
    key: bytes = b""
    known: float | None = None
    scored: bool = False
    text: str | None = None
    written: tuple[int, ...] = ()
    left: tuple[int, ...] = ()

    @property
    def end(self) -> int:
        """Tokens of the solution up to its end."""
        return self.ends[-1] if self.ends else 0

    @property
    def start(self) -> int:
        """Tokens of the solution before it."""
        return self.parent.end if self.parent is not None else 0

    def path(self) -> Iterator[Step]:
        """This step and those before it, without the root."""
        step = self
        while step.parent is not None:
            yield step
            step = step.parent


class StepTree:
    """All steps that were read or scored of one task's solutions. Where a step's judgement `follows` what was written about
    those before, a score that an earlier run gave counts with what it left alone."""

    def __init__(
        self,
        reader: TokenReader,
        prompt: tuple[int, ...],
        salt: str,
        prior: Prior,
        *,
        follows: bool = False,
    ) -> None:
        self._reader, self._prior, self._follows = reader, prior, follows
        self._root = Step(hash=score_hash(salt, prompt))
        # whole solutions that were asked about -> their last step
        self._last: dict[tuple[int, ...], Step] = {}

    def last(self, solution: tuple[int, ...]) -> Step:
        """The last step of a solution; the root where it has none."""
        found = self._last.get(solution)
        if found is None:
            found = self._last[solution] = self._read(solution)
        return found

    def keyed(self, solution: tuple[int, ...]) -> Step:
        """The same, with keys and known scores of all its steps."""
        last = self.last(solution)
        fresh = [step for step in last.path() if not step.key]
        for step in reversed(fresh):
            assert step.parent is not None
            assert step.parent.hash is not None
            step.hash = step.parent.hash.copy()
            feed(step.hash, solution[step.start : step.end])
            step.key = step.hash.digest()
            step.left = self._prior.left.get(step.key, ())
            if step.left or not self._follows:
                step.known = self._prior.scores.get(step.key)
                step.written = self._prior.written.get(step.key, ())
        return last

    def texts(self, solution: tuple[int, ...], last: Step) -> tuple[str, ...]:
        """The texts of a solution's steps up to its `last`, in order."""
        steps = [*last.path()][::-1]
        for step in steps:
            if step.text is None:
                step.text = self._reader.step_text(solution, step.start, step.end)
        return tuple(step.text or "" for step in steps)

    def _read(self, solution: tuple[int, ...]) -> Step:
        step = self._root
        ends: list[int] = []
        for end in self._reader.ends_from_last(solution):
            known = self._last.get(solution[:end]) if len(ends) < _NEAR else None
            if known is not None:
                step = known
                break
            ends.append(end)
        for end in reversed(ends):
            tokens = solution[step.end : end]
            child = step.children.get(tokens)
            if child is None:
                child = step.children[tokens] = Step(step, (*step.ends, end))
            step = child
        return step


@dataclass(frozen=True, slots=True)
class TaskReader:
    """The reader of one task: where steps end is looked up, not read again."""

    steps: StepTree
    reader: TokenReader

    def step_ends(self, solution: tuple[int, ...]) -> tuple[int, ...]:
        return self.steps.last(solution).ends

    async def answer(self, solution: tuple[int, ...]) -> str | None:
        return await self.reader.answer(solution)
