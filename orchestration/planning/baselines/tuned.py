"""One number for all prompts, found on other problems: the lowest common price at which a stopping rule fits the budget.

A rule is a measure of what one more sample is worth to a prompt as it stands; it stops where that is not above the
price. It knows nothing of what is measured. Invariant: the price never depends on a label, nor on a problem that the
rule is judged on; what the budget then lacks ends the bench, and what it has left over stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestration.allocation.price import Price, lot_of
from orchestration.planning.bench import Bench
from orchestration.planning.pools import Pool
from orchestration.strategies.tally import Counting

Array = NDArray[np.float64]
Worth = Callable[[Bench, int], float]


@dataclass(frozen=True, slots=True)
class Paths:
    """How far calibration problems would go at any price: by problem the least worth of a sample up to each number of
    them, and the FLOPs they take together. Told once, in one order; prices are read off it."""

    each: tuple[tuple[Array, Array], ...]

    @classmethod
    def of(cls, pools: Sequence[Pool], worth: Worth, *, seed: int, counting: Counting) -> Paths:
        bench = Bench(pools, float("inf"), seed=seed, counting=counting)
        paths: list[tuple[Array, Array]] = []
        for prompt in range(len(bench)):
            worths, flops = [], []
            while bench.draw(prompt):
                worths.append(worth(bench, prompt))
                flops.append(bench.flops(prompt))
            # A prompt goes on past a sample only if it went on past all before.
            paths.append((np.minimum.accumulate(worths), np.array(flops)))
        return cls(tuple(paths))

    def price(self, each: float) -> Price:
        """The price at which they take `each` FLOPs on average; where one step of it takes too much and the next too little,
        a share of the prompts pays the lower one."""
        prices = np.unique(np.concatenate([least for least, _ in self.each]))
        low, high = 0, len(prices) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._mean(float(prices[middle])) <= each else (middle + 1, high)
        dear, cheap = float(prices[high]), float(prices[high - 1]) if high else 0.0
        less, more = self._mean(dear), self._mean(cheap)
        share = min(max((each - less) / (more - less), 0.0), 1.0) if more > less else 1.0
        return Price(cheap, dear, share)

    def _mean(self, price: float) -> float:
        stops = [flops[min(int((least > price).sum()), len(flops) - 1)] for least, flops in self.each]
        return float(np.mean(stops))


def serve(bench: Bench, worth: Worth, price: Price) -> None:
    """A sample each, then each in its order until it stops."""
    for prompt in range(len(bench)):
        bench.draw(prompt)
    for prompt in range(len(bench)):
        mine = price.of(lot_of(bench.seed, bench.name(prompt)))
        while bench.drawn(prompt) and worth(bench, prompt) > mine and bench.draw(prompt):
            pass
