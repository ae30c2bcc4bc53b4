"""Verifiers of a user's own for tests that start none."""

from __future__ import annotations

from actors.engines.base import ScoreRequest, Scores


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
