"""What has been seen of a prompt, in the few numbers that its chance to be right is told from.

It knows votes, nothing of texts, models or labels. Invariant: the features are those of the votes alone, so neither the
order of samples nor a label changes them; every one lies within fixed bounds, whatever was seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_MOST_LOGIT = 5.0


@dataclass(frozen=True, slots=True)
class Pile:
    """The votes for one answer: their `count`, what they weigh together, and the `best` of them."""

    count: int
    weight: float
    best: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """`drawn` candidates and their votes, the winner's pile first.

    Of a search, `same` says whether its answer is the one that stood before (None: none stood), and `before` what chance
    that one had. `prompt` is the verifier's value of the prompt alone, where it was asked: no feature of a score, for it says
    what is still to be gained, and not only how things stand.
    """

    drawn: int
    piles: tuple[Pile, ...] = ()
    same: bool | None = None
    before: float | None = None
    prompt: float | None = None

    @property
    def answered(self) -> bool:
        """Whether there is an answer at all."""
        return bool(self.piles)

    def features(self) -> Mapping[str, float]:
        """Every feature by its name; those that make no sense here are 0."""
        drawn = max(self.drawn, 1)
        total = math.fsum(pile.weight for pile in self.piles)
        votes = sum(pile.count for pile in self.piles)
        winner = self.piles[0].weight if self.piles else 0.0
        second = max((pile.weight for pile in self.piles[1:]), default=0.0)
        return {
            "mass": winner / drawn,
            "second": second / drawn,
            "lead": (winner - second) / drawn,
            "share": winner / total if total > 0 else 0.0,
            "best": max((pile.best for pile in self.piles), default=0.0),
            "mean": total / votes if votes else 0.0,
            "distinct": len(self.piles) / drawn,
            "agree": max((pile.count for pile in self.piles), default=0) / drawn,
            "same": float(self.same is True),
            "new": float(self.same is None),
            "before": 0.0 if self.before is None else logit(self.before),
        }

    def vector(self, names: Sequence[str]) -> list[float]:
        """The features of these names, in their order."""
        features = self.features()
        return [features[name] for name in names]


OF_SAMPLES: Final = ("mass", "second", "lead", "share", "best", "mean", "distinct", "agree")
"""What independent samples tell."""

OF_SEARCH: Final = (*OF_SAMPLES, "same", "new", "before")
"""What a search tells, beside the answer that stood before it."""


def logit(chance: float) -> float:
    """Log odds of a chance in [0, 1], within bounds."""
    if chance <= 0.0:
        return -_MOST_LOGIT
    if chance >= 1.0:
        return _MOST_LOGIT
    return min(max(math.log(chance / (1.0 - chance)), -_MOST_LOGIT), _MOST_LOGIT)
