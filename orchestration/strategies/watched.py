"""Models that tell whether the purse has refused anything: a strategy made of others sees which of them came to its end.

It knows clients, nothing of strategies. Invariant: what is asked and what comes back is as without it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.strategy import (
    PolicyClient,
    PurseEmpty,
    ReviserClient,
    Sample,
    Sampling,
    VerifierClient,
)
from orchestration.strategies.view import View


@dataclass(slots=True)
class Watched(View):
    """The `Models` of one part of a strategy; `refused` says that a request of it was."""

    refused: bool = False
    policy: PolicyClient = field(init=False)
    reviser: ReviserClient = field(init=False)
    verifier: VerifierClient = field(init=False)

    def __post_init__(self) -> None:
        self.policy = _Policy(self)
        self.reviser = _Reviser(self)
        self.verifier = _Verifier(self)


@dataclass(frozen=True, slots=True)
class _Policy:
    watched: Watched

    @property
    def max_tokens(self) -> int:
        return self.watched.models.policy.max_tokens

    async def sample(
        self,
        prefix: tuple[int, ...],
        place: tuple[int, ...],
        *,
        one_step: bool = False,
        sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
    ) -> Sample:
        try:
            return await self.watched.models.policy.sample(
                prefix, place, one_step=one_step, sampling=sampling
            )
        except PurseEmpty:
            self.watched.refused = True
            raise


@dataclass(frozen=True, slots=True)
class _Reviser:
    watched: Watched

    @property
    def max_tokens(self) -> int:
        return self.watched.models.reviser.max_tokens

    async def revise(
        self,
        attempts: tuple[tuple[int, ...], ...],
        place: tuple[int, ...],
        *,
        sampling: Sampling = Sampling(),  # noqa: B008  (frozen)
        prefix: tuple[int, ...] = (),
        one_step: bool = False,
    ) -> Sample:
        try:
            return await self.watched.models.reviser.revise(
                attempts, place, sampling=sampling, prefix=prefix, one_step=one_step
            )
        except PurseEmpty:
            self.watched.refused = True
            raise


@dataclass(frozen=True, slots=True)
class _Verifier:
    watched: Watched

    async def score(
        self, solution: tuple[int, ...], after: tuple[tuple[int, ...], ...] = ()
    ) -> tuple[float, ...]:
        try:
            return await self.watched.models.verifier.score(solution, after)
        except PurseEmpty:
            self.watched.refused = True
            raise

    async def prompt_value(self) -> float:
        try:
            return await self.watched.models.verifier.prompt_value()
        except PurseEmpty:
            self.watched.refused = True
            raise
