"""How a strategy's answer follows from independent samples alone, so that it can be told for any number of them.

It knows nothing of how samples are drawn or stored. Invariant: a `Chooser` with a budget of n draws the whole samples 0 to
n - 1, and answers by the rule of `selection` that its choice names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, cast

from actors.strategy import Described, Sampling
from orchestration.strategies.selection import Aggregation

Rule = Literal["majority", "weighted", "best"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A rule of `selection` over samples drawn with `sampling`. Where the rule asks for a sample's value, `aggregation` makes
    it of the step scores."""

    rule: Rule
    sampling: Sampling
    aggregation: Aggregation = "last"

    @property
    def scored(self) -> bool:
        """Whether it asks for the verifier's scores."""
        return self.rule != "majority"


class Chooser(Described, Protocol):
    """A strategy that chooses among independent samples."""

    @property
    def choice(self) -> Choice: ...

    def at(self, n: int) -> Chooser:
        """The same with a budget of `n` samples."""


def chooser_of(strategy: Described | None) -> Chooser | None:
    """The strategy where it chooses among independent samples, or else None."""
    return cast(Chooser, strategy) if hasattr(strategy, "choice") else None
