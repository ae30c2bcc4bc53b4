"""The policy's own confidence in what it drew, as the scores of a verifier: told from what the engine says of each token.

It knows no model and loads none. Invariants: a score is a chance in [0, 1], and never hangs on the tokens behind its step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, get_args

Measure = Literal["mean_logprob", "self_certainty"]
"""What is told of the tokens so far. `mean_logprob` is exp of the mean of their log-probabilities, the normalised probability
of Wang et al. 2022 (2203.11171, equation 1). `self_certainty` is the mean, over them, of the divergence from the uniform
distribution to the policy's (Kang et al. 2025, 2502.18581, which calls it so), brought into [0, 1) by c / (1 + c), for it has
no upper bound: that keeps the order of values, not their distances."""

MEASURES: tuple[Measure, ...] = get_args(Measure)


def confidences(measure: Measure, told: Sequence[float], step_ends: Sequence[int]) -> tuple[float, ...]:
    """A value for each step, of all tokens up to its end (exclusive, ascending). `told` has of each token of the solution its
    log-probability (natural), or its self-certainty (nats), at temperature 1."""
    sums = list(itertools.accumulate(told, initial=0.0))
    means = [sums[end] / end for end in step_ends]
    # An engine's rounding may put a log-probability a hair above 0, and a self-certainty below. What is no number stays so.
    if measure == "mean_logprob":
        return tuple(1.0 if one > 0 else math.exp(one) for one in means)
    return tuple(0.0 if one < 0 else one / (1 + one) for one in means)
