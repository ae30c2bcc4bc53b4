"""Greedy by expected gain: give the next sample to whom it is worth most, until the budget ends.

Gains that fall with each sample make the greedy choice the best one (Damani et al. 2024, section 3.1). It knows gains,
not where they come from. Invariant: a prompt's next gain is looked at only after its last sample.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

from orchestration.planning.bench import Bench


def spend_greedily(bench: Bench, gain: Callable[[int], float]) -> None:
    """`gain` tells what one more sample of a prompt is worth, as it stands; ties go to the smaller prompt."""
    heap = [(-gain(prompt), prompt) for prompt in range(len(bench)) if bench.rest(prompt)]
    heapq.heapify(heap)
    while heap and bench.worst <= bench.left:
        worth, prompt = heapq.heappop(heap)
        if worth >= 0 or not bench.draw(prompt):
            return
        if bench.rest(prompt):
            heapq.heappush(heap, (-gain(prompt), prompt))
