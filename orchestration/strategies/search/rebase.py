"""REBASE, reward balanced search (Wu et al. 2024, arXiv 2408.00724): continuations in proportion to a softmax of values.

Draw N first steps and score them; a node that ends takes one from the budget; what is left is shared by the live nodes
of this depth in proportion to exp(value / T), and each draws so many next steps. No rollouts. Best-of-N weighted over
all finished candidates decides: none is ever dropped.

The paper rounds each node's share; its released code gives ceil(share) in the order of values as long as there is
something left, so that the worst get nothing. Here shares are rounded by largest remainder, which keeps each within one of
its quota and makes them sum to the budget; equal remainders go to the larger value, then to the smaller place. In the
released code, a solution ends with a phrase or after 25 steps; here, at the end token, and after `rounds`.

It costs N generations by the paper's accounting: N steps are drawn and scored at each depth, less what has ended. It knows
nothing of tokens but their count. Invariant: the widths of a round sum to N less the nodes that ended; an ended node is
never extended; a place is drawn once, and first steps are those of `beam`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from actors.strategy import Forecast, Grouping, Models, Prompt, Sampling, Solution
from orchestration.strategies import forecasting
from orchestration.strategies.call import grouping_of
from orchestration.strategies.drawing import solution_of, together, whole_samples
from orchestration.strategies.search.growth import Growth
from orchestration.strategies.search.tree import Node
from orchestration.strategies.selection import AGGREGATIONS, Aggregation, weighted
from orchestration.strategies.settings import (
    canonical,
    check_choice,
    check_count,
    check_positive,
    check_temperature,
    check_top_p,
)


@dataclass(frozen=True, slots=True)
class Rebase:
    """`n` first steps, then at each depth n continuations less those that ended, shared by value.

    `temperature_b` balances: near 0 the best node gets all, at large values each gets the same. `rounds` counts drawings,
    the first steps included. `aggregation` makes a node's value of its step scores, for shares and votes; the paper's is
    "last". `n` = 1 is one whole sample.

    A node cut off by the token limit has ended. When the purse runs empty, no further round begins; if nothing is
    finished by then, the best node is completed by one plain sample, should the purse still allow it.
    """

    by_steps: ClassVar[bool] = True
    n: int
    temperature_b: float = 0.2
    rounds: int = 40
    aggregation: Aggregation = "last"
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        check_count("rebase.n", self.n)
        object.__setattr__(self, "temperature_b", check_positive("rebase.temperature_b", self.temperature_b))
        check_count("rebase.rounds", self.rounds)
        check_choice("rebase.aggregation", self.aggregation, AGGREGATIONS)
        object.__setattr__(self, "temperature", check_temperature("rebase.temperature", self.temperature))
        object.__setattr__(self, "top_p", check_top_p("rebase.top_p", self.top_p))

    @property
    def text(self) -> str:
        return canonical("rebase", self)

    @property
    def uses_verifier(self) -> bool:
        return True

    @property
    def sequences(self) -> int:
        return self.n

    @property
    def grouping(self) -> Grouping:
        return grouping_of(self.text, self.n)

    def forecast(self, typical: int, most: int) -> Forecast:
        return forecasting.search(self.n, self.rounds, Sampling(self.temperature, self.top_p), typical, most)

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Costs n generations; where the purse ran empty early, the first steps drawn.

        All leaves of the tree are candidates: those that ended or were live in the end by place, then (kept false) those
        that got no continuation. Raises PurseEmpty where nothing was completed nor cut off, and no answer can be read of
        what there is.
        """
        sampling = Sampling(self.temperature, self.top_p)
        if self.n == 1:
            sample = await whole_samples(models, 1, sampling, with_scores=True)
            return solution_of(sample, weighted(sample, self.aggregation))
        growth = Growth(models, sampling, self.aggregation)
        drawn = await growth.children(Node(), self.n)
        generations = len(drawn)
        ended = [node for node in drawn if not node.live]
        live = [node for node in drawn if node.live]
        dropped: list[Node] = []
        for _ in range(self.rounds - 1):
            if not live or growth.refused:
                break
            widths = widths_of([growth.value(node) for node in live], self.n - len(ended), self.temperature_b)
            dropped += [node for node, width in zip(live, widths, strict=True) if not width]
            shares = [(node, width) for node, width in zip(live, widths, strict=True) if width]
            groups = await together(growth.children(node, width) for node, width in shares)
            # A node whose children were all refused is a leaf again.
            grown = [
                node for (parent, _), group in zip(shares, groups, strict=True) for node in group or [parent]
            ]
            ended += [node for node in grown if not node.live]
            live = [node for node in grown if node.live]
        leaves = await growth.complete([*ended, *live])
        return await growth.conclude(leaves, dropped, generations, lambda c: weighted(c, self.aggregation))


def widths_of(values: Sequence[float], budget: int, temperature: float) -> list[int]:
    """Share `budget` continuations among nodes in proportion to exp(value / temperature), by largest remainder.

    `values` holds at least one value in [0, 1]; the widths are in its order and sum to `budget`.
    """
    best = max(values)
    weights = [math.exp((value - best) / temperature) for value in values]
    total = math.fsum(weights)
    quotas = [budget * weight / total for weight in weights]
    widths = [math.floor(quota) for quota in quotas]
    order = sorted(range(len(values)), key=lambda i: (widths[i] - quotas[i], -values[i], i))
    for i in order[: budget - sum(widths)]:
        widths[i] += 1
    return widths
