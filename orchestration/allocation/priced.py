"""The allocator of a run with one global price: what a task may have, and what it pays for a FLOP.

The prompts themselves stop where the price tells them to; here the budget is kept, and the first samples of prompts that
are still to come are kept free of others' wishes. It knows tasks and numbers, nothing of replicas or clocks. Invariants:
nothing is granted that is not free; what a task pays follows from the price of the moment and its own lot alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.work import Task
from orchestration.allocation.courses import Course
from orchestration.allocation.first_come import PLENTY
from orchestration.allocation.price import GlobalPrice, lot_of


@dataclass(frozen=True, slots=True)
class Priced:
    """`first` is the worst case of one candidate with its scoring: every task may start while the budget holds it."""

    first: int
    price: GlobalPrice

    def first_grant(self, task: Task, free: int) -> int:
        return self.first

    def refill(self, task: Task, asked: int, held: int, free: int) -> int | None:
        """Grant what is asked out of what first samples to come leave free, and more where there is plenty; None where they
        leave too little: the task stops with what it has, and may be taken up again."""
        spare = free - self.price.reserve
        if asked > spare:
            return None
        return max(asked, min(held, spare // PLENTY))

    def price_of(self, task: Task, taken_up: int = 0) -> float:
        """What a FLOP costs this task now; to be sent with its lease and kept on record."""
        return self.price.price.of(lot_of(task.seed, task.prompt.id, taken_up))

    def ended(self, course: Course) -> None:
        """A task's walk has ended."""
        self.price.end(course)
