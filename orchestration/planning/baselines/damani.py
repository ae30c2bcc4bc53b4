"""Damani et al. 2024 (arXiv 2410.04707): learn the marginal reward of a further sample, and spend greedily.

They predict from the query's hidden state; here one sample is the probe, charged like any other, and its value tells
the rate of right samples. Online: gain l (1 - l)^b of each prompt, over the whole batch. Offline: the same by bins of
the predicted rate, each bin's number of samples fixed beforehand from the curves of calibration problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestration.allocation.logistic import Logistic, fit
from orchestration.planning.baselines.greedy import spend_greedily
from orchestration.planning.bench import Bench
from orchestration.planning.curves import Curves
from orchestration.planning.pools import Pool

_FEATURES = ("best",)


def rate_model(pools: Sequence[Pool], *, seed: int) -> Logistic:
    """A logistic from the first sample's value to the share of the other samples that are right."""
    rows, rates = [], []
    for pool in pools:
        bench = Bench([pool], float("inf"), seed=seed)
        bench.draw(0)
        rows.append(bench.standing(0).evidence.vector(_FEATURES))
        # The sample that is looked at has no part in the rate that it predicts.
        first = float(bench.judge().right[0])
        rates.append((pool.rate * len(pool.samples) - first) / (len(pool.samples) - 1))
    return fit(_FEATURES, np.array(rows), np.clip(rates, 0, 1), np.ones(len(rows)), penalty=1.0)


def rate(model: Logistic, bench: Bench, prompt: int) -> float:
    """The predicted rate of right samples; needs one that was drawn."""
    odds = model.score(bench.standing(prompt).evidence.vector(_FEATURES))
    return float(1.0 / (1.0 + np.exp(-odds)))


@dataclass(frozen=True, slots=True)
class DamaniOnline:
    model: Logistic
    name: str = "Damani online"

    def allocate(self, bench: Bench) -> None:
        for prompt in range(len(bench)):
            bench.draw(prompt)
        rates = [rate(self.model, bench, prompt) for prompt in range(len(bench))]
        spend_greedily(bench, lambda one: rates[one] * (1 - rates[one]) ** bench.drawn(one))


@dataclass(frozen=True, slots=True)
class DamaniOffline:
    """`predicted` are the rates of the calibration problems of the `known` curves."""

    model: Logistic
    known: Curves
    predicted: np.ndarray
    bins: int = 5
    name: str = "Damani offline"

    @classmethod
    def of(cls, pools: Sequence[Pool], known: Curves, model: Logistic, *, seed: int) -> DamaniOffline:
        rates = []
        for pool in pools:
            bench = Bench([pool], float("inf"), seed=seed)
            bench.draw(0)
            rates.append(rate(model, bench, 0))
        kept = [at for at, option in enumerate(known.options) if option.isdigit()]
        samples = Curves(tuple(known.options[at] for at in kept), known.right[:, kept], known.flops[:, kept])
        return cls(model, samples, np.array(rates))

    def allocate(self, bench: Bench) -> None:
        edges = np.quantile(self.predicted, np.arange(1, self.bins) / self.bins)
        bins = np.searchsorted(edges, self.predicted, side="right")
        right = np.array([self.known.right[bins == one].mean(axis=0) for one in range(self.bins)])
        flops = np.array([self.known.flops[bins == one].mean(axis=0) for one in range(self.bins)])
        share = np.array([(bins == one).mean() for one in range(self.bins)])
        level = np.zeros(self.bins, dtype=int)
        left = bench.budget / len(bench) - float(share @ flops[:, 0])
        while True:
            best, worth, cost = None, 0.0, 0.0
            for one in range(self.bins):
                # A curve may have a flat piece: the steepest way on may be further than the next number.
                for to in range(level[one] + 1, right.shape[1]):
                    extra = share[one] * (flops[one, to] - flops[one, level[one]])
                    slope = share[one] * (right[one, to] - right[one, level[one]]) / extra
                    if slope > worth and extra <= left:
                        best, worth, cost = (one, to), slope, extra
            if best is None:
                break
            level[best[0]] = best[1]
            left -= cost
        for prompt in range(len(bench)):
            if bench.draw(prompt):
                mine = int(np.searchsorted(edges, rate(self.model, bench, prompt), side="right"))
                bench.draw(prompt, int(self.known.options[level[mine]]) - 1)
