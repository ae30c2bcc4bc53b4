"""`flopwise evaluate`: prepare, say what is done already, run with a live view, report.

A thin driver: it knows settings, evaluation and report, and makes none of them. Invariant: with --dry-run
nothing is written.
"""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestration.commands.compose import compose
from orchestration.commands.helptext import help_of
from orchestration.commands.main import options_of
from orchestration.settings import EvaluateSettings

if TYPE_CHECKING:
    from rich.console import Console

    from actors.work import Progress
    from orchestration.commands.live import Display
    from orchestration.evaluation import Session
    from orchestration.prepare import Prepared


def run(words: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    options, settings_words = options_of(words, ("--help", "--dry-run"))
    if "--help" in options:
        print(help_of("evaluate"))
        print(_strategies_help())
        return 0
    settings = compose("evaluate", settings_words, EvaluateSettings)
    from rich.console import Console

    from orchestration.prepare import prepare

    console = Console()
    prepared = prepare(settings)
    if "--dry-run" in options:
        from orchestration.commands.dry_run import show_plan

        show_plan(prepared, console)
        return 0
    _evaluate(prepared, console)
    return 0


def _evaluate(prepared: Prepared, console: Console) -> None:
    from orchestration.evaluation import evaluate
    from orchestration.report.write import make_report

    display: Display | None = None
    folder = Path(prepared.settings.folder)

    def on_start(session: Session) -> None:
        nonlocal display
        _announce(prepared, session, console)
        if session.outcomes_left:
            from orchestration.commands.live import Display

            display = Display(
                console,
                problems=session.problems,
                outcomes=session.outcomes,
                outcomes_done=session.outcomes_done,
                passes=session.passes,
            )
            display.__enter__()

    def on_progress(progress: Progress) -> None:
        assert display is not None
        display.update(progress)

    try:
        run = evaluate(prepared, on_start, on_progress)
    finally:
        if display is not None:
            display.__exit__(None, None, None)
    report = make_report(run, prepared.settings.report)
    report.show(console)
    figures = [path for path in report.paths if path.suffix in (".png", ".svg", ".pdf")]
    shown = [path for path in figures if path.suffix == ".png"] or figures
    console.print()
    for name, paths in (("report", report.paths[:1]), ("figures", shown), ("run folder", [folder])):
        for place, path in enumerate(paths):
            console.print(f"{name if place == 0 else '':12}{path}", highlight=False, soft_wrap=True)


def _strategies_help() -> str:
    """Every strategy that has a short name: its parameters with their defaults, and what its module says
    first.
    """
    from orchestration.strategies.registry import STRATEGIES

    lines = ["", "Strategies, their parameters with defaults:"]
    for name, kind in STRATEGIES.items():
        parameters = [
            str(one).split(":")[0] if one.default is one.empty else f"{one.name}={one.default}"
            for one in inspect.signature(kind).parameters.values()
        ]
        about = (inspect.getdoc(inspect.getmodule(kind)) or "").split("\n\n")[0]
        lines += textwrap.wrap(
            f"{name}({', '.join(parameters)})", 110, initial_indent="  ", subsequent_indent="    "
        )
        lines += textwrap.wrap(about, 104, initial_indent="      ", subsequent_indent="      ")
    lines.append("  my.module.Class(n=4)")
    lines.append("      one of your own, which the workers must be able to import too")
    return "\n".join(lines)


def _announce(prepared: Prepared, session: Session, console: Console) -> None:
    """Say what is done and what is to do."""
    folder = prepared.settings.folder

    def say(text: str, **style: Any) -> None:
        console.print(text, highlight=False, soft_wrap=True, **style)

    if not session.outcomes_left:
        say(f"{folder}: all {session.problems:,} problems are done; making the report again.")
    elif session.outcomes_done:
        say(
            f"resuming: {session.problems_done:,} of {session.problems:,} problems done, "
            f"{session.outcomes_done:,} of {session.outcomes:,} outcomes ({folder})"
        )
    else:
        seeds = f", {len(session.passes)} seeds" if len(session.passes) > 1 else ""
        say(f"{prepared.described(session.problems)}; {len(prepared.strategies)} strategies{seeds}")
    if session.gone:
        say(
            f"not in the data any more: {session.gone:,} of the folder's problems; what it holds of them stays in the "
            "report",
            style="yellow",
        )
    for row in session.skipped[:5]:
        say(f"row {row.row} of {prepared.settings.dataset.path} is no problem: {row.reason}", style="yellow")
    if len(session.skipped) > 5:
        say(f"and {len(session.skipped) - 5:,} more rows that are no problems", style="yellow")


def known_record(folder: Path) -> dict[str, Any] | None:
    """The folder's run.json, None where there is none."""
    file = folder / "run.json"
    record: dict[str, Any] | None = json.loads(file.read_text()) if file.is_file() else None
    return record
