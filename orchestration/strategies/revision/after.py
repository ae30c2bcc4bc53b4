"""Models whose policy is the reviser, after some attempts: so that any search runs under the reviser's distribution.

It knows clients, nothing of strategies. Invariants: who draws through it asks the reviser alone, which reads the same
attempts before every draw; a verifier that reads attempts is shown those, too; without attempts all read the prompt alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.strategy import (
    PolicyClient,
    ReviserClient,
    Sample,
    Sampling,
    VerifierClient,
)
from orchestration.strategies.revision.drawing import Attempts
from orchestration.strategies.view import View


@dataclass(slots=True)
class After(View):
    """The `Models` of a search that goes on after these `attempts`, oldest first."""

    attempts: Attempts
    policy: PolicyClient = field(init=False)
    verifier: VerifierClient = field(init=False)

    def __post_init__(self) -> None:
        self.policy = _Policy(self.models.reviser, self.attempts)
        self.verifier = _Verifier(self.models.verifier, self.attempts)

    @property
    def reviser(self) -> ReviserClient:
        return self.models.reviser


@dataclass(frozen=True, slots=True)
class _Policy:
    reviser: ReviserClient
    attempts: Attempts

    @property
    def max_tokens(self) -> int:
        return self.reviser.max_tokens

    async def sample(
        self,
        prefix: tuple[int, ...],
        place: tuple[int, ...],
        *,
        one_step: bool = False,
        sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
    ) -> Sample:
        return await self.reviser.revise(
            self.attempts, place, sampling=sampling, prefix=prefix, one_step=one_step
        )


@dataclass(frozen=True, slots=True)
class _Verifier:
    verifier: VerifierClient
    attempts: Attempts

    async def score(self, solution: tuple[int, ...], after: Attempts = ()) -> tuple[float, ...]:
        return await self.verifier.score(solution, after or self.attempts)

    async def prompt_value(self) -> float:
        return await self.verifier.prompt_value()
