"""The figures of a report: accuracy over generations, over FLOPs, and by difficulty; how difficult the problems are.

It knows nothing of runs. Invariant: a series has one look in all figures; no two of up to 64 have the same, also in grey
print, and no two of up to 16 the same colour; every strategy's points have their intervals; no line passes through a point
that stands alone or is told from a single problem; an axis of accuracy stays within 0% and 100%.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.errors import counted
from orchestration.analysis.measure import Measures
from orchestration.analysis.pairs import LIKELIHOOD, PASS
from orchestration.analysis.rows import Row
from orchestration.analysis.statistics import Estimate
from orchestration.report.tables import baseline_title

Dash = str | tuple[int, tuple[float, ...]]
"""A line style of matplotlib's."""

# Okabe and Ito's palette without its yellow, then others as far from these and each other; greys are the baselines'.
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#7A3E00"),
    *("#6A3D9A", "#8FBC3B", "#B22222", "#1B5E5A", "#F781BF", "#808000", "#1F1F7A", "#B39DDB"),
)
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
_DASHES: tuple[Dash, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))


@dataclass(frozen=True, slots=True)
class Look:
    """How a series is drawn; `hollow` markers are white inside."""

    colour: str
    marker: str
    hollow: bool
    dash: Dash


_BASELINES = {
    PASS: Look("#7F7F7F", "1", False, (0, (1, 2))),
    LIKELIHOOD: Look("#A6A6A6", "2", False, (0, (5, 2))),
}

STYLE: dict[str, Any] = {
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
    # A name is a text: a dollar sign in it begins no formula.
    "text.parse_math": False,
}

_LINE_WIDTH = 1.6

_NAME, _LETTER = 50, 0.06
"""Letters of a name that have room beside a plot, and inches that each further one takes."""


def draw_figures(
    measures: Measures,
    folder: Path,
    kinds: Sequence[str],
    level: float,
    further: Sequence[tuple[str, Callable[[Measures], Any]]] = (),
) -> list[Path]:
    """Draw what the measures allow into `folder`, and `further` figures by their names, in each of the file `kinds`; return
    the paths.

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
    if measures.spread:
        wanted.append(("spread", _spread))
    wanted += further
    paths = []
    with mpl.rc_context(STYLE):
        for name, make in wanted:
            figure = make(measures)
            if legend := figure.axes[-1].get_legend():
                legend.set_title(f"bars: {level:.0%} intervals", {"size": 8})
            for kind in kinds:
                path = folder / f"{name}.{kind}"
                # Without a date the same run gives the same bytes.
                metadata = {"Date": None} if kind == "svg" else None
                figure.savefig(path, dpi=160, bbox_inches="tight", metadata=metadata)
                paths.append(path)
    return paths


def looks_of(series: Sequence[str]) -> dict[str, Look]:
    """The look of each series; no two of up to 64 have the same marker and dash."""
    looks = {}
    for place, name in enumerate(series):
        half, marker = divmod(place, len(_MARKERS))
        lap = place // len(_COLOURS)
        # Neighbours differ in all; each lap of the colours has other dashes to the same markers.
        dash = _DASHES[(place + lap) % len(_DASHES)]
        looks[name] = Look(_COLOURS[place % len(_COLOURS)], _MARKERS[marker], bool(half % 2), dash)
    return looks


def _looks(measures: Measures) -> dict[str, Look]:
    return looks_of(list(dict.fromkeys(row.series for row in measures.rows)))


def new_figure(width: float, height: float, columns: int = 1, *, shared: bool = True) -> tuple[Any, Any]:
    """A figure and its plots side by side, which have one vertical axis where it is `shared`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, sharey=shared, squeeze=False)[0]


def _over_generations(measures: Measures) -> Any:
    from matplotlib.ticker import FuncFormatter, NullLocator

    figure, (axes,) = new_figure(7.2, 4.4)
    _curves(axes, measures, lambda row: row.n, nudge=True)
    axes.set_xscale("log", base=2)
    axes.set_xlabel("generations a problem (N)")
    ns = sorted({row.n for row in measures.rows})
    axes.set_xticks(ns if len(ns) <= 12 else [n for n in ns if n & (n - 1) == 0])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    # Room for what stands beside the first and the last of them, also where that is one.
    axes.set_xlim(min(ns) / 1.35, max(ns) * 1.35)
    for name, look in _BASELINES.items():
        line = [row for row in measures.baselines if row.family == name]
        if line:
            axes.plot(
                [row.n for row in line],
                [row.accuracy.mean for row in line],
                color=look.colour,
                marker=look.marker,
                linestyle=look.dash if len(line) > 1 else "none",
                linewidth=1.2,
                label=_label(baseline_title(line[0]), [row.problems for row in line]),
                zorder=1,
            )
    return _finished(figure, axes, measures)


def _over_flops(measures: Measures) -> Any:
    figure, (axes,) = new_figure(7.2, 4.4)
    _curves(axes, measures, lambda row: row.flops, nudge=False)
    axes.set_xlabel("FLOPs a problem, as if run alone (2 x parameters a token)")
    count_flops(axes, [row.flops for row in measures.rows if math.isfinite(row.flops) and row.flops > 0])
    return _finished(figure, axes, measures)


