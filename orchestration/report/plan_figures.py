"""The figures of planning: a value table as a picture with its calibration, and accuracy over FLOPs of whatever is compared.

It knows plans and estimates, nothing of how they came about. Invariant: points have their intervals, as in all figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestration.allocation.plan import Plan
from orchestration.allocation.value_table import UNDRAWN, work_of
from orchestration.analysis.statistics import Estimate
from orchestration.report.figures import (
    STYLE,
    Dash,
    count_flops,
    draw_line,
    looks_of,
    name_beside,
    new_figure,
)
from orchestration.report.plan_tables import in_group, stage_name

_PLAIN: tuple[Dash, ...] = ((0, (5, 2)), (0, (1, 1)), (0, (5, 2, 1, 2)))


@dataclass(frozen=True, slots=True)
class Curve:
    """Accuracy over FLOPs a problem, `points` in the order of FLOPs; one that is `plain` has no interval to show."""

    name: str
    points: Sequence[tuple[float, Estimate]]
    plain: bool = False


def draw_plan(plan: Plan, folder: Path, kinds: Sequence[str]) -> list[Path]:
    """Draw a plan's value table into `folder`, in each of the file kinds; return the paths."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        return _saved(_value_table(plan), folder, "value_table", kinds)


def draw_curves(
    curves: Sequence[Curve], folder: Path, name: str, kinds: Sequence[str], *, problems: int
) -> list[Path]:
    """Draw accuracy over FLOPs into `folder`; return the paths."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        return _saved(_over_flops(curves, problems), folder, name, kinds) if kinds else []


def _saved(figure: Any, folder: Path, name: str, kinds: Sequence[str]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind in kinds:
        path = folder / f"{name}.{kind}"
        # Without a date the same numbers give the same bytes.
        figure.savefig(path, dpi=160, bbox_inches="tight", metadata={"Date": None} if kind == "svg" else None)
        paths.append(path)
    return paths


def _value_table(plan: Plan) -> Any:
    """On the left each stage's cells with their chances; on the right what was told against what came."""
    import numpy as np
    from matplotlib.ticker import PercentFormatter

    rows = [
        (in_group(stage_name(work_of(stage.name)), stage, group), [stage.right[cell] for cell in cells])
        for stage in plan.table.stages
        if stage.name not in UNDRAWN
        for group, cells in enumerate(stage.groups)
    ]
    most = max(len(chances) for _, chances in rows)
    shown = np.full((len(rows), most), np.nan)
    for row, (_, chances) in enumerate(rows):
        shown[row, : len(chances)] = chances
    figure, (left, right) = new_figure(11.0, 1.8 + 0.36 * len(rows), 2, shared=False)
    left.imshow(shown, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    left.grid(visible=False)
    for row, (_, chances) in enumerate(rows):
        for cell, chance in enumerate(chances):
            colour = "white" if chance > 0.6 else "black"
            left.text(cell, row, f"{chance:.0%}", ha="center", va="center", fontsize=8, color=colour)
    left.set_yticks(range(len(rows)), [name for name, _ in rows])
    left.set_xticks(range(most), [str(cell + 1) for cell in range(most)])
    left.set_xlabel("cell, by the evidence for the answer")
    left.set_title("chance that the answer is right", fontsize=10, loc="left")
    right.plot([0, 1], [0, 1], color="#7F7F7F", linewidth=1, linestyle=(0, (1, 2)))
    sizes = [one.problems for one in plan.calibration]
    largest = max(sizes, default=1.0)
    right.scatter(
        [one.told for one in plan.calibration],
        [one.right for one in plan.calibration],
        s=[20 + 120 * size / largest for size in sizes],
        color="#0072B2",
        clip_on=False,
        zorder=3,
    )
    right.set_xlim(0, 1)
    right.set_ylim(0, 1)
    for axis in (right.xaxis, right.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    right.set_xlabel("chance that was told, on other problems than it was fitted to")
    right.set_ylabel("was right")
    right.set_title("calibration (area: problems)", fontsize=10, loc="left")
    return figure


def _over_flops(curves: Sequence[Curve], problems: int) -> Any:
    from matplotlib.ticker import PercentFormatter

    figure, (axes,) = new_figure(7.6, 4.6)
    looks = looks_of([curve.name for curve in curves if not curve.plain])
    dashes = iter(_PLAIN * len(curves))
    for curve in curves:
        points = [(x, one) for x, one in curve.points if x > 0 and not math.isnan(one.mean)]
        xs = [x for x, _ in points]
        if curve.plain:
            means, dash = [one.mean for _, one in points], next(dashes)
            axes.plot(xs, means, color="#7F7F7F", linewidth=1, linestyle=dash, marker=".", label=curve.name)
        else:
            draw_line(axes, xs, [one for _, one in points], looks[curve.name], curve.name)
    axes.set_xlabel("FLOPs spent a problem (2 x parameters a token)")
    count_flops(axes, [x for curve in curves for x, _ in curve.points if x > 0])
    axes.set_ylabel(f"accuracy ({problems:,} problems)")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    low, high = axes.get_ylim()
    axes.set_ylim(max(0.0, low), min(1.0, high))
    name_beside(figure, axes)
    return figure
