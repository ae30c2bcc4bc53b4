"""One prompt's way through the value table: in each state it asks what to do at the price of the moment, and why is kept.

It knows states, decisions and FLOPs, nothing of how work is done. The same object walks live, on a replica, and in a
replay. Invariant: it goes only where it decided to go; every FLOP that it was told of is in its course.
"""

from __future__ import annotations

from dataclasses import replace

from actors.strategy import Decision
from orchestration.allocation.courses import Course
from orchestration.allocation.evidence import Evidence
from orchestration.allocation.price import Chooser
from orchestration.allocation.value_table import PROMPT, START, UNDRAWN, work_of


class Walk:
    """From the start, where nothing has been done, or again from the state where it stopped."""

    def __init__(self, chooser: Chooser, *, state: int | None = None) -> None:
        self._chooser = chooser
        self._again = state is not None
        if state is None:
            state = chooser.table.state(START, Evidence(0))
        self._states = [state]
        self._flops: list[int] = []
        self._lost = 0
        self._decided: Decision | None = None
        self.decisions: list[Decision] = []

    @property
    def state(self) -> int:
        return self._states[-1]

    def decide(self, price: float) -> Decision:
        """What to do now; `option` None ends the walk."""
        return self._take(self._chooser.decide(self.state, price))

    def repeat(self, past: Decision) -> Decision | None:
        """Decide as it was decided before; None where it stands elsewhere now."""
        stage, cell = self._chooser.table.of(self.state)
        return self._take(past) if (past.stage, past.cell) == (stage.name, cell) else None

    def _take(self, decision: Decision) -> Decision:
        self._decided = decision
        self.decisions.append(decision)
        return decision

    def _took(self, flops: int) -> None:
        self.decisions[-1] = replace(self.decisions[-1], flops=self.decisions[-1].flops + flops)
        self._decided = None

    def arrive(self, evidence: Evidence, flops: int) -> bool:
        """The option was taken: what is seen now, and what it took. Whether the answer that stood before it still stands,
        which is the likelier one."""
        if self._decided is None or self._decided.option is None:
            raise ValueError("a walk arrives where it decided to go")
        before = None if self.begins(self._decided) else self._decided.chance
        seen = replace(evidence, before=before)
        table, option = self._chooser.table, self._decided.option
        self._states.append(table.state(option, seen))
        self._flops.append(flops)
        self._took(flops)
        return table.keeps(option, seen)

    def cut_short(self, flops: int = 0) -> None:
        """The option could not be taken to its end: what it took came to nothing, and the prompt stays where it was."""
        self._lost += flops
        self._took(flops)

    @staticmethod
    def begins(decided: Decision) -> bool:
        """Whether a decision is of a prompt that has no answer yet."""
        return decided.stage in UNDRAWN

    @staticmethod
    def judges(option: str) -> bool:
        """Whether an option is that the verifier judges the prompt alone."""
        return option == PROMPT

    @staticmethod
    def work(option: str) -> str:
        """What another option does: so many samples, or a search."""
        return work_of(option)

    @property
    def course(self) -> Course:
        return Course(tuple(self._states), tuple(self._flops), self._lost, self._again)
