"""What `flopwise whatif` says of 30 settings, held against what came with other draws of the same problems.

    flopwise evaluate folder=runs/whatif "seeds=[0,1]" dataset.count=1100 \\
        "strategies=[best_of_n(n=16),beam(n=4),beam(n=16)]"
    python -m tests.benchmarks.whatif runs/whatif

The samples and searches of the run's first seed tell, those of its second are what came. Settings are budgets, lists of
strategies and ways to vote. It prints each, how many lie within their intervals (at least 90% should), and how wide these
are on average (at most 6 points). More orders, and more problems, make them narrower.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from orchestration.allocation.value_table import Offer
from orchestration.planning.pools import Pool, read_pools
from orchestration.planning.sources import costs_in, read_source
from orchestration.planning.whatif import Question
from orchestration.runs.run import Run
from orchestration.strategies.tally import Counting
from tests.support.whatif_trial import Trial, trials

BUDGETS = 5
RULES = (Counting("weighted"), Counting("majority"))


def settings(told: Sequence[Pool], searches: tuple[str, ...], samples: tuple[int, ...]) -> list[Question]:
    """Lists of strategies by ways to vote."""
    offers = [Offer(samples, searches), Offer(samples), Offer(samples[:-1], searches[:1])]
    return [Question(told, offer, orders=6, counting=rule) for offer in offers for rule in RULES]


def main() -> None:
    run = Run(sys.argv[1])
    source = read_source(run)
    first, second = sorted(run.info["seeds"])[:2]
    pools = [
        {
            one.problem: one
            for one in read_pools(run, source.samples.text, source.searches, costs_in(run), seed=seed)
        }
        for seed in (first, second)
    ]
    both = [name for name in pools[0] if name in pools[1]]
    told, came = ([part[name] for name in both] for part in pools)
    found: list[Trial] = []
    for question in settings(told, source.searches, source.offer.samples):
        same = question.uniform()
        budgets = np.geomspace(1.2 * same[0].spent, same[-1].spent, BUDGETS).tolist()
        here = trials(question, came, budgets)
        found += here
        for one in here:
            low, high = one.told.accuracy.low, one.told.accuracy.high
            mark = "" if one.within else "  outside"
            print(
                f"{question.counting.rule:10} {len(question.offer.searches)} searches  {one.told.budget:9.2e} FLOPs  "
                f"told {one.told.accuracy.mean:.3f} [{low:.3f}, {high:.3f}]  came {one.came:.3f}{mark}",
                flush=True,
            )
    within = sum(one.within for one in found)
    print(f"{len(both)} problems, {len(found)} settings: {within} within ({within / len(found):.0%})")
    print(f"mean width {100 * np.mean([one.width for one in found]):.1f} points")


if __name__ == "__main__":
    main()
