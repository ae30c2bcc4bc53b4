"""The allocator of a run with one global price: what a task may have, and what it pays for a FLOP.

The prompts themselves stop where the price tells them to; here the budget is kept, and the first samples of prompts that
are still to come are kept free of others' wishes. It knows tasks and numbers, nothing of replicas or clocks. Invariants:
nothing is granted that is not free; what a task pays follows from the price of the moment and its own lot alone; the
price hears of every FLOP that the ledger is charged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actors.strategy import Terms
from actors.work import Outcome, Task
from orchestration.allocation.courses import Courses, course_of
from orchestration.allocation.first_come import PLENTY
from orchestration.allocation.price import GlobalPrice, lot_of


@dataclass(frozen=True, slots=True)
class Priced:
    """`first` is the worst case of one candidate with its scoring: every task may start while the budget holds it. Prompts
    that stopped before, and are `taken_up` again (0: they are not), have a new lot each time, which this number names.
    `learnt` reads what became of prompts before this allocator, or the scheduler that it is in, was made."""

    first: int
    price: GlobalPrice
    taken_up: int = 0
    learnt: Callable[[], Courses] | None = None

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
        learnt = None if self.learnt is None else self.learnt()
        self.price.resume(spent, ended if self.taken_up == 0 else 0, learnt)

    def charge(self, spent: int) -> None:
        self.price.charge(spent)

    def begin(self, task: Task) -> Terms:
        self.price.in_hand += not self._stood(task)
        return self.terms(task)

    def terms(self, task: Task) -> Terms:
        price = self.price.price.of(lot_of(task.seed, task.prompt.id, self.taken_up))
        return Terms(price, self.price.chooser.solver.floor)

    def end(self, task: Task, outcomes: tuple[Outcome, ...], spent: int, *, begun: bool = True) -> None:
        """Its course is what its decisions tell; one that has none came to nothing."""
        stood = self._stood(task)
        self.price.in_hand -= begun and not stood
        decisions = next((one.decisions for one in outcomes if one.decisions), ())
        if decisions and not (stood and all(one.repeated for one in decisions)):
            course = course_of(self.price.chooser.table, decisions, again=stood)
            self.price.charge(spent - course.spent)
            self.price.end(course)
            return
        self.price.charge(spent)
        if not stood:
            self.price.leave()

    def lose(self, task: Task, spent: int) -> None:
        self.price.in_hand -= not self._stood(task)
        self.price.charge(spent)

    def _stood(self, task: Task) -> bool:
        """Whether it goes on from where it stands, and is none of the prompts to come."""
        return self.taken_up > 0 or bool(task.answered)
