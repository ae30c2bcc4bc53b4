"""The allocator of a run with one global price: what a task may have, and what it pays for a FLOP.

The prompts themselves stop where the price tells them to; here the budget is kept, and the first samples of prompts that
are still to come are kept free of others' wishes. It knows tasks and numbers, nothing of replicas or clocks. Invariants:
nothing is granted that is not free; what a task pays follows from the price of the moment and its own lot alone; the
price hears of every FLOP that the ledger is charged.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.strategy import Terms
from actors.work import Outcome, Task
from orchestration.allocation.courses import course_of
from orchestration.allocation.first_come import PLENTY
from orchestration.allocation.price import GlobalPrice, lot_of


@dataclass(frozen=True, slots=True)
class Priced:
    """`first` is the worst case of one candidate with its scoring: every task may start while the budget holds it. Prompts
    that stopped before, and are `taken_up` again for the first time or a later one, have a new lot."""

    first: int
    price: GlobalPrice
    taken_up: int = 0

    def first_grant(self, task: Task, free: int) -> int:
        return self.first

    def refill(self, task: Task, asked: int, held: int, free: int) -> int | None:
        """Grant what is asked out of what first samples to come leave free, and more where there is plenty; near the end
        what is left, if one more candidate fits into it; else it waits for what others return."""
        spare = free - self.price.reserve
        if asked <= spare:
            return max(asked, min(held, spare // PLENTY))
        return spare if spare >= self.first else max(asked, free + 1)

    def resume(self, spent: int, ended: int) -> None:
        self.price.resume(spent, ended if self.taken_up == 0 else 0)

    def begin(self, task: Task) -> Terms:
        self.price.in_hand += 1
        return self.terms(task)

    def terms(self, task: Task) -> Terms:
        price = self.price.price.of(lot_of(task.seed, task.prompt.id, self.taken_up))
        return Terms(price, self.price.chooser.solver.floor)

    def end(self, task: Task, outcomes: tuple[Outcome, ...], spent: int, *, begun: bool = True) -> None:
        """Its course is what its decisions tell; one that has none came to nothing."""
        self.price.in_hand -= begun
        decisions = [one.decisions for one in outcomes if one.decisions]
        again = self.taken_up > 0
        if decisions and not (again and all(one.repeated for one in decisions[0])):
            course = course_of(self.price.chooser.table, decisions[0], again=again)
            self.price.charge(spent - course.spent)
            self.price.end(course)
            return
        self.price.charge(spent)
        if not again:
            self.price.leave()

    def lose(self, task: Task, spent: int) -> None:
        self.price.in_hand -= 1
        self.price.charge(spent)
