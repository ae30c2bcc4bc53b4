"""Who gets what of one budget. Pure: fed with tasks and numbers, it answers with numbers, and is tested with
lists.

`FirstCome` serves tasks in their order until the budget is spent. It knows nothing of replicas or clocks.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.work import Task

WITHOUT_BUDGET = 1 << 60
"""A first grant that no task can spend: with no budget to share, nothing has to be asked for twice."""


PLENTY = 16
"""More than is asked is granted where the budget holds this many times as much: what lies idle in purses stays small."""


@dataclass(frozen=True, slots=True)
class FirstCome:
    """Every task may start while the budget holds `first` FLOPs, the worst case of one candidate with its scoring, and gets
    what it asks for as long as it is there. `first` None: there is no budget."""

    first: int | None

    def first_grant(self, task: Task, free: int) -> int:
        return WITHOUT_BUDGET if self.first is None else self.first

    def refill(self, task: Task, asked: int, held: int, free: int) -> int | None:
        """Grant what is asked, and while the budget is far from its end as much again as the task had, so that a long search
        asks a few times and not at each step; near the end what is left, if one more candidate fits into it."""
        if self.first is None or free < self.first:
            return asked
        return max(asked, min(held, free // PLENTY)) if asked <= free else free
