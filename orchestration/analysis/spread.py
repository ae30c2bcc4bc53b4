"""How difficult a run's problems are for its policy: pass@1 of each, and how it spreads over them.

It knows samples' verdicts alone, nothing of strategies or figures. Invariant: fifths of the problems are told apart by one
half of the samples and measured on the other, so equally hard problems have equal fifths, but for chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestration.analysis.estimates import Estimates
from orchestration.analysis.statistics import problem_means, quintiles

LEAST_SAMPLES = 8
"""Of fewer samples a problem's share of right ones says little of how difficult it is."""

LEAST_PROBLEMS = 25

HOPELESS = 0.03
"""A problem whose samples are right less often is hardly ever solved by samples alone."""


@dataclass(frozen=True, slots=True)
class Spread:
    """`rates` (P,) are the shares of right ones among the `samples` of `source` that each of these problems has, of all
    seeds, `fifths` the means of five equal groups of problems, easiest first."""

    rates: NDArray[np.float64]
    samples: int
    source: str
    fifths: list[float]

    @property
    def mean(self) -> float:
        return float(self.rates.mean())

    @property
    def hopeless(self) -> float | None:
        """The share of problems below `HOPELESS`; None where so few samples tell no more than `never`."""
        return float((self.rates < HOPELESS).mean()) if self.samples * HOPELESS >= 1 else None

    @property
    def never(self) -> float:
        """The share of problems without a right sample."""
        return float((self.rates == 0).mean())


def spread_of(told: Estimates | None) -> Spread | None:
    """The spread over all problems that have whole sets of every seed; None where they are too few, or their sets too
    small."""
    if told is None:
        return None
    seeds = told.first.shape[1] if told.first.ndim > 1 else 1
    first, second = (each.reshape(len(each), seeds) for each in (told.first, told.rate))
    kept = ~np.isnan(first).any(axis=1) & ~np.isnan(second).any(axis=1)
    samples = told.size * seeds
    if samples < LEAST_SAMPLES or told.size < 2 or kept.sum() < LEAST_PROBLEMS:
        return None
    first, second = problem_means(first[kept]), problem_means(second[kept])
    half = told.size // 2
    # Of whole samples: what is right once in 64 is no less than a 64th.
    rates = np.rint((half * first + (told.size - half) * second) * seeds) / samples
    bins = quintiles(second)
    fifths = [float(first[bins == fifth].mean()) for fifth in range(1, 6)]
    return Spread(rates, samples, told.source.name.text, fifths)
