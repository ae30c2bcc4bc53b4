"""Every prompt gets the same: the best single strategy that the budget pays (what a run without an allocator does).

The strategy is chosen on other problems than it is judged on. Invariant: prompts are served in their order, each whole
or not.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestration.planning.bench import Bench
from orchestration.planning.curves import Curves


@dataclass(frozen=True, slots=True)
class Uniform:
    """`known` are curves of calibration problems. With `searches` false, whole samples are all there is."""

    known: Curves
    searches: bool = True

    @property
    def name(self) -> str:
        return "uniform, best single" if self.searches else "uniform best-of-N"

    def allocate(self, bench: Bench) -> None:
        known = self.known
        if not self.searches:
            kept = [at for at, option in enumerate(known.options) if option.isdigit()]
            known = Curves(
                tuple(known.options[at] for at in kept), known.right[:, kept], known.flops[:, kept]
            )
        best = known.best_within(bench.budget / len(bench))
        # Where not one sample each is paid for, as many get one as it pays.
        option = known.options[0 if best is None else best]
        for prompt in range(len(bench)):
            give(bench, prompt, option)


def give(bench: Bench, prompt: int, option: str) -> None:
    """Bring a prompt to so many samples, or run a search."""
    if option.isdigit():
        bench.draw(prompt, int(option) - bench.drawn(prompt))
    elif not bench.search(prompt, option) and not bench.drawn(prompt):
        bench.draw(prompt)
