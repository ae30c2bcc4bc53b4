"""A logistic score: few weights that a person can read, fitted with a small penalty.

Plain arrays in, weights out: it knows nothing of what they mean. Invariant: the same rows in any order give the same
weights, up to rounding; rows whose outcomes can be told apart perfectly still give finite ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Logistic:
    """`bias` plus the weighted sum of the features named; its logistic is a chance."""

    features: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float

    def scores(self, rows: Array) -> Array:
        """Log odds of rows of features, (rows, features)."""
        return np.asarray(rows @ np.asarray(self.weights, dtype=np.float64) + self.bias)

    def score(self, row: Sequence[float]) -> float:
        """Log odds of one row."""
        return math.fsum(w * x for w, x in zip(self.weights, row, strict=True)) + self.bias


def fit(features: Sequence[str], rows: Array, right: Array, weights: Array, *, penalty: float) -> Logistic:
    """Fit rows (rows, features), each counting `weights` of a problem, to outcomes in [0, 1]. `penalty` is on the squared
    weights of features in units of their spread: what so many problems' worth of doubt would say."""
    # Here, so that whoever applies a table loads no scipy.
    from scipy.optimize import minimize

    total = float(weights.sum())
    middle = weights @ rows / total
    spread = np.sqrt(weights @ (rows - middle) ** 2 / total)
    told = spread > 1e-9
    scaled = np.where(told, (rows - middle) / np.where(told, spread, 1.0), 0.0)

    def loss(params: Array) -> tuple[float, Array]:
        odds = scaled @ params[:-1] + params[-1]
        value = weights @ (np.logaddexp(0.0, odds) - right * odds) + 0.5 * penalty * params[:-1] @ params[:-1]
        error = weights * (1.0 / (1.0 + np.exp(-np.clip(odds, -500, 500))) - right)
        return float(value), np.append(scaled.T @ error + penalty * params[:-1], error.sum())

    def curvature(params: Array) -> Array:
        chance = 1.0 / (1.0 + np.exp(-np.clip(scaled @ params[:-1] + params[-1], -500, 500)))
        each = weights * chance * (1 - chance)
        found = np.zeros((len(params), len(params)))
        found[:-1, :-1] = scaled.T @ (each[:, None] * scaled) + penalty * np.eye(len(params) - 1)
        found[:-1, -1] = found[-1, :-1] = scaled.T @ each
        found[-1, -1] = each.sum()
        return found

    share = float(np.clip(weights @ right / total, 0.5 / (total + 1), 1 - 0.5 / (total + 1)))
    start = np.zeros(rows.shape[1] + 1)
    start[-1] = math.log(share / (1 - share))
    # Outcomes of one kind alone would send the bias to infinity: there it stays where it starts.
    one_kind = not 0 < weights @ right < total
    # Few numbers: with the second derivative a handful of rounds do, none of which needs many threads.
    found = start if one_kind else minimize(loss, start, jac=True, hess=curvature, method="trust-exact").x
    slopes = np.where(told, found[:-1] / np.where(told, spread, 1.0), 0.0)
    bias = float(found[-1] - slopes @ middle)
    return Logistic(tuple(features), tuple(rounded(w) for w in slopes.tolist()), rounded(bias))


def rounded(value: float, digits: int = _DIGITS) -> float:
    """So many significant digits: what is written in a file is what is used."""
    return float(f"{value:.{digits}g}")
