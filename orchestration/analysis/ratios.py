"""Sequential against parallel: how chains of revisions do at one budget, by the ratio of their length to their number.

It knows rows and points of difficulty, nothing of tables or figures. Invariant: strategies that differ in anything but the
ratio are never on one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestration.analysis.difficulty import DifficultyPoint
from orchestration.analysis.rows import Row
from orchestration.analysis.statistics import Estimate
from orchestration.strategies.parse import registered
from orchestration.strategies.revision.revision import Revision

LEAST = 3
"""Ratios of one budget that make a line."""


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


def ratios_of(rows: Sequence[Row], difficulty: Sequence[DifficultyPoint]) -> list[Ratios]:
    """Of each setting the largest budget that ran with several ratios."""
    settings: dict[str, dict[int, list[Ratio]]] = {}
    for row in rows:
        strategy = registered(row.strategy)
        if not isinstance(strategy, Revision) or not row.ran or not row.problems:
            continue
        bins = {(one.panel, one.x): one.accuracy for one in difficulty if one.strategy == row.strategy}
        mine = settings.setdefault(_setting(strategy), {}).setdefault(row.n, [])
        mine.append(Ratio(strategy.sequential, strategy.parallel, row.accuracy, bins))
    return [
        Ratios(setting, n, sorted(budgets[n], key=lambda one: one.sequential))
        for setting, budgets in settings.items()
        if (n := max((n for n, some in budgets.items() if len(some) >= LEAST), default=0))
    ]


def _setting(strategy: Revision) -> str:
    """What a strategy says besides length and number of its chains; how it selects always."""
    rest = (
        replace(strategy, sequential=1, parallel=1).text.partition("sequential=1,parallel=1")[2].strip("(,)")
    )
    selected = "" if "select=" in rest else f"select={strategy.select}"
    return ",".join(one for one in (selected, rest) if one)
