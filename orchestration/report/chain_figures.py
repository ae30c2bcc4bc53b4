"""Figures of chains of revisions: pass@1 by step, and accuracy by the ratio of sequential to parallel (Snell et al. 2024,
figures 6 and 7).

It knows chains and ratios as they were measured, nothing of runs. Invariant: points have their intervals, as in all figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from actors.errors import counted
from orchestration.analysis.measure import Measures
from orchestration.analysis.ratios import Ratios
from orchestration.analysis.statistics import Estimate
from orchestration.report.chain_tables import bin_name, shown_steps, unlike
from orchestration.report.figures import draw_line, looks_of, new_figure


def chain_figures(measures: Measures) -> list[tuple[str, Callable[[Measures], Any]]]:
    """Those that the measures allow, by their names."""
    found: list[tuple[str, Callable[[Measures], Any]]] = []
    if measures.chains:
        found.append(("chains_step", over_steps))
    if measures.ratios:
        found.append(("chains_ratio", by_ratio))
    return found


def over_steps(measures: Measures) -> Any:
    """Pass@1 at each step: of all chains over all problems, and of the longest by difficulty."""
    chains = unlike(measures.chains)
    longest = max(chains, key=lambda one: len(one.steps))
    lines = max(len(chains), len(longest.bins))
    figure, plots = new_figure(10.4 if longest.bins else 7.2, _height(lines), 2 if longest.bins else 1)
    every = [(one.strategy, one.steps) for one in chains]
    _steps(plots[0], every, "all problems")
    if longest.bins:
        bins = [(bin_name(panel, x), steps) for panel, x, steps in longest.bins]
        _steps(plots[1], bins, f"{longest.strategy}, by {measures.difficulty_axis.partition(',')[0]}")
    return _finished(figure, plots, f"pass@1 of attempts ({counted(measures.labelled, 'problem')})")


def by_ratio(measures: Measures) -> Any:
    """Accuracy at one budget by the ratio of sequential to parallel: a plot for each setting, a line for each difficulty.
    The budget is the largest of those with the most ratios."""
    shown = _shown(measures.ratios)
    height = _height(1 + max(len(one.bins) for one in shown))
    figure, plots = new_figure(max(7.2, 4.0 * len(shown) + 1.8), height, len(shown))
    for axes, one in zip(plots, shown, strict=True):
        lines = {"all problems": [ratio.accuracy for ratio in one.ratios]}
        nothing = Estimate(float("nan"), float("nan"), float("nan"), 0)
        for panel, x in one.bins:
            lines[bin_name(panel, x)] = [ratio.bins.get((panel, x), nothing) for ratio in one.ratios]
        looks = looks_of(list(lines))
        for place, (name, estimates) in enumerate(lines.items()):
            shift = 0.06 * (place - (len(lines) - 1) / 2)
            draw_line(
                axes,
                [at + shift for at in range(len(estimates))],
                estimates,
                looks[name],
                _label(name, estimates),
            )
        axes.set_xticks(range(len(one.ratios)))
        axes.set_xticklabels([ratio.name for ratio in one.ratios])
        axes.set_xlabel(f"sequential : parallel, N = {one.n:,}")
        axes.set_title(one.setting, fontsize=10, loc="left")
    return _finished(figure, plots, f"accuracy ({counted(measures.labelled, 'problem')})")


def _steps(axes: Any, lines: Sequence[tuple[str, Sequence[Estimate]]], title: str) -> None:
    from matplotlib.ticker import NullLocator

    looks = looks_of([name for name, _ in lines])
    ticks = shown_steps(max(len(steps) for _, steps in lines))
    for place, (name, steps) in enumerate(lines):
        # Steps lie as far apart as powers of two do: the first ones say most.
        shift = 2 ** (min(0.05, 0.5 / len(lines)) * (place - (len(lines) - 1) / 2))
        shown = shown_steps(len(steps))
        told = [steps[step - 1] for step in shown]
        draw_line(axes, [step * shift for step in shown], told, looks[name], _label(name, told))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, labels=[str(step) for step in ticks])
    axes.set_xlabel("step of the chain")
    axes.set_title(title, fontsize=10, loc="left")


def _finished(figure: Any, plots: Sequence[Any], what: str) -> Any:
    from matplotlib.ticker import PercentFormatter

    plots[0].set_ylabel(what)
    plots[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    low, high = plots[0].get_ylim()
    plots[0].set_ylim(max(0.0, low), min(1.0, high))
    for axes in plots:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=8, handlelength=3)
    return figure


def _shown(ratios: Sequence[Ratios]) -> list[Ratios]:
    """Of each setting the budget with the most ratios, the largest of several."""
    best: dict[str, Ratios] = {}
    for one in ratios:
        if one.setting not in best or len(one.ratios) >= len(best[one.setting].ratios):
            best[one.setting] = one
    return list(best.values())


def _height(lines: int) -> float:
    """Inches of a figure with so many lines, whose names stand below it."""
    return 3.2 + 0.19 * lines


def _label(name: str, estimates: Sequence[Estimate]) -> str:
    most = max((one.problems for one in estimates), default=0)
    return f"{name}, {counted(most, 'problem')}"
