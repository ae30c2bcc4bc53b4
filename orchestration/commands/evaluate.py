"""`flopwise evaluate`: prepare, say what is done already, run with a live view, report.

A thin driver: it knows settings, evaluation and report, and makes none of them. Invariant: with --dry-run
nothing is written.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from actors.errors import UserError, counted
from actors.store.failures import FAILURES_FILE
from orchestration.commands.announce import RETRY, announce
from orchestration.commands.arguments import complain, options_of, shell, terminal
from orchestration.commands.helptext import help_of
from orchestration.setup.compose import compose
from orchestration.setup.settings import EvaluateSettings

if TYPE_CHECKING:
    from rich.console import Console

    from actors.work import Progress
    from orchestration.commands.live import Display
    from orchestration.report.write import Report
    from orchestration.runs.gauge import Totals
    from orchestration.runs.run import Run
    from orchestration.runs.session import Session
    from orchestration.setup.prepare import Prepared


QUARANTINED = 3
"""The exit code of a run that came to its end and has outcomes that did not."""

TRACE_LINES = 200
"""Lines of tracebacks that one start shows; the run folder has them all."""


def run(words: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    options, settings_words = options_of(words, ("--help", "--dry-run"))
    if "--help" in options:
        print(help_of("evaluate", settings_words))
        print(_strategies_help())
        return 0
    settings = compose("evaluate", settings_words, EvaluateSettings)
    from orchestration.setup.by_price import by_price
    from orchestration.setup.prepare import prepare

    console = terminal()
    settings, said = by_price(settings, settings_words)
    try:
        prepared = prepare(settings)
    except KeyboardInterrupt:
        return not_begun(shell(["evaluate", *words]))
    if said:
        console.print(said, highlight=False, soft_wrap=True, markup=False)
    if "--dry-run" in options:
        from orchestration.commands.dry_run import show_plan

        show_plan(prepared, console)
        return 0
    return _evaluate(prepared, shell(["evaluate", *words]), console)


def _evaluate(prepared: Prepared, command: str, console: Console) -> int:
    """Run, report and return the exit code."""
    view = View(prepared, console)
    run = carry_out(view, command)
    if isinstance(run, int):
        return run
    _report(run, prepared, console, view.quarantined)
    return QUARANTINED if view.quarantined else 0


def carry_out(view: View, command: str) -> Run | int:
    """Run what is shown in a view; return the run, or the exit code of one that was under way and did not end, and says how
    it goes on."""
    from orchestration.runs.evaluation import evaluate

    try:
        with view:
            run = evaluate(view.prepared, view.start, view.update, command)
    except (KeyboardInterrupt, Exception) as error:
        if view.totals is None or view.latest is None:
            if isinstance(error, KeyboardInterrupt):
                return not_begun(command)
            raise
        return _ended_early(error, view.prepared.settings, view.totals, view.latest, command)
    return run


class View(ExitStack):
    """What is shown of a run while it is in use: what there is to do, then its progress. `then` is what follows."""

    def __init__(self, prepared: Prepared, console: Console, then: str = "making the report again") -> None:
        super().__init__()
        self.prepared, self._console, self._then = prepared, console, then
        self._display: Display | None = None
        self._traces = _Traces(Path(prepared.settings.folder) / FAILURES_FILE)
        self.totals: Totals | None = None
        self.latest: Progress | None = None
        self._left = 0

    @property
    def quarantined(self) -> int:
        """Outcomes that were asked for and are quarantined, by this start or an earlier one."""
        return self._left + (0 if self.latest is None else self.latest.quarantined)

    def start(self, session: Session) -> None:
        announce(self.prepared, session, self._console, self._then)
        self.totals, self._left = session.totals, session.quarantined - session.retried
        if session.outcomes_left:
            from orchestration.commands.live import Display

            self._display = self.enter_context(Display(self._console, self.totals))

    def update(self, progress: Progress) -> None:
        assert self._display is not None
        fresh = self.latest is None or progress.quarantined > self.latest.quarantined
        self.latest = progress
        self._display.update(progress)
        # What is counted as quarantined has been written down before.
        if fresh and (text := self._traces.read()):
            self._console.print(text, style="red", highlight=False, soft_wrap=True, markup=False)


class _Traces:
    """The tracebacks that a run has written down since this was made."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = file.stat().st_size if file.exists() else 0
        self._lines = 0

    def read(self) -> str:
        """What is new, as far as so many lines are shown."""
        if self._lines >= TRACE_LINES or not self._file.exists():
            return ""
        with self._file.open("rb") as log:
            log.seek(self._read)
            new = log.read()
        # A line may be under way.
        new = new[: new.rfind(b"\n") + 1]
        self._read += len(new)
        lines = new.decode(errors="replace").rstrip().splitlines()
        shown = lines[: TRACE_LINES - self._lines]
        self._lines += len(shown)
        if self._lines >= TRACE_LINES:
            shown.append(f"... the rest stands in {self._file}")
        return "\n".join(shown)


