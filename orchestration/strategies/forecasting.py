"""What strategies of one kind need alike: whole samples, and searches that draw n steps at each depth.

It knows how a typical solution is cut into steps, and no strategy. Invariant: a search of one generation is one whole sample.
"""

from __future__ import annotations

from actors.strategy import Forecast, Sampling

# A typical solution in steps of this many tokens, where only a strategy knows how often it starts anew.
_STEP = 12


def steps_of(typical: int) -> int:
    """How many steps a solution of `typical` tokens has."""
    return max(1, typical // _STEP)


def samples(n: int, sampling: Sampling, typical: int) -> Forecast:
    """At most the whole samples 0 to n - 1, each one candidate."""
    return Forecast(n, n, n * typical, n, bound=n, shared=sampling)


def search(n: int, rounds: int, sampling: Sampling, typical: int, most: int) -> Forecast:
    """At most n steps at each depth, each of them a candidate once it is dropped or ends.

    At worst each of n places draws in every round all that its prefix leaves, and a prefix gains a token a round.
    """
    if n == 1:
        return samples(1, sampling, typical)
    return Forecast(n, n, n * typical, n * steps_of(typical), bound=n * min(rounds, most))
