"""Writes the report of a run into its folder: Markdown, tables, figures.

It knows nothing of how runs are made. Invariant: it reads the run's tables only, so a report can be made
again at any time.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from actors.errors import UserError, counted
from actors.store.log import read_books
from actors.strategy import ROLES
from orchestration.analysis.collect import Collected
from orchestration.analysis.measure import Measures, measure
from orchestration.analysis.rows import Intervals
from orchestration.report.beside import collect_runs, others_beside
from orchestration.report.chain_figures import chain_figures
from orchestration.report.chain_tables import (
    ABOUT,
    RATIOS,
    TITLE,
    chain_cells,
    chain_lines,
    chains_table,
    ratio_cells,
    unlike,
)
from orchestration.report.figures import draw_figures
from orchestration.report.tables import (
    LEFT_OUT,
    arrow_table,
    baseline_cells,
    difference_cells,
    differences_table,
    expendable,
    fitted,
    group_cells,
    group_columns,
    groups_table,
    in_a_line,
    left_out_cells,
    main_cells,
    markdown_table,
    no_room,
    rich_table,
    scientific,
    spread_line,
    verifier_lines,
    write_table,
)
from orchestration.runs.folder import write_atomically
from orchestration.runs.quarantine import ROWS_FILE, LeftOut, left_out
from orchestration.runs.run import NO_OUTCOME, Run
from orchestration.runs.stored import Stored
from orchestration.setup.settings import ReportSettings

if TYPE_CHECKING:
    from rich.console import Console

FAILURES_FILE = "failures.log"

GROUPED = (
    "Accuracy of each strategy's largest budget on the problems whose metadata has this value, with their number: those that "
    "have an answer, and of how many that it was asked where it lacks some."
)

TRACE_LINES = 200
"""Lines of tracebacks that a report shows."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured, one line on what the run spent, the files that say so, and what the run left out."""

    measures: Measures
    totals: list[str]
    paths: list[Path]
    level: float
    left_out: list[LeftOut]

    def show(self, console: Console) -> None:
        """Print the tables."""
        measures = self.measures
        seeds = f", {len(measures.seeds)} seeds" if len(measures.seeds) > 1 else ""
        title = f"{counted(measures.problems, 'problem')}{seeds}, {self.level:.0%} intervals, costs a problem"
        whole, rows = main_cells(measures)
        head, cells = fitted(whole, rows, console.width, expendable(measures))
        console.print(rich_table(head, cells, title))
        if gone := no_room(whole, head, console.width):
            console.print(gone, highlight=False, soft_wrap=True)
        if measures.baselines:
            console.print(rich_table(*baseline_cells(measures)))
        if measures.differences:
            console.print(rich_table(*difference_cells(measures), "Paired differences"))
        for column in group_columns(measures):
            console.print(rich_table(*group_cells(measures, column), f"By {column}"))
        if measures.chains:
            console.print(rich_table(*chain_cells(unlike(measures.chains)), TITLE))
        if self.left_out:
            console.print(rich_table(LEFT_OUT, left_out_cells(self.left_out), "Left out"))
        chains = chain_lines(unlike(measures.chains))
        for line in [*verifier_lines(measures), *chains, *measures.notes, *self.totals]:
            console.print(line, highlight=False)


def make_report(run: Run, settings: ReportSettings, out: Path | None = None) -> Report:
    """Measure a run and write its report into `out`, None: `report/` inside its folder. Raises UserError where the run holds
    no outcome, and where nothing may be written there."""
    outcomes = run.stored("outcomes")
    own = collect_runs([run], settings.by)
    if not len(own.newest):
        raise UserError.of("run", str(run.folder), NO_OUTCOME)
    others = others_beside(run, settings.beside)
    shown = collect_runs([*others, run], settings.by) if others else own
    intervals = Intervals(settings.level)
    policy = run.info.get("models", {}).get("policy", {}).get("cost", {})
    price = 2.0 * policy["parameters"] if policy else float("nan")
    measures = measure(shown, intervals, settings.pairs, price)
    totals = _totals(run, own, outcomes)
    folder = run.folder / "report" if out is None else out
    text = folder / "report.md"
    gone = left_out(run.folder, outcomes.batches(["problem_id", "state", "reason"]), own.newest)
    try:
        folder.mkdir(parents=out is not None, exist_ok=True)
        further = chain_figures(measures)
        figures = draw_figures(measures, folder, settings.figures, settings.level, further)
        tables = write_table(arrow_table(measures), folder / "table")
        tables += write_table(differences_table(measures), folder / "differences")
        for old in (*folder.glob("groups.*"), *folder.glob("chains.*")):
            old.unlink()  # Of an earlier report, perhaps by other columns.
        if measures.chains:
            tables += write_table(chains_table(measures.chains, measures.difficulty_axis), folder / "chains")
        tables += write_table(groups_table(measures), folder / "groups") if measures.groups else []
        write_atomically(text, _markdown(run, measures, totals, figures, settings.level, gone))
    except OSError as error:
        mend = f"{error.strerror or error}: choose a folder for the report that you may write, out=..."
        raise UserError.of(
            "run" if out is None else "out", str(run.folder if out is None else out), mend
        ) from None
    return Report(measures, totals, [text, *figures, *tables], settings.level, gone)


