"""`flopwise compare-allocators RUN`: every allocator at the same budgets, on stored samples, as tables and a figure.

It knows what was replayed, nothing of how an allocator works. Invariant: a difference is paired over the same problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from actors.errors import UserError, counted
from orchestration.commands.arguments import terminal
from orchestration.commands.planning_words import (
    asked_of,
    check_amounts,
    check_least,
    in_folder,
    write_page,
    written,
)
from orchestration.setup.compose import compose
from orchestration.setup.settings import PATH, check_figures

if TYPE_CHECKING:
    from orchestration.planning.comparison import Contest
    from orchestration.planning.sources import Source
    from orchestration.planning.verdict import Verdict
    from orchestration.report.plan_figures import Curve
    from orchestration.report.tables import Cells
    from orchestration.runs.run import Run

LEAST_SAMPLES = 4

NOTES = (
    "All are judged on the first half of each problem's samples; the second half tells difficulty where it is free, and what "
    "O1 knows. A budget of N is what N samples with their scores take on average. Intervals (95%) are over problems, and "
    "differences are paired over them.",
    "Best single strategy: the one, or mix of two, that was best on other problems for all alike at that budget. "
    "Compute-optimal: the same for each bin of difficulty. Predicted bins are told by the verifier's mean value of some "
    "samples, which are charged (how many, other problems say); for free, by that of the second half. "
    "Oracle bins are told by the share of the second half that is right.",
    "Spent: the share of the budget. Nothing: the share of problems that got no sample, which count as wrong. Differences "
    "are in points.",
    "O1 knows each problem's curve and fixes beforehand what each gets (chosen and judged on different samples, and on the "
    "same); O2 sees at once whether a sample is right; O3 knows every outcome.",
    "Saved: how many times the FLOPs the other takes to be as accurate, read off its curve; problems are drawn again 1,000 "
    "times. Gap closed: of the difference in accuracy between compute-optimal with predicted bins, charged, and O1 (the "
    "lower figure).",
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
    asked = asked_of(words, "compare_allocators")
    if asked is None:
        return 0
    folder, given = asked
    settings = compose("compare_allocators", given, _Settings)
    check_amounts("budgets", settings.budgets)
    check_least("orders", settings.orders, 1)
    check_figures("figures", settings.figures)
    from orchestration.commands.allocator_tables import lines
    from orchestration.commands.steps import Steps
    from orchestration.planning.prompt_values import stored_values
    from orchestration.planning.sources import read_known, read_source
    from orchestration.planning.verdict import verdict
    from orchestration.report.tables import rich_table
    from orchestration.runs.run import Run

    console = terminal()
    judged = Run(folder)
    with Steps(console) as steps:
        steps.tell("reading the run", 0, 1)
        source = read_source(judged, settings.strategies, prompts=stored_values(judged))
        if source.size < LEAST_SAMPLES:
            mend = f"it has {counted(source.size, 'sample')} of each problem, and halves of them are told apart: draw more"
            raise UserError.of("run", str(judged.folder), f"{mend} ({LEAST_SAMPLES} at least)")
        known = None
        if settings.known is not None:
            steps.tell("reading what is known", 0, 1)
            other = Run(settings.known)
            known = read_known(other, judged, source, prompts=stored_values(other))
        contest = contest_of(source, known, settings)
        usual = contest.budgets()
        budgets = settings.budgets or usual
        at = None if settings.budgets else budgets[1::2]
        found = verdict(
            contest, contest.hold(budgets, at, steps.tell), labels_of(contest, settings.budgets, usual)
        )
    tables = tables_of(found, len(source.pools))
    for title, head, cells in tables:
        console.print(rich_table(head, cells, title))
    notes = [*lines(found), *NOTES]
    for line in notes:
        console.print(line, highlight=False)
    out = in_folder(settings.out, judged.folder / "allocators")
    for path in write_all(found, tables, notes, judged, out, settings.figures):
        console.print(str(path), highlight=False, soft_wrap=True)
    return 0


def contest_of(source: Source, known: Source | None, settings: _Settings) -> Contest:
    """As many samples are on offer as one half of the judged ones has, and those known; the values of prompts where all have
    theirs."""
    from orchestration.planning.comparison import Contest

    most = source.size // 2
    if known is None:
        offer = source.offer_of(most, source.searches, judged=source.judged)
        return Contest(source.pools, offer, None, settings.orders, settings.seed)
    judged = source.judged and known.judged
    offer = source.offer_of(min(most, known.size), known.searches, judged=judged)
    return Contest(source.pools, offer, known.pools, settings.orders, settings.seed)


def labels_of(contest: Contest, given: Sequence[float], usual: Sequence[float]) -> list[str]:
    """What budgets are called: by FLOPs, and the usual ones by the samples that they pay."""
    from orchestration.report.tables import scientific

    if given:
        return [scientific(each) for each in given]
    return [f"N = {n}: {scientific(each)}" for n, each in zip(contest.offer.samples, usual, strict=True)]


def tables_of(found: Verdict, problems: int) -> list[tuple[str, Sequence[str], Cells]]:
    """Each table: its title, head and cells."""
    from orchestration.commands.allocator_tables import (
        CLOSE,
        FIXED,
        all_cells,
        close_cells,
        fixed_cells,
        saving_cells,
    )

    tables: list[tuple[str, Sequence[str], Cells]] = [
        (f"Accuracy at the same FLOPs a problem, {problems:,} problems", *all_cells(found)),
        ("FLOPs saved at equal accuracy", *saving_cells(found)),
    ]
    for label, at in zip(found.labels, found.budgets, strict=True):
        tables.append((f"{label} FLOPs a problem", CLOSE, close_cells(at)))
    return [*tables, ("One strategy for every problem, as stored", FIXED, fixed_cells(found))]


def write_all(
    found: Verdict,
    tables: Sequence[tuple[str, Sequence[str], Cells]],
    notes: Sequence[str],
    judged: Run,
    out: Path,
    figures: Sequence[str],
) -> list[Path]:
    """Page, figure and numbers."""
    from orchestration.commands.allocator_tables import allocators_table, savings_table
    from orchestration.report.plan_figures import draw_curves
    from orchestration.report.tables import write_table

    problems = found.fixed[0].accuracy.problems
    with written(out):
        drawn = draw_curves(curves_of_all(found), out, "allocators", figures, problems=problems)
        page = write_page(out / "report.md", f"Allocators on {judged.folder.name}", tables, notes, drawn)
        return [
            *page,
            *write_table(allocators_table(found), out / "allocators"),
            *write_table(savings_table(found), out / "savings"),
        ]


def curves_of_all(found: Verdict) -> list[Curve]:
    """Accuracy over what each really spent; O1 over what there was."""
    from orchestration.analysis.statistics import mean_interval
    from orchestration.planning.line_up import BEST_OF_N, ORACLE, PREDICTED, PRICE, SINGLE
    from orchestration.report.plan_figures import Curve

    plain = [(float(one.flops.mean()), one.accuracy) for one in found.fixed if one.name == BEST_OF_N]
    curves = [Curve(BEST_OF_N, plain)]
    for name in (SINGLE, PREDICTED, ORACLE, PRICE):
        rows = [at.rows[name] for at in found.budgets]
        curves.append(Curve(name, [(float(row.flops.mean()), row.accuracy) for row in rows]))
    bound = [(at.each, mean_interval(at.static.right)) for at in found.budgets]
    return [*curves, Curve("O1, static (at least)", bound, plain=True)]
