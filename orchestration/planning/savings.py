"""How many FLOPs one way of spending saves against another at equal accuracy, and how much of a gap it closes.

It knows how right each problem is and what it took, nothing of how either came. What the other way would need is read off its
curve of accuracy over FLOPs, between its points on a line in the logarithm of FLOPs. Invariant: intervals are over problems:
both ways are drawn again together, problem by problem, so that what is hard for both cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

DRAWS = 1000
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Points:
    """A curve, point by point (K): by problem how `right` it is and the FLOPs it took, both (P, K)."""

    right: Array
    flops: Array

    @classmethod
    def of(cls, points: Sequence[tuple[Array, Array]]) -> Points:
        """Of pairs of what is right and what it took."""
        return cls(np.stack([one for one, _ in points], axis=1), np.stack([one for _, one in points], axis=1))


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its interval at 95%. Infinite where the other way never gets there; `least` is what can be said then."""

    value: float
    low: float
    high: float
    least: float = 0.0


def saved(mine: tuple[Array, Array], other: Points, *, seed: int = 0, draws: int = DRAWS) -> Figure:
    """How many times the FLOPs the other way takes to be as accurate as `mine` (how right each problem is and what it took,
    both (P,))."""
    right, flops = mine

    def told(weights: Array) -> float:
        return flops_for(float(weights @ right), weights @ other.right, weights @ other.flops) / float(
            weights @ flops
        )

    value, low, high = _redrawn(told, len(right), seed, draws)
    return Figure(value, low, high, least=float(other.flops.mean(axis=0).max() / flops.mean()))


def closed(mine: Array, start: Array, end: Array, *, seed: int = 0, draws: int = DRAWS) -> Figure:
    """Which share of the gap in accuracy between `start` and `end` it closes, all (P,). Infinite where there is no gap."""

    def told(weights: Array) -> float:
        gap = float(weights @ (end - start))
        return float(weights @ (mine - start)) / gap if gap > 0 else float("inf")

    return Figure(*_redrawn(told, len(mine), seed, draws))


def _redrawn(
    told: Callable[[Array], float], problems: int, seed: int, draws: int
) -> tuple[float, float, float]:
    """The figure of all problems alike, and the middle 95% of those of problems drawn again."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(problems, np.full(problems, 1 / problems), size=draws) / problems
    found = np.sort([told(one) for one in counts])
    value = told(np.full(problems, 1 / problems))
    # Not between two of them: half-way to infinity is no number.
    at = [int(share * (len(found) - 1)) for share in (0.025, 0.975)]
    return value, min(float(found[at[0]]), value), max(float(found[at[1]]), value)


def flops_for(accuracy: float, right: Array, flops: Array) -> float:
    """FLOPs at which a curve of points (K) first reaches an accuracy, beginning at nothing; inf where it never does."""
    order = np.argsort(flops, kind="stable")
    best, before = 0.0, 0.0
    for reached, cost in zip(right[order].tolist(), flops[order].tolist(), strict=True):
        if reached >= accuracy - _ROUNDING:
            if reached - best <= _ROUNDING:
                return float(cost)
            share = min(accuracy - best, reached - best) / (reached - best)
            # Before the first point it is the prompts that are fewer, not the samples.
            return float(cost * share if before == 0 else before * (cost / before) ** share)
        if reached > best:
            best, before = reached, cost
    return float("inf")
