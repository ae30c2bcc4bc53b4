"""Chains of revisions as tables: pass@1 by step, what becomes of right and wrong attempts, and the ratios of sequential to
parallel.

It knows nothing of how a number came about. Invariant: every form shows the same numbers; the file has every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestration.analysis.chains import Chains
from orchestration.analysis.ratios import Ratios
from orchestration.report.tables import Cells, interval, percent
from orchestration.strategies.parse import registered
from orchestration.strategies.revision.revision import Revision

if TYPE_CHECKING:
    import pyarrow as pa

TITLE = "Chains of revisions"

ABOUT = (
    "Pass@1 of the attempts at each step of a chain, whatever was selected; the longest chains stand for those that stop "
    "before. Spoiled: of the right attempts that have a next "
    "one, the share whose next one is wrong; mended: the other way round. Stuck: chains that end on a wrong answer which "
    "they had given before."
)

RATIOS = "Sequential to parallel"

_STEPS = 8
"""Steps that are shown one by one; of further ones every power of two, and the last."""


def unlike(chains: Sequence[Chains]) -> list[Chains]:
    """Those with attempts of their own: of strategies that choose otherwise among the same ones, one, and of chains that go
    on, none that stops before."""
    found: dict[tuple[str, int], Chains] = {}
    for one in chains:
        key = _kind(one), max((step.problems for step in one.steps), default=0)
        if key not in found or len(found[key].steps) < len(one.steps):
            found[key] = one
    return list(found.values())


def _kind(one: Chains) -> str:
    """What its attempts hang on, besides how many follow one another."""
    strategy = registered(one.strategy)
    assert isinstance(strategy, Revision)
    return replace(strategy, sequential=1, select="majority", aggregation="last").text


def chain_cells(chains: Sequence[Chains]) -> tuple[list[str], Cells]:
    """Head and cells: a row for each step that is shown."""
    return ["strategy", "step", "problems", "pass@1", "interval"], [
        [one.strategy, str(step), f"{told.problems:,}", percent(told.mean), interval(told)]
        for one in chains
        for step, told in enumerate(one.steps, start=1)
        if step in shown_steps(len(one.steps))
    ]


def chain_lines(chains: Sequence[Chains]) -> list[str]:
    """A line a strategy on what becomes of its attempts, and what a reader should know of it."""
    lines = []
    for one in chains:
        if one.chains:
            lines.append(
                f"{one.strategy}: {_part(one.spoiled, one.right)} right attempts spoiled, "
                f"{_part(one.mended, one.wrong)} wrong ones mended, {_part(one.stuck, one.chains)} chains stuck."
            )
        lines += [one.note] if one.note else []
    return lines


def chains_table(chains: list[Chains], axis: str) -> pa.Table:
    """Every step as numbers, over all problems and by difficulty."""
    import pyarrow as pa

    rows = []
    for one in chains:
        for panel, x, steps in [("", None, one.steps), *one.bins]:
            for step, told in enumerate(steps, start=1):
                rows.append(
                    {
                        "strategy": one.strategy,
                        "difficulty": "" if x is None else axis,
                        "panel": panel,
                        "x": x,
                        "step": step,
                        "problems": told.problems,
                        "pass_at_1": told.mean if told.problems else None,
                        "low": told.low if told.problems else None,
                        "high": told.high if told.problems else None,
                    }
                )
    texts, whole = dict.fromkeys(("strategy", "difficulty", "panel"), pa.string()), pa.int64()
    kinds = texts | dict.fromkeys(("x", "step", "problems"), whole)
    kinds |= dict.fromkeys(("pass_at_1", "low", "high"), pa.float64())
    return pa.Table.from_pylist(rows, schema=pa.schema(list(kinds.items())))


def ratio_cells(one: Ratios) -> tuple[list[str], Cells]:
    """Head and cells of a setting: a row for each ratio, its accuracy over all problems and by difficulty."""
    head = [
        "sequential:parallel",
        "problems",
        "accuracy",
        "interval",
        *(bin_name(*each) for each in one.bins),
    ]
    return head, [
        [
            ratio.name,
            f"{ratio.accuracy.problems:,}",
            percent(ratio.accuracy.mean),
            interval(ratio.accuracy),
            *(
                f"{percent(told.mean)} ({interval(told)})"
                if (told := ratio.bins.get(each)) and told.problems
                else "-"
                for each in one.bins
            ),
        ]
        for ratio in one.ratios
    ]


def bin_name(panel: str, x: int) -> str:
    """What problems of one difficulty are called."""
    return f"{panel or 'bin'} {x}"


def shown_steps(last: int) -> list[int]:
    """The steps of a chain that are shown, from 1 to its last."""
    return [step for step in range(1, last + 1) if step <= _STEPS or step == last or step & (step - 1) == 0]


def _part(count: int, of: int) -> str:
    """A share and of how many; "-" of none."""
    return f"{percent(count / of)} of {of:,}" if of else "- of 0"
