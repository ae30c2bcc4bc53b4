"""`flopwise compare-allocators RUN`: every allocator at the same budgets, on stored samples, as tables and a figure.

It knows rows that were replayed, nothing of how an allocator works. Invariant: a difference is paired over the same problems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actors.errors import UserError, counted
from orchestration.commands.arguments import options_of, place_and_settings, terminal
from orchestration.commands.helptext import help_of
from orchestration.commands.planning_words import check_amounts, check_least, in_folder, write_page, written
from orchestration.setup.compose import compose
from orchestration.setup.settings import PATH, check_figures

if TYPE_CHECKING:
    from orchestration.planning.comparison import AtBudget
    from orchestration.planning.replay import Replayed
    from orchestration.report.plan_figures import Curve
    from orchestration.report.tables import Cells

HEAD = (
    "allocator",
    "accuracy",
    "interval",
    "difficulty free",
    "samples",
    "spent",
    "nothing",
    "less the price's",
    "interval of it",
    "",
)

FREE = " for free"
"""How the line-up names what is told its difficulty without paying for it."""

NOTES = (
    "Spent: the share of the budget. Nothing: the share of problems that got no sample, which count as wrong. Difficulty "
    "free: the same allocator, where nobody charges what tells its bins. Less the price's: accuracy less that of one price "
    "for all, paired over problems, in points.",
    "O1 knows each problem's curve and fixes beforehand what each gets (chosen and judged on different samples, and on the "
    "same); O2 sees at once whether a sample is right; O3 knows every outcome. By oracle bins: the best strategy of each "
    "fifth by pass@1.",
)


@dataclass
class _Settings:
    known: str | None = field(default=None, metadata=PATH)
    budgets: list[float] = field(default_factory=list)
    strategies: list[str] = field(default_factory=list)
    orders: int = 3
    seed: int = 0
    out: str | None = field(default=None, metadata=PATH)
    figures: list[str] = field(default_factory=lambda: ["png", "svg"])


def run(words: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    options, rest = options_of(words, ("--help",))
    if "--help" in options:
        print(help_of("compare_allocators"))
        return 0
    folder, given = place_and_settings(
        rest, "name one run, as in: flopwise compare-allocators runs/calibrate"
    )
    settings = compose("compare_allocators", given, _Settings)
    check_amounts("budgets", settings.budgets)
    check_least("orders", settings.orders, 1)
    check_figures("figures", settings.figures)
    from orchestration.commands.steps import Steps
    from orchestration.planning.comparison import compare, usual_budgets
    from orchestration.planning.line_up import PROBE as LEAST_SAMPLES
    from orchestration.planning.sources import read_source
    from orchestration.report.plan_figures import draw_curves
    from orchestration.report.tables import rich_table, scientific
    from orchestration.runs.run import Run

    console = terminal()
    judged = Run(folder)
    with Steps(console) as steps:
        steps.tell("reading the run", 0, 1)
        source = read_source(judged, settings.strategies)
        if source.size < LEAST_SAMPLES:
            mend = f"it has {counted(source.size, 'sample')} of each problem, and some allocators begin with {LEAST_SAMPLES}"
            raise UserError.of("run", str(judged.folder), f"{mend}: draw more of them")
        known = None
        if settings.known is not None:
            texts = [source.samples.text, *source.searches]
            known = read_source(Run(settings.known), texts).pools
        found = compare(
            source.pools,
            source.offer,
            settings.budgets or usual_budgets(source.pools, source.offer),
            known=known,
            orders=settings.orders,
            seed=settings.seed,
            tell=steps.tell,
        )
    tables = [
        (f"{scientific(one.each)} FLOPs a problem, {len(source.pools):,} problems", cells_of(one))
        for one in found
    ]
    for title, cells in tables:
        console.print(rich_table(HEAD, cells, title))
    for line in NOTES:
        console.print(line, highlight=False)
    out = in_folder(settings.out, judged.folder / "allocators")
    with written(out):
        figures = draw_curves(
            curves_of_all(found), out, "allocators", settings.figures, problems=len(source.pools)
        )
        title = f"Allocators on {judged.folder.name}"
        paths = write_page(out / "allocators.md", title, HEAD, tables, NOTES, figures)
    for path in paths:
        console.print(str(path), highlight=False, soft_wrap=True)
    return 0


def cells_of(one: AtBudget) -> Cells:
    """A row an allocator, then the oracles."""
    from orchestration.report.tables import between, interval, percent

    free = {row.name.removesuffix(FREE): row for row in one.rows if row.name.endswith(FREE)}
    cells = [_row(row, one, free.get(row.name)) for row in one.rows if not row.name.endswith(FREE)]
    bounds = one.bounds
    bins, none = bounds.by_oracle_bins, ["-"] * 6
    cells.append(["~ by oracle bins", "-", interval(bins), percent(bins.mean), *none])
    cells.append(["~ O1, static", "-", between(bounds.static.low, bounds.static.high), "-", *none])
    cells.append(["~ O2, stops at success", percent(bounds.at_success), "-", "-", *none])
    cells.append(["~ O3, clairvoyant", percent(bounds.clairvoyant), "-", "-", *none])
    return cells


def _row(row: Replayed, one: AtBudget, free: Replayed | None) -> list[str]:
    from orchestration.report.tables import interval, percent, points

    less = row.better_than(one.best)
    itself = row is one.best
    return [
        row.name,
        percent(row.accuracy.mean),
        interval(row.accuracy),
        "-" if free is None else percent(free.accuracy.mean),
        f"{row.samples.mean():.1f}",
        percent(row.used),
        percent(row.unpaid),
        "-" if itself else points(less.mean),
        "-" if itself else f"{points(less.low)} to {points(less.high)}",
        "" if itself or not less.excludes_zero() else "better" if less.mean > 0 else "worse",
    ]


def curves_of_all(found: Sequence[AtBudget]) -> list[Curve]:
    """Accuracy over what each really spent, and the bounds over what there was."""
    from orchestration.analysis.statistics import Estimate
    from orchestration.report.plan_figures import Curve

    curves = []
    for place, row in enumerate(found[0].rows):
        mine = [one.rows[place] for one in found]
        curves.append(Curve(row.name, [(float(at.flops.mean()), at.accuracy) for at in mine]))
    bounds: list[tuple[str, Callable[[AtBudget], float]]] = [
        ("O1, static (at least)", lambda one: one.bounds.static.low),
        ("O2, stops at success", lambda one: one.bounds.at_success),
        ("O3, clairvoyant", lambda one: one.bounds.clairvoyant),
    ]
    for name, told in bounds:
        points = [(one.each, Estimate(told(one), told(one), told(one), 0)) for one in found]
        curves.append(Curve(name, points, plain=True))
    return curves
