"""One number for all prompts, found on other problems: the lowest common price at which a stopping rule fits the budget.

A rule is a measure of what one more sample is worth to a prompt as it stands; it stops where that is not above the
price. It knows nothing of what is measured. Invariant: the price never depends on a label, nor on a problem that the
rule is judged on; what the budget then lacks ends the bench, and what it has left over stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from orchestration.allocation.price import Price, lot_of
from orchestration.planning.bench import Bench
from orchestration.planning.pools import Pool
from orchestration.strategies.tally import Counting

Worth = Callable[[Bench, int], float]


def price_for(pools: Sequence[Pool], worth: Worth, each: float, *, seed: int, counting: Counting) -> Price:
    """The price at which calibration problems take `each` FLOPs on average; where one step of it takes too much and the
    next too little, a share of the prompts pays the lower one."""
    bench = Bench(pools, float("inf"), seed=seed, counting=counting)
    paths: list[tuple[np.ndarray, np.ndarray]] = []
    for prompt in range(len(bench)):
        worths, flops = [], []
        while bench.draw(prompt):
            worths.append(worth(bench, prompt))
            flops.append(bench.flops(prompt))
        # A prompt goes on past a sample only if it went on past all before.
        paths.append((np.minimum.accumulate(worths), np.array(flops)))

    def mean(price: float) -> float:
        return float(
            np.mean([flops[min(int((least > price).sum()), len(flops) - 1)] for least, flops in paths])
        )

    prices = np.unique(np.concatenate([least for least, _ in paths]))
    low, high = 0, len(prices) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if mean(float(prices[middle])) <= each else (middle + 1, high)
    dear, cheap = float(prices[high]), float(prices[high - 1]) if high else 0.0
    less, more = mean(dear), mean(cheap)
    share = min(max((each - less) / (more - less), 0.0), 1.0) if more > less else 1.0
    return Price(cheap, dear, share)


def serve(bench: Bench, worth: Worth, price: Price) -> None:
    """A sample each, then each in its order until it stops."""
    for prompt in range(len(bench)):
        bench.draw(prompt)
    for prompt in range(len(bench)):
        mine = price.of(lot_of(bench.seed, bench.name(prompt)))
        while bench.drawn(prompt) and worth(bench, prompt) > mine and bench.draw(prompt):
            pass
