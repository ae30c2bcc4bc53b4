"""Every prompt gets the same: the best single strategy that the budget pays (what a run without an allocator does).

Between two strategies a share of the prompts, by lot, gets the better one, so that the budget is used as all others use it.
The strategies are chosen on other problems than they are judged on. Invariant: prompts are served in their order, each
whole or not.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestration.allocation.price import lot_of
from orchestration.planning.bench import Bench
from orchestration.planning.curves import Ladder


@dataclass(frozen=True, slots=True)
class Uniform:
    """`ladder` is that of the calibration problems."""

    ladder: Ladder
    name: str = "best single strategy"

    def allocate(self, bench: Bench) -> None:
        for prompt in range(len(bench)):
            give(bench, prompt, self.ladder.at(fair(bench, prompt), lot_of(bench.seed, bench.name(prompt))))


def fair(bench: Bench, prompt: int) -> float:
    """What each prompt may have, the prompts before it served: an even part of the budget, or of what is left of it where
    that is less."""
    return min(bench.budget / len(bench), bench.left / (len(bench) - prompt))


def give(bench: Bench, prompt: int, option: str) -> None:
    """Bring a prompt to so many samples, or run a search; nothing for ""."""
    if option.isdigit():
        bench.draw(prompt, int(option) - bench.drawn(prompt))
    elif option and not bench.search(prompt, option) and not bench.drawn(prompt):
        bench.draw(prompt)
