"""The figures of a report: accuracy over generations, over FLOPs, and by difficulty.

It knows nothing of runs. Invariant: a series has one colour, marker and dash in all figures, and no two of up to 64 have
the same; intervals are drawn wherever they are known; looks are told apart without colour vision as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestration.analysis.measure import Measures
from orchestration.analysis.pairs import LIKELIHOOD, PASS
from orchestration.analysis.rows import Row
from orchestration.report.tables import baseline_title

# Okabe and Ito's palette, darkest contrasts first.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7F7F7F")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
_DASHES = ("-", "--", ":", "-.")

Look = tuple[str, str, str]

_STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "flopwise",
}


def draw_figures(measures: Measures, folder: Path, kinds: Sequence[str], level: float) -> list[Path]:
    """Draw what the measures allow into `folder`, in each of the file `kinds`; return the paths.

    `level` is that of the intervals, for the legend.

    Nothing is drawn without labels, and no figure by difficulty without a difficulty.
    """
    if not measures.labelled or not kinds:
        return []
    import matplotlib as mpl

    wanted: list[tuple[str, Callable[[Measures], Any]]] = [
        ("accuracy_generations", _over_generations),
        ("accuracy_flops", _over_flops),
    ]
    if measures.difficulty:
        wanted.append(("accuracy_difficulty", _by_difficulty))
    paths = []
    with mpl.rc_context(_STYLE):
        for name, make in wanted:
            figure = make(measures)
            figure.axes[-1].get_legend().set_title(f"bars: {level:.0%} intervals", {"size": 8})
            for kind in kinds:
                path = folder / f"{name}.{kind}"
                # Without a date the same run gives the same bytes.
                metadata = {"Date": None} if kind == "svg" else None
                figure.savefig(path, dpi=160, bbox_inches="tight", metadata=metadata)
                paths.append(path)
    return paths


def looks_of(series: Sequence[str]) -> dict[str, Look]:
    """Colour, marker and dash of each series; no two of up to 64 are the same."""
    looks = {}
    for place, name in enumerate(series):
        lap, colour = divmod(place, len(_COLOURS))
        # Each lap of the colours has other markers and, for lines whose markers are hidden, other dashes.
        marker = _MARKERS[(colour + 3 * lap) % len(_MARKERS)]
        looks[name] = (_COLOURS[colour], marker, _DASHES[lap % len(_DASHES)])
    return looks


def _looks(measures: Measures) -> dict[str, Look]:
    return looks_of(list(dict.fromkeys(row.series for row in measures.rows)))


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, sharey=True, squeeze=False)[0]


def _over_generations(measures: Measures) -> Any:
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure, (axes,) = _figure(7.2, 4.4)
    _curves(axes, measures, lambda row: row.n, nudge=True)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("generations a problem (N)")
    ns = sorted({row.n for row in measures.rows})
    axes.set_xticks(ns if len(ns) <= 12 else [n for n in ns if n & (n - 1) == 0])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    for name, dashes in ((PASS, (1, 2)), (LIKELIHOOD, (5, 2))):
        line = [row for row in measures.baselines if row.family == name]
        axes.plot(
            [row.n for row in line],
            [row.accuracy.mean for row in line],
            color="#7F7F7F",
            dashes=dashes,
            linewidth=1.2,
            label=baseline_title(line[0]) if line else None,
            zorder=1,
        )
    return _finished(figure, axes, measures)


def _over_flops(measures: Measures) -> Any:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure, (axes,) = _figure(7.2, 4.4)
    _curves(axes, measures, lambda row: row.flops, nudge=False)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:.0e}".replace("e+0", "e").replace("e+", "e"))
    )
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("FLOPs a problem, as if run alone (2 x parameters a token)")
    return _finished(figure, axes, measures)


def _by_difficulty(measures: Measures) -> Any:
    panels = list(dict.fromkeys(point.panel for point in measures.difficulty))
    figure, plots = _figure(max(7.2, 4.0 * len(panels) + 1.8), 4.2, len(panels))
    looks = _looks(measures)
    strategies = list(dict.fromkeys(point.strategy for point in measures.difficulty))
    series = {row.strategy: row.series for row in measures.rows}
    for panel, axes in zip(panels, plots, strict=True):
        xs = sorted({point.x for point in measures.difficulty if point.panel == panel})
        for place, strategy in enumerate(strategies):
            line = [p for p in measures.difficulty if (p.panel, p.strategy) == (panel, strategy)]
            # Side by side, so that intervals do not cover each other; within what belongs to one length.
            shift = min(0.08, 0.8 / len(strategies)) * (place - (len(strategies) - 1) / 2)
            xs_of_line = [p.x + shift for p in line]
            _line(axes, xs_of_line, [p.accuracy for p in line], looks[series[strategy]], strategy)
        axes.set_xticks(xs)
        mine = [p for p in measures.difficulty if p.panel == panel]
        counts = {x: max(p.accuracy.problems for p in mine if p.x == x) for x in xs}
        axes.set_xticklabels([f"{x}\nn={counts[x]:,}" for x in xs])
        axes.set_xlabel(measures.difficulty_axis)
        axes.set_title(panel, fontsize=10, loc="left")
    return _finished(figure, plots[0], measures, legend_of=plots[-1])


def _curves(axes: Any, measures: Measures, x: Callable[[Row], float], *, nudge: bool) -> None:
    looks = _looks(measures)
    # From the first series to the last, less than half of what lies between two powers of two.
    ratio = min(1.025, 1.4 ** (1 / len(looks)))
    for place, (name, look) in enumerate(looks.items()):
        line = [row for row in measures.rows if row.series == name and math.isfinite(x(row))]
        # One that ran on nothing has a place and no accuracy.
        line = [row for row in line if x(row) > 0 and math.isfinite(row.accuracy.mean)]
        shift = ratio ** (place - (len(looks) - 1) / 2) if nudge else 1.0
        xs, estimates = [x(row) * shift for row in line], [row.accuracy for row in line]
        _line(axes, xs, estimates, look, name)


def _line(axes: Any, xs: list[float], estimates: list[Any], look: Look, label: str) -> None:
    colour, marker, dash = look
    means = [estimate.mean for estimate in estimates]
    below = [estimate.mean - estimate.low for estimate in estimates]
    above = [estimate.high - estimate.mean for estimate in estimates]
    axes.errorbar(
        xs,
        means,
        yerr=[below, above],
        color=colour,
        marker=marker,
        linestyle=dash,
        markersize=5.5,
        linewidth=1.8,
        elinewidth=0.9,
        capsize=2,
        label=label,
    )


def _finished(figure: Any, axes: Any, measures: Measures, legend_of: Any = None) -> Any:
    from matplotlib.ticker import PercentFormatter

    seeds = f", {len(measures.seeds)} seeds" if len(measures.seeds) > 1 else ""
    axes.set_ylabel(f"accuracy ({measures.labelled:,} problems{seeds})")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    (legend_of or axes).legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=9)
    return figure