def _totals(run: Run, collected: Collected, outcomes: Stored) -> list[str]:
    """How the run's outcomes ended, and what it took: all that was paid, also for outcomes that were made again."""
    ended = ", ".join(f"{count:,} {state}" for state, count in sorted(collected.states.items()))
    names = ("spent_flops", "spent_flops_exact", "policy_tokens", "reviser_tokens", "verifier_tokens")
    # Python's integers: a long run has more FLOPs than 64 bits hold.
    total = dict.fromkeys(names, 0)
    for batch in outcomes.batches(names):
        for name in names:
            total[name] += sum(int(value or 0) for value in batch[name].to_pylist())
    drawn = total["policy_tokens"] + total["reviser_tokens"]
    # Every token costs something: 0 was not known.
    exact = float(total["spent_flops_exact"]) if total["spent_flops_exact"] or not drawn else math.nan
    spent, wasted = read_books(run.folder)
    unit = run.info.get("settings", {}).get("budget.unit", "paper")
    again = int((~collected.newest).sum())
    lines = [
        f"{counted(sum(collected.states.values()), 'outcome')}: {ended}.",
        _charged(spent, wasted, unit),
        f"On outcomes, with samples shared between strategies: {scientific(float(total['spent_flops']))} FLOPs "
        f"({scientific(exact)} exact), {counted(drawn, 'token')} drawn, "
        f"{total['verifier_tokens']:,} scored"
        + (f", also for outcomes that were made again ({again:,})." if again else "."),
    ]
    for role in ROLES:
        reckoned = sum(one.get(f"{role}_flops_by_engine", 0) for one in run.info.get("sessions", ()))
        if reckoned:
            lines.append(
                f"By the engine's own reckoning the {role} computed {scientific(float(reckoned))} FLOPs."
            )
    if collected.short:
        none = collected.states.get("unaffordable", 0)
        lines.append(
            f"The budget cut {counted(collected.short, 'outcome')} short, {none:,} of them before their first candidate. "
            + why_budget_ended(run, spent + wasted)
            + "With a larger budget the same command goes on with them."
        )
    return lines


def why_budget_ended(run: Run, charged: int) -> str:
    """Why the budget paid nothing more, though some of it is left, and how it pays more; "" where the run does not say what a
    candidate needs."""
    budget, need = run.info.get("budget_flops"), run.info.get("candidate_flops")
    if not budget or not need or charged >= budget:
        return ""
    left = budget - charged
    line = f"{charged / budget:.0%} of it is spent: what starts has to be paid at its worst"
    if left < need:
        scored = ", scored," if run.info["identity"].get("verifier") else ""
        most = counted(run.info["identity"]["max_tokens"], "token")
        line += (
            f", and a candidate of policy.max_tokens = {most}{scored} may take {scientific(float(need))} FLOPs, of "
            f"{scientific(float(left))} left"
        )
    return f"{line}. A lower policy.max_tokens, in another folder, leaves less over. "


def _charged(spent: int, wasted: int, unit: str) -> str:
    """All that the budget was charged, as `flopwise status` counts it, and what of it was paid for nothing."""
    line = f"Spent: {scientific(float(spent + wasted))} FLOPs ({unit}), "
    if not wasted:
        return line + "none of them wasted on what failed or was lost."
    return line + (
        f"{scientific(float(wasted))} of them wasted on what failed or was lost ({wasted / (spent + wasted):.2%})."
    )


