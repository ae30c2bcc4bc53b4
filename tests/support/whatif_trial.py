"""What `whatif` says of settings, held against what then came: the same problems under the same price, with other draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestration.planning.bench import Bench
from orchestration.planning.one_price import OnePrice
from orchestration.planning.pools import Pool
from orchestration.planning.whatif import Question, WhatIf


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting: what was `told`, and the accuracy that `came`."""

    told: WhatIf
    came: float

    @property
    def within(self) -> bool:
        return self.told.accuracy.low <= self.came <= self.told.accuracy.high

    @property
    def width(self) -> float:
        return self.told.accuracy.high - self.told.accuracy.low


def trials(question: Question, real: Sequence[Pool], budgets: Sequence[float]) -> list[Trial]:
    """A question about pools at some budgets, and what the pools `real` of the same problems make of it, drawn once in one
    order as a run draws them."""
    tables = question.tables()
    fold = np.array(question.fold)
    found = []
    for each in budgets:
        told, right = question.with_budget(tables, each), 0.0
        for one, table in enumerate(tables):
            judged = [pool for pool, at in zip(real, fold.tolist(), strict=True) if at == one]
            bench = Bench(judged, each * len(judged), seed=question.seed + 1000, counting=question.counting)
            OnePrice(table, floor=question.floor, counting=question.counting).allocate(bench)
            right += float(bench.judge().right.sum())
        found.append(Trial(told, right / len(real)))
    return found
