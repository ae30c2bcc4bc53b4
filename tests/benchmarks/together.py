"""Compute-optimal over searches, over revisions, and over both: `python -m tests.benchmarks.together RUN`.

RUN is a folder in which `best_of_n(n=...)`, searches and revisions solved the same problems; what has one N competes there.
As in the paper (Snell et al. 2024, section 3.2) a problem's bin is a fifth by difficulty, the best strategy of each bin is
chosen on one half of the problems and judged on the other, both ways. A bin is told by the verifier's value of the prompt
alone, which takes no sample. It prints, at each N, the accuracy of each list with its interval, the paired differences of
both with each alone and of each list with its best member for all bins, and what was chosen; with `--image` it draws the
figure.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.strategy import asked_by
from orchestration.allocation.plan import Pick
from orchestration.analysis.statistics import Estimate, mean_interval, paired_difference
from orchestration.planning.bin_table import bin_table
from orchestration.planning.calibration import strategies_at
from orchestration.planning.difficulty import quantile_bins
from orchestration.planning.prompt_values import prompt_values
from orchestration.planning.sources import Source, read_source
from orchestration.report.figures import STYLE, draw_line, looks_of, name_beside, new_figure
from orchestration.runs.run import Run
from orchestration.strategies.parse import parse, registered

Array = NDArray[np.float64]
LISTS = ("searches", "revisions", "both")


@dataclass(frozen=True, slots=True)
class Chosen:
    """At one N, by list: by problem (P) how right the strategy is that the other half chose for its bin, the same with one
    choice for all bins, and what was chosen."""

    by_bin: Mapping[str, Array]
    alone: Mapping[str, Array]
    picks: Mapping[str, tuple[Pick, ...]]


def right_at(source: Source, seed: int) -> dict[int, dict[str, Array]]:
    """By N and strategy how right each problem's answer is (P)."""
    known = {text: registered(text) for text in source.searches}
    ns = {text: one.grouping.n for text, one in known.items() if one is not None and one.grouping.n}
    drawn = [n for n in source.offer.samples if n in set(ns.values()) or n == source.size]
    right = strategies_at(source, drawn, seed=seed, half=None)
    for text, n in ns.items():
        found = right.setdefault(n, {})
        found[text] = np.array([float(pool.searches[text].correct) for pool in source.pools])
    return right


def chosen_at(
    source: Source, bins: NDArray[np.int64], right: Mapping[str, Array], n: int, seed: int
) -> Chosen:
    problems = [pool.problem for pool in source.pools]
    by_bin, alone, picks = {}, {}, {}
    for name in LISTS:
        mine = {text: one for text, one in right.items() if name in ("both", _list_of(text))}
        if not mine:
            continue
        table = bin_table(problems, bins, {n: mine}, seed=seed)
        by_bin[name], picks[name] = table.right[n], table.picks
        alone[name] = bin_table(problems, np.zeros_like(bins), {n: mine}, seed=seed).right[n]
    return Chosen(by_bin, alone, picks)


def _list_of(text: str) -> str:
    return "revisions" if "reviser" in asked_by(parse(text)) else "searches"


def told(n: int, one: Chosen) -> None:
    print(f"\nN = {n}")
    for name, right in one.by_bin.items():
        print(f"  compute-optimal over {name:9}  {_percent(mean_interval(right))}", end="")
        print(f"   less its best for all bins {_points(right, one.alone[name])}")
    for name in LISTS[:2]:
        if name in one.by_bin and len(one.by_bin) == len(LISTS):
            print(f"  both less {name:9}             {_points(one.by_bin['both'], one.by_bin[name])}")
    for name, picks in one.picks.items():
        print(
            f"  {name}: " + "; ".join(f"bin {pick.bin} {pick.strategy} {pick.accuracy:.1%}" for pick in picks)
        )


def _percent(one: Estimate) -> str:
    return f"{one.mean:.1%} ({one.low:.1%} to {one.high:.1%})"


def _points(a: Array, b: Array) -> str:
    one = paired_difference(a, b)
    return f"{100 * one.mean:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"


def draw(at: Mapping[int, Chosen], singles: Mapping[str, Mapping[int, Array]], path: Path) -> None:
    """Accuracy over N: each list, and single strategies that everyone gets."""
    import matplotlib as mpl
    from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

    lines: dict[str, Mapping[int, Array]] = {
        f"compute-optimal, {name}": {n: one.by_bin[name] for n, one in at.items() if name in one.by_bin}
        for name in LISTS
    }
    lines |= {name: found for name, found in singles.items() if found}
    with mpl.rc_context(STYLE):
        figure, (axes,) = new_figure(7.6, 4.6)
        looks = looks_of(list(lines))
        for place, (name, found) in enumerate(lines.items()):
            shift = 2.0 ** (0.05 * (place - (len(lines) - 1) / 2))
            estimates = [mean_interval(right) for right in found.values()]
            draw_line(axes, [n * shift for n in found], estimates, looks[name], name)
        axes.set_xscale("log", base=2)
        axes.set_xticks(sorted(at))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("generations a problem (N)")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylabel("accuracy")
        name_beside(figure, axes)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=160, bbox_inches="tight")


def single(right: Mapping[int, Mapping[str, Array]], form: str) -> dict[int, Array]:
    """By N the strategy whose text `form` gives."""
    texts = {n: parse(form.format(n=n)).text for n in right}
    return {n: right[n][text] for n, text in sorted(texts.items()) if text in right[n]}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--bins", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="which half of the problems judges which")
    parser.add_argument("--image", type=Path, help="file of the figure")
    given: Any = parser.parse_args(words)
    run = Run(given.run)
    source = read_source(run, prompts=prompt_values(run))
    values = np.array([pool.prompt.value for pool in source.pools if pool.prompt is not None])
    bins = quantile_bins(values, given.bins).of(values)
    sizes = ", ".join(str(int((bins == one).sum())) for one in sorted(set(bins.tolist())))
    print(
        f"{len(values):,} problems; bins by the verifier's value of the prompt, the easiest first: {sizes} problems"
    )
    right = right_at(source, given.seed)
    at = {n: chosen_at(source, bins, found, n, given.seed) for n, found in sorted(right.items())}
    for n, one in at.items():
        told(n, one)
    if given.image is not None:
        singles = {
            "samples of the policy": single(right, "best_of_n(n={n})"),
            "samples of the reviser": single(right, "revision(sequential=1,parallel={n})"),
            "one chain": single(right, "revision(sequential={n},parallel=1)"),
        }
        draw(at, singles, given.image)
        print(f"\nfigure {given.image}")


if __name__ == "__main__":
    main()
