"""Verifiers of a user's own for tests that start none, and a strategy that fails."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from actors.engines.base import ScoreRequest, Scores
from actors.strategy import Models, Prompt, Sampling, Solution
from flopwise import solution_of, whole_samples


class Rule:
    """Takes whatever it is given."""

    def __init__(self, **options: object) -> None:
        self.options = options

    async def score(self, request: ScoreRequest) -> Scores:
        return Scores((0.5,) * len(request.step_ends), 0)


class Other(Rule):
    """Another one."""


class Newer(Rule):
    """The same with a version."""

    version = 2


@dataclass(frozen=True, slots=True)
class Boom:
    """A strategy with a mistake at problems whose id ends in one of some letters, until a file says that it is mended; it
    draws before it fails."""

    n: int
    mended: str
    fails_at: str

    @property
    def text(self) -> str:
        return f"{__name__}.Boom(n={self.n})"

    @property
    def uses_verifier(self) -> bool:
        return False

    @property
    def sequences(self) -> int:
        return self.n

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        samples = await whole_samples(models, self.n, Sampling(), with_scores=False)
        if prompt.id[-1] in self.fails_at and not Path(self.mended).exists():  # noqa: ASYNC240
            raise ValueError(f"no idea for {prompt.id}")
        return solution_of(samples, samples[0].answer)
