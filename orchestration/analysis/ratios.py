"""Sequential against parallel: how chains of revisions do at one budget, by the ratio of their length to their number.

It knows rows and bins of difficulty, nothing of tables or figures. Invariants: strategies that differ in anything but the
ratio are never on one line; in a bin all that can be judged there is, whatever else ran.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestration.analysis.difficulty import Difficulty
from orchestration.analysis.rows import Intervals, Row
from orchestration.analysis.statistics import Estimate
from orchestration.strategies.parse import registered
from orchestration.strategies.revision.revision import Revision

LEAST = 2
"""Ratios of one budget that can be compared."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """Chains of `sequential` attempts, `parallel` of them: accuracy over all problems, and in `bins` by difficulty (panel,
    place on the axis) where it can be judged."""

    sequential: int
    parallel: int
    accuracy: Estimate
    bins: dict[tuple[str, int], Estimate]

    @property
    def name(self) -> str:
        return f"{self.sequential}:{self.parallel}"


@dataclass(frozen=True, slots=True)
class Ratios:
    """All ratios of a budget of `n` generations under one `setting`, the most parallel one first."""

    setting: str
    n: int
    ratios: list[Ratio]

    @property
    def bins(self) -> list[tuple[str, int]]:
        """Those in which any ratio is judged."""
        return sorted({one for ratio in self.ratios for one in ratio.bins})


def ratios_of(rows: Sequence[Row], difficulty: Difficulty | None, intervals: Intervals) -> list[Ratios]:
    """Each setting's budgets that ran with several ratios, the smallest first."""
    settings: dict[str, dict[int, list[Ratio]]] = {}
    for row in rows:
        strategy = registered(row.strategy)
        if not isinstance(strategy, Revision) or not row.ran or not row.problems:
            continue
        bins = difficulty.of(row.strategy, intervals) if difficulty is not None else {}
        mine = settings.setdefault(_setting(strategy), {}).setdefault(row.n, [])
        mine.append(Ratio(strategy.sequential, strategy.parallel, row.accuracy, bins))
    return [
        Ratios(setting, n, sorted(some, key=lambda one: one.sequential))
        for setting, budgets in settings.items()
        for n, some in sorted(budgets.items())
        if len(some) >= LEAST
    ]


def _setting(strategy: Revision) -> str:
    """What a strategy says besides length and number of its chains; how it selects always."""
    rest = (
        replace(strategy, sequential=1, parallel=1).text.partition("sequential=1,parallel=1")[2].strip("(,)")
    )
    selected = "" if "select=" in rest else f"select={strategy.select}"
    return ",".join(one for one in (selected, rest) if one)
