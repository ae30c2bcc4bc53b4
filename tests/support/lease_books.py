"""Lease books over small budgets, and what is asked of them in tests."""

from __future__ import annotations

from dataclasses import dataclass, field

from actors.ledger import Ledger
from actors.messages import Grant, Hold, Lease
from actors.scheduling.leases import LeaseBook
from actors.strategy import Models, Prompt, Solution
from actors.work import Task
from orchestration.allocation.first_come import FirstCome

FIRST = 100


@dataclass(frozen=True, slots=True)
class Wide:
    """A strategy of which only its number of sequences matters."""

    sequences: int = 1
    text: str = "wide"
    uses_verifier: bool = False

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        raise NotImplementedError


def task(number: int, *widths: int) -> Task:
    strategies = tuple(Wide(width) for width in widths or (1,))
    return Task(f"t{number}", Prompt(f"p{number}", (number,)), strategies, tuple("k" * len(strategies)), 0)


def book(budget: int | None, *tasks: Task, first: int | None = FIRST) -> LeaseBook:
    made = LeaseBook(Ledger(budget), FirstCome(first))
    for one in tasks:
        made.add(one)
    return made


def answers(one: LeaseBook) -> dict[str, list[Grant]]:
    """Answer the purses that ask, and tell every replica."""
    one.refill()
    told = {replica: one.grants(replica) for replica in "abc"}
    return {replica: grants for replica, grants in told.items() if grants}


def numbers(leases: list[Lease]) -> list[int]:
    return [lease.task.prompt.token_ids[0] for lease in leases]


@dataclass
class ByWidth:
    """Grants 10 FLOPs a sequence at first, whatever is asked afterwards unless `refusing`."""

    refusing: bool = False
    asked: list[tuple[str, int, int, int]] = field(default_factory=list)

    def first_grant(self, task: Task, free: int) -> int:
        return 10 * task.strategies[0].sequences

    def refill(self, task: Task, asked: int, held: int, free: int) -> int | None:
        self.asked.append((task.id, asked, held, free))
        return None if self.refusing else asked


class InLumps:
    """Grants 40 FLOPs at first and 30 at a time later."""

    def first_grant(self, task: Task, free: int) -> int:
        return 40

    def refill(self, task: Task, asked: int, held: int, free: int) -> int | None:
        return max(30, asked)


def successor(old: LeaseBook, *tasks: Task, first: int | None = FIRST) -> tuple[LeaseBook, list[Hold]]:
    """A book that goes on where another died, given the tasks that have not ended; and the holds that are nobody's."""
    holds = old.holds(range(100))
    ledger = Ledger(
        old.ledger.budget if old.ledger.limited else None, spent=old.ledger.spent, wasted=old.ledger.wasted
    )
    made = LeaseBook(ledger, FirstCome(first), first=1 + max((hold.lease for hold in holds), default=0))
    for one in tasks:
        made.add(one)
    return made, made.restore(holds, now=50.0)