def _about_seeds(measures: Measures) -> list[str]:
    """How several run seeds stand in the numbers."""
    if len(measures.seeds) == 1:
        return []
    return [
        f"Run seeds {', '.join(map(str, measures.seeds))}: an accuracy is the mean over problems of the mean over their "
        "seeds. Intervals are over problems, each with all its seeds: they cover other problems and other draws. By seed: "
        "the smallest and the largest accuracy of one seed, which differ by the draws alone"
        + (
            ", and by less where an accuracy is told from subsets."
            if any(row.samples for row in measures.rows)
            else "."
        )
    ]


def _markdown(
    run: Run, measures: Measures, totals: list[str], figures: list[Path], level: float, gone: list[LeftOut]
) -> str:
    parts = [
        f"# {run.folder.name}",
        f"{counted(measures.problems, 'problem')}, {measures.labelled:,} of them with an answer. Intervals ({level:.0%}) are "
        "over problems: Wilson's, and Bonett and Price's for differences. Costs are a problem's, as if each strategy had "
        "run alone; FLOPs are 2 x parameters a token, exact FLOPs are prefill, decode and attention. Dropped: the share of "
        "tokens that stand in no kept candidate. Cut off: the share of candidates that met the token limit. "
        "No answer: the share of ended candidates in which none could be read.",
        *_about_seeds(measures),
        markdown_table(*main_cells(measures)),
        *measures.notes,
    ]
    if measures.baselines:
        parts += ["## The same samples, chosen otherwise", markdown_table(*baseline_cells(measures))]
    if measures.differences:
        parts += [
            "## Paired differences",
            "Accuracy of the first less that of the second over the problems that both have"
            + (" and seeds" if len(measures.seeds) > 1 else "")
            + ", in points.",
            markdown_table(*difference_cells(measures)),
        ]
    for column in group_columns(measures):
        parts += [f"## By {in_a_line(column)}", GROUPED, markdown_table(*group_cells(measures, column))]
    if measures.chains:
        chains = unlike(measures.chains)
        parts += [f"## {TITLE}", ABOUT, markdown_table(*chain_cells(chains)), *chain_lines(chains)]
    for one in measures.ratios:
        parts += [f"## {RATIOS} at N = {one.n:,}, {one.setting}", _about_ratios(measures)]
        parts += [markdown_table(*ratio_cells(one))]
    if measures.verifier:
        parts += ["## Verifier", *verifier_lines(measures)]
    if measures.spread:
        parts += ["## Difficulty", spread_line(measures.spread)]
    shown = [path for path in figures if path.suffix == ".png"] or figures
    if shown:
        parts += ["## Figures", *(f"![{path.stem.replace('_', ' ')}]({path.name})" for path in shown)]
    if gone:
        parts += [
            "## Left out",
            f"Rows of the data that were skipped stand in `{ROWS_FILE}`. A quarantined outcome has no answer, and counts "
            f"in no number; `flopwise show {run.folder} PROBLEM` says of each outcome of a problem how it ended.",
            markdown_table(LEFT_OUT, left_out_cells(gone)),
        ]
    # What has been made again since is no failure of this run.
    failed = any(one.what == "outcome" for one in gone)
    parts += [*(_failures(run.folder) if failed else []), "## The run", *totals]
    return "\n\n".join(parts) + "\n"


def _about_ratios(measures: Measures) -> str:
    by = f" Columns of numbers: {measures.difficulty_axis}." if measures.difficulty_axis else ""
    return f"Accuracy of chains of one budget by their length and number, with intervals.{by}"


def _failures(folder: Path) -> list[str]:
    """The tracebacks of strategies that failed, as far as so many lines are shown."""
    file = folder / FAILURES_FILE
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", errors="replace") as log:
        lines = list(itertools.islice(log, TRACE_LINES))
        rest = bool(log.read(1))
    # Indented: whatever a traceback holds, it is no Markdown.
    text = "".join(f"    {line}" for line in lines).rstrip()
    more = f" The first {len(lines):,} lines: the file has more." if rest else ""
    return [
        "## Failures",
        f"From `{FAILURES_FILE}` in the run folder: what strategies failed of.{more}",
        text,
    ]
