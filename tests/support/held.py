"""Strategies whose draws of a reviser wait at given points until a test lets them go, in whatever process they run.

A test so knows how far each chain is when it kills who draws it. Invariant: what is drawn is as without it.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from actors.strategy import (
    Models,
    PolicyClient,
    Prompt,
    ReviserClient,
    Role,
    Sample,
    Sampling,
    Solution,
    Strategy,
    VerifierClient,
    asked_by,
)
from orchestration.strategies.view import View


@dataclass(frozen=True, slots=True)
class Points:
    """Draws by their numbers in each strategy, at which it waits; `folder` is where gates are, and who came to them."""

    folder: Path
    draws: tuple[int, ...]

    def gate(self, draw: int) -> Path:
        return self.folder / f"open-{draw}"

    def came(self, draw: int, what: str = "came") -> set[str]:
        """Problems with strategies that came to a gate, or went through it (`gone`)."""
        return {note.name.split("-")[-1] for note in self.folder.glob(f"{what}-{draw}-*")}

    def forget(self, problems: Collection[str]) -> None:
        """They come anew: who solved them is gone."""
        for note in self.folder.glob("*-*-*-*"):
            if note.name.split("-")[-1] in problems:
                note.unlink()

    def note(self, draw: int, what: str, strategy: str, problem: str) -> None:
        name = hashlib.blake2b(strategy.encode(), digest_size=8).hexdigest()
        (self.folder / f"{what}-{draw}-{name}-{problem}").touch()


@dataclass(frozen=True, slots=True)
class Held:
    """The inner strategy, which waits at these points."""

    inner: Strategy
    points: Points

    @property
    def text(self) -> str:
        return self.inner.text

    @property
    def asks(self) -> frozenset[Role]:
        return asked_by(self.inner)

    @property
    def uses_verifier(self) -> bool:
        return self.inner.uses_verifier

    @property
    def sequences(self) -> int:
        return self.inner.sequences

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        return await self.inner.solve(prompt, _Models(models, self, prompt))


@dataclass(slots=True)
class _Models(View):
    held: Held
    prompt: Prompt
    reviser: ReviserClient = field(init=False)

    def __post_init__(self) -> None:
        self.reviser = _Reviser(self.models.reviser, self.held, self.prompt)

    @property
    def policy(self) -> PolicyClient:
        return self.models.policy

    @property
    def verifier(self) -> VerifierClient:
        return self.models.verifier


@dataclass(frozen=True, slots=True)
class _Reviser:
    inner: ReviserClient
    held: Held
    prompt: Prompt
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def max_tokens(self) -> int:
        return self.inner.max_tokens

    async def revise(
        self,
        attempts: tuple[tuple[int, ...], ...],
        place: tuple[int, ...],
        *,
        sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
        prefix: tuple[int, ...] = (),
        one_step: bool = False,
    ) -> Sample:
        number, points = next(self.numbers), self.held.points
        if number in points.draws and not points.gate(number).exists():
            points.note(number, "came", self.held.text, self.prompt.id)
            while not points.gate(number).exists():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            points.note(number, "gone", self.held.text, self.prompt.id)
        return await self.inner.revise(attempts, place, sampling=sampling, prefix=prefix, one_step=one_step)