def not_begun(command: str) -> int:
    """Say that a start was stopped before it drew anything, and how it goes on; return the exit code."""
    print("\nstopped before anything was drawn", file=sys.stderr)
    print(f"go on with: {command}", file=sys.stderr)
    return 130


def _ended_early(
    error: BaseException, settings: EvaluateSettings, totals: Totals, latest: Progress, command: str
) -> int:
    """Say what stopped a run that was under way, what of it is lost, what is done and which command goes on; return the
    exit code."""
    from actors.store.log import read_holds
    from orchestration.commands.phrases import owed
    from orchestration.runs.run import InHand
    from orchestration.runs.status import line_of

    code, how = 130, "stopped"
    if isinstance(error, UserError):
        complain(str(error))
        code, how = 2, "failed"
    elif not isinstance(error, KeyboardInterrupt):
        # That the reader of our output has gone needs no explanation.
        if not isinstance(error, BrokenPipeError):
            traceback.print_exception(error)
        complain(line_of(error))
        code, how = 1, "failed"
    problems, seed = totals.problems_now(latest.outcomes)
    lost = InHand.of(read_holds(Path(settings.folder)).values())
    done = totals.outcomes_done + latest.outcomes
    if lost.tasks:
        print(owed(lost), file=sys.stderr)
    if code == 130 and not latest.outcomes and latest.of("policy").tokens:
        print(
            f"nothing in hand ended in time: a larger cluster.grace (here {settings.cluster.grace:g} seconds), or fewer "
            "problems at once (cluster.policy.max_sequences), lets more end after the first Ctrl-C",
            file=sys.stderr,
        )
    if done:
        print(
            f"{how} with {problems:,} of {counted(totals.problems, 'problem')}{seed} and {done:,} of "
            f"{counted(totals.outcomes, 'outcome')} done, which are kept",
            file=sys.stderr,
        )
    else:
        print(f"{how} before anything had ended: there is nothing yet to be kept", file=sys.stderr)
    print(f"go on with: {command}", file=sys.stderr)
    return code


def _report(run: Run, prepared: Prepared, console: Console, quarantined: int) -> None:
    """Make the report and show it. Of the outcomes that were asked for, so many are `quarantined`."""
    from orchestration.report.write import make_report

    folder = Path(prepared.settings.folder)
    report = make_report(run, prepared.settings.report)
    report.show(console)
    _tell_left_out(report, folder, console, quarantined)
    figures = [path for path in report.paths if path.suffix in (".png", ".svg", ".pdf")]
    shown = [path for path in figures if path.suffix == ".png"] or figures
    console.print()
    for name, paths in (("report", report.paths[:1]), ("figures", shown), ("run folder", [folder])):
        for place, path in enumerate(paths):
            console.print(f"{name if place == 0 else '':12}{path}", highlight=False, soft_wrap=True)


def _tell_left_out(report: Report, folder: Path, console: Console, quarantined: int) -> None:
    """Say again, where it is the last that is read, what the run left out, and where to read of it."""
    from orchestration.runs.quarantine import ROWS_FILE

    log = folder / FAILURES_FILE
    traced = f" and {log} (tracebacks)" if log.exists() else ""
    rows, outcomes = (
        sum(one.count for one in report.left_out if one.what == what) for what in ("row", "outcome")
    )
    page = folder / "report" / "report.md"
    lines = [
        (rows, f"of the data's rows: see {folder / ROWS_FILE}"),
        (quarantined, f"of the outcomes, which have no number: see {page}{traced}; {RETRY}"),
        (outcomes - quarantined, f"of the folder's outcomes that were not asked for now: see {page}{traced}"),
    ]
    for count, line in lines:
        if count > 0:
            console.print(f"quarantined {count:,} {line}", style="yellow", highlight=False, soft_wrap=True)


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
    lines.append(
        "      one of your own; a package that is not installed on every machine is named in cluster.packages"
    )
    return "\n".join(lines)
