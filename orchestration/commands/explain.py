"""`flopwise explain PLAN`: what a plan says, as tables and a picture; `flopwise explain RUN PROBLEM`: what was decided for
one prompt, and at which price.

It knows plans and decisions alone. Invariant: nothing is fitted here, so what is shown is what a run will use, or has used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from actors.errors import UserError
from orchestration.commands.arguments import options_of, place_and_settings, terminal
from orchestration.commands.helptext import help_of
from orchestration.setup.compose import compose
from orchestration.setup.settings import PATH, check_figures

if TYPE_CHECKING:
    from rich.console import Console

    from orchestration.allocation.plan import Plan


_EXPLAINED = Path("runs/explained")
"""Where pages and figures of a bundled plan go, unless something else is said."""


@dataclass
class _Settings:
    out: str | None = field(default=None, metadata=PATH)
    figures: list[str] = field(default_factory=lambda: ["png", "svg"])


def run(words: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    options, rest = options_of(words, ("--help",))
    if "--help" in options:
        print(help_of("explain"))
        return 0
    places = [word for word in rest if "=" not in word]
    if len(places) == 2:
        _show_decisions(places[0], places[1], [word for word in rest if "=" in word])
        return 0
    mend = "name one plan, or a run and one of its problems, as in: flopwise explain runs/calibrate/plan.yaml"
    place, given = place_and_settings(rest, mend)
    settings = compose("explain", given, _Settings)
    check_figures("figures", settings.figures)
    from orchestration.allocation.plan import read_plan
    from orchestration.report.plan_figures import draw_plan
    from orchestration.runs.folder import write_atomically
    from orchestration.setup.model_folders import is_bundled
    from orchestration.setup.plans import plan_file

    path = plan_file(place)
    plan = read_plan(path)
    console = terminal()
    show_plan(plan, console)
    # Where flopwise itself lies nothing is written.
    usual = _EXPLAINED if is_bundled(place) else path.with_suffix("")
    folder = usual if settings.out is None else Path(settings.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figures = draw_plan(plan, folder, settings.figures)
        page = folder / "explanation.md"
        write_atomically(page, _markdown(plan, path, figures))
    except OSError as error:
        mend = f"{error.strerror or error}: choose a folder that you may write, out=..."
        raise UserError.of("out", str(folder), mend) from None
    for written in (page, *figures):
        console.print(str(written), highlight=False, soft_wrap=True)
    return 0


def _show_decisions(folder: str, problem: str, given: Sequence[str]) -> None:
    """Print every decision of one problem, strategy by strategy."""
    if given:
        raise UserError(
            f"{given[0]!r}: settings are for a plan: of a problem there is one table a strategy, and no picture"
        )
    from orchestration.planning.decided import decided
    from orchestration.report.plan_tables import DECISIONS, decision_cells
    from orchestration.report.tables import rich_table
    from orchestration.runs.run import Run

    console = terminal()
    asked = Run(folder)
    name = asked.problem_id(problem)
    for one in decided(asked, name):
        right = {True: ", right", False: ", wrong", None: ""}[one.correct]
        title = f"{name}, {one.strategy}, seed {one.seed}: {one.state}{right}"
        rows = [
            (step.stage, step.cell, step.chance, step.price, step.option, step.gain, step.flops)
            for step in one.steps
        ]
        console.print(rich_table(DECISIONS, decision_cells(rows), title))
    note = (
        "Gain: by how much the option was expected to be better than to stop, in points, its FLOPs paid at that price. It "
        "stopped where nothing was better."
    )
    console.print(note, highlight=False)


def show_plan(plan: Plan, console: Console) -> None:
    """Print what a plan says."""
    from orchestration.report.plan_tables import about
    from orchestration.report.tables import rich_table

    for line in about(plan):
        console.print(line, highlight=False)
    for title, head, cells, notes in _tables(plan):
        console.print(rich_table(head, cells, title))
        for note in notes:
            console.print(note, highlight=False)


def _tables(plan: Plan) -> list[tuple[str, Sequence[str], list[list[str]], list[str]]]:
    """Each table: its title, head and cells, and what is to be known to read it."""
    from orchestration.report.plan_tables import (
        BEST,
        CALIBRATION,
        VALUE,
        best_cells,
        calibration_cells,
        calibration_error,
        value_cells,
    )

    found: list[tuple[str, Sequence[str], list[list[str]], list[str]]] = []
    if plan.picks:
        note = (
            "Bin 1 has the easiest problems. Accuracy: each half of a bin judges what the other half chose. Behind: the "
            "runner-up's accuracy less the best one's on the whole bin, in points; within noise, either may be better."
        )
        found.append(("Best strategy by difficulty", BEST, best_cells(plan), [note]))
    note = (
        "A cell is a range of evidence for the present answer. Below its price (accuracy a FLOP) a prompt goes on, by what "
        "stands there first; above it, it stops. A run has one price for all prompts: the one at which its budget is spent."
    )
    found.append(("Value table", VALUE, value_cells(plan), [note]))
    off = f"{100 * calibration_error(plan):.1f} points"
    note = f"Told on other problems than the table was fitted to; off by {off} on average."
    found.append(("Calibration", CALIBRATION, calibration_cells(plan), [note] if plan.calibration else []))
    return found


def _markdown(plan: Plan, path: Path, figures: list[Path]) -> str:
    from orchestration.report.plan_tables import about
    from orchestration.report.tables import markdown_table

    parts = [f"# {path.name}", "\n".join(f"- {line}" for line in about(plan))]
    for title, head, cells, notes in _tables(plan):
        parts += [f"## {title}", *notes, markdown_table(head, cells)]
    shown = [one for one in figures if one.suffix == ".png"] or figures
    parts += [f"![{one.stem.replace('_', ' ')}]({one.name})" for one in shown]
    return "\n\n".join(parts) + "\n"