def count_flops(axes: Any, spent: Sequence[float]) -> None:
    """Give an axis of FLOPs its marks, and room where what was spent lies close together."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:.0e}".replace("e+0", "e").replace("e+", "e"))
    )
    axes.xaxis.set_minor_locator(NullLocator())
    left, right = axes.get_xlim()
    if spent and max(spent) < 4 * min(spent):
        left, right = min(spent) / 3, max(spent) * 3
    axes.set_xlim(left, right)
    # Over many powers of ten these alone have room for their names.
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if right < 300 * left else (1,)))


def _by_difficulty(measures: Measures) -> Any:
    panels = list(dict.fromkeys(point.panel for point in measures.difficulty))
    figure, plots = new_figure(max(7.2, 4.0 * len(panels) + 1.8), 4.2, len(panels))
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
            problems = sum(p.accuracy.problems for p in measures.difficulty if p.strategy == strategy)
            label = _label(strategy, [problems])
            draw_line(axes, xs_of_line, [p.accuracy for p in line], looks[series[strategy]], label)
        axes.set_xlim(xs[0] - 0.6, xs[-1] + 0.6)
        axes.set_xticks(xs)
        mine = [p for p in measures.difficulty if p.panel == panel]
        counts = {x: max(p.accuracy.problems for p in mine if p.x == x) for x in xs}
        axes.set_xticklabels([f"{x}\nn={counts[x]:,}" for x in xs])
        axes.set_xlabel(measures.difficulty_axis)
        axes.set_title(panel, fontsize=10, loc="left")
    return _finished(figure, plots[0], measures, legend_of=plots[-1])


def _spread(measures: Measures) -> Any:
    """A histogram of pass@1 over problems, its bins a twentieth wide; the last holds those that are always right."""
    from matplotlib.ticker import PercentFormatter

    spread = measures.spread
    assert spread is not None
    figure, (axes,) = new_figure(7.2, 3.4)
    axes.hist(
        spread.rates,
        bins=[place / 20 for place in range(21)],
        color=_COLOURS[0],
        edgecolor="white",
        linewidth=0.8,
    )
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel(f"pass@1 of a problem ({spread.samples} samples of each)")
    axes.set_ylabel(f"problems (of {len(spread.rates):,})")
    return figure


def _curves(axes: Any, measures: Measures, x: Callable[[Row], float], *, nudge: bool) -> None:
    looks = _looks(measures)
    # From the first series to the last, less than half of what lies between two powers of two.
    ratio = min(1.025, 1.4 ** (1 / len(looks)))
    for place, (name, look) in enumerate(looks.items()):
        line = [row for row in measures.rows if row.series == name and math.isfinite(x(row))]
        # One that ran on nothing has a place and no accuracy.
        line = [row for row in line if x(row) > 0 and math.isfinite(row.accuracy.mean)]
        shift = ratio ** (place - (len(looks) - 1) / 2) if nudge else 1.0
        points = [(x(row) * shift, row.accuracy) for row in line]
        seeds = {row.seeds for row in line} if len(measures.seeds) > 1 else set()
        label = _label(name, [row.accuracy.problems for row in line])
        if seeds - {len(measures.seeds)}:
            label += f", {min(seeds)} of {len(measures.seeds)} seeds"
        draw_line(axes, [x for x, _ in points], [estimate for _, estimate in points], look, label)


def _label(name: str, problems: Sequence[int]) -> str:
    """A curve's name and how many problems its points are told from."""
    least, most = min(problems, default=0), max(problems, default=0)
    count = f"{most:,}" if least == most else f"{least:,} to {most:,}"
    return f"{name}, {count} {'problem' if count == '1' else 'problems'}"


def draw_line(axes: Any, xs: Sequence[float], estimates: Sequence[Estimate], look: Look, label: str) -> None:
    """Points with their intervals, and a line where there are two or more to be joined."""
    points = [(x, one) for x, one in zip(xs, estimates, strict=True) if not math.isnan(one.mean)]
    joined = [one for one in points if one[1].problems > 1]
    alone = [one for one in points if one[1].problems <= 1]
    if len(joined) < 2:
        joined, alone = points, []
    lined = len(joined) > 1 and all(one.problems > 1 for _, one in joined)
    for some, line, text in ((joined, look.dash if lined else "none", label), (alone, "none", None)):
        if some or text:
            axes.errorbar(
                [x for x, _ in some],
                [one.mean for _, one in some],
                yerr=[
                    [one.mean - one.low for _, one in some],
                    [one.high - one.mean for _, one in some],
                ],
                color=look.colour,
                marker=look.marker,
                markerfacecolor="white" if look.hollow else look.colour,
                linestyle=line,
                markersize=5.5,
                linewidth=_LINE_WIDTH,
                elinewidth=0.9,
                capsize=2,
                label=text,
                # At 0% and 100% a marker is drawn whole.
                clip_on=False,
                zorder=3,
            )


def _finished(figure: Any, axes: Any, measures: Measures, legend_of: Any = None) -> Any:
    from matplotlib.ticker import PercentFormatter

    seeds = f", {len(measures.seeds)} seeds" if len(measures.seeds) > 1 else ""
    axes.set_ylabel(f"accuracy ({counted(measures.labelled, 'problem')}{seeds})")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    low, high = axes.get_ylim()
    axes.set_ylim(max(0.0, low), min(1.0, high))
    name_beside(figure, legend_of or axes)
    return figure


def name_beside(figure: Any, axes: Any) -> None:
    """The legend beside a plot. With names that would leave the plot no room the figure grows."""
    legend = axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=8, handlelength=3)
    longest = max((len(one.get_text()) for one in legend.get_texts()), default=0)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width + max(0, longest - _NAME) * _LETTER, height)
