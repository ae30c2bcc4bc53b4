"""Pools of problems made of seeds: samples with answers, scores and costs, and searches; no model and no run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from actors.seeds import derive
from actors.strategy import Candidate
from orchestration.allocation.value_table import Offer
from orchestration.planning.pools import Drawn, Found, Judgement, Pool

SEARCHES = ("beam(n=4)",)
OFFER = Offer((1, 2, 4, 8), SEARCHES)
PROMPTED = replace(OFFER, prompt=True)


def made_pools(problems: int, *, seed: int = 0, samples: int = 16, same: float | None = None) -> list[Pool]:
    """Rates of right samples between hopeless and easy, or the `same` for all. A verifier tells right from wrong, with
    noise."""
    pools = []
    for number in range(problems):
        rng = np.random.default_rng(derive(seed, "pool", number))
        rate = float(rng.beta(0.5, 0.6)) if same is None else same
        drawn = tuple(_drawn(rng, index, rng.random() < rate) for index in range(samples))
        found = _drawn(rng, 0, rng.random() < min(1.0, rate + 0.7 * rate * (1 - rate)))
        search = Found((found.candidate,), found.correct, 350)
        pools.append(Pool(f"p{number:04}", drawn, {SEARCHES[0]: search}))
    return pools


def judged(pools: Sequence[Pool], *, flops: int = 20) -> list[Pool]:
    """The same pools, of whose prompts the verifier has told how often samples are right, with noise."""
    found = []
    for pool in pools:
        rng = np.random.default_rng(derive(0, "prompt", pool.problem))
        value = min(max(pool.rate + float(rng.normal(0, 0.15)), 0.02), 0.98)
        found.append(replace(pool, prompt=Judgement(value, flops)))
    return found


def _drawn(rng: np.random.Generator, index: int, right: bool) -> Drawn:
    score = float(1 / (1 + np.exp(-((1.2 if right else -1.2) + rng.normal()))))
    answer = "0" if right else str(int(rng.integers(1, 5)))
    tokens = int(rng.integers(60, 120))
    surprise = -tokens * float(rng.uniform(0.05, 0.2) if right else rng.uniform(0.1, 0.5))
    candidate = Candidate(index, (), (tokens,), (surprise,), (score,), "eos", answer)
    # The first step is one that all samples share.
    return Drawn(candidate, right, tokens, (("same", 10), (f"{tokens} {score}", 15)))


def relabelled(pools: Sequence[Pool]) -> list[Pool]:
    """The same pools, but what was right is wrong, and what was wrong right."""
    return [
        Pool(
            pool.problem,
            tuple(replace(one, correct=not one.correct) for one in pool.samples),
            {name: replace(one, correct=not one.correct) for name, one in pool.searches.items()},
        )
        for pool in pools
    ]
