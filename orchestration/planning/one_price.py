"""The global price on the bench: the very objects of a live run, `GlobalPrice` and `Walk`, over stored samples.

It knows the bench, nothing of labels. Invariant: every decision is a walk's, at the price of that moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestration.allocation.price import GlobalPrice, lot_of
from orchestration.allocation.value_table import ValueTable
from orchestration.allocation.walk import Walk
from orchestration.planning.bench import WEIGHTED, Bench
from orchestration.strategies.tally import Counting

_EVERY = 32
"""Outcomes after which the price is solved again: a replay has few problems."""

_MOST_ROUNDS = 50


@dataclass(slots=True)
class OnePrice:
    """Prompts in their order, each as far as the price lets it go; then stopped ones again, while that buys anything. `walks`
    are those of the last bench."""

    table: ValueTable
    floor: bool = True
    name: str = "one price"
    counting: Counting = WEIGHTED
    walks: dict[str, list[Walk]] = field(default_factory=dict)

    def allocate(self, bench: Bench) -> None:
        price = GlobalPrice(
            self.table, budget=int(bench.budget), prompts=len(bench), floor=self.floor, every=_EVERY
        )
        self.walks = {}
        stopped: dict[int, list[int]] = {}
        for prompt in range(len(bench)):
            walk = Walk(price.chooser)
            self._go(bench, price, prompt, walk, 0)
            stopped.setdefault(walk.state, []).append(prompt)
        for rounds in range(1, _MOST_ROUNDS):
            before = bench.spent
            for state in price.take_up():
                for prompt in stopped.pop(state, []):
                    walk = Walk(price.chooser, state=state)
                    self._go(bench, price, prompt, walk, rounds)
                    stopped.setdefault(walk.state, []).append(prompt)
            if bench.spent == before:
                return

    def _go(self, bench: Bench, price: GlobalPrice, prompt: int, walk: Walk, rounds: int) -> None:
        lot = lot_of(bench.seed, bench.name(prompt), rounds)
        while (option := walk.decide(price.price.of(lot)).option) is not None:
            before, stood = bench.spent, bench.stood(prompt)
            most = bench.most_of(prompt, option)
            if bench.drawn(prompt) and bench.left - most < price.reserve:
                # The rest belongs to the first samples of prompts to come.
                walk.cut_short()
                break
            if not bench.take(prompt, option):
                walk.cut_short(bench.spent - before)
                break
            if walk.arrive(bench.standing(prompt).evidence, bench.spent - before):
                bench.go_back(prompt, stood)
        price.end(walk.course)
        self.walks.setdefault(bench.name(prompt), []).append(walk)
