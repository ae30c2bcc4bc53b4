"""What a start of a run says before its first progress: what is done, what is to do, which rows were skipped.

It knows a session's counts and makes none. Invariant: whatever was left out or charged is named before anything new is spent.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.errors import counted

if TYPE_CHECKING:
    from rich.console import Console

    from orchestration.runs.session import Session
    from orchestration.setup.prepare import Prepared


RETRY = "retry=quarantined tries them again"
"""What there is to do about quarantined outcomes."""


def announce(prepared: Prepared, session: Session, console: Console, then: str) -> None:
    """Say what is done and what is to do; `then` is what follows where all is done."""
    from orchestration.report.tables import scientific

    folder = prepared.settings.folder

    def say(text: str, **style: Any) -> None:
        console.print(text, highlight=False, soft_wrap=True, markup=False, **style)

    if session.anew:
        say(f"{folder}: begun anew, for it was begun with another set-up and had no outcome", style="yellow")
    if not session.outcomes_left and session.quarantined:
        are = "is" if session.problems == 1 else "are"
        outcomes = "an outcome" if session.quarantined == 1 else f"{session.quarantined:,} outcomes"
        say(
            f"{folder}: {counted(session.problems, 'problem')} {are} done, but for {outcomes} that failed or could not be "
            f"tried (quarantined): {RETRY}; {then}."
        )
    elif not session.outcomes_left:
        all_of_them = (
            f"all {session.problems:,} problems are" if session.problems > 1 else "its one problem is"
        )
        say(f"{folder}: {all_of_them} done; {then}.")
    elif session.outcomes_done:
        say(
            f"resuming: {session.problems_done:,} of {counted(session.problems, 'problem')} done, "
            f"{session.outcomes_done:,} of {counted(session.outcomes, 'outcome')} ({folder})"
        )
    else:
        seeds = f", {len(session.passes)} seeds" if len(session.passes) > 1 else ""
        count = len(prepared.strategies)
        say(
            f"{prepared.described(session.problems)}; {count} {'strategy' if count == 1 else 'strategies'}{seeds}"
        )
    if session.retried:
        say(f"trying {counted(session.retried, 'quarantined outcome')} again")
    elif session.quarantined and session.outcomes_left:
        say(
            f"quarantined by an earlier start: {counted(session.quarantined, 'outcome')}; {RETRY}",
            style="yellow",
        )
    if session.lost.tasks:
        what = f"{session.lost.tasks:,} tasks that were" if session.lost.tasks > 1 else "a task that was"
        say(
            f"charged: {scientific(float(session.lost.flops))} FLOPs for {what} in hand, and lost, when the last start was "
            "cut off",
            style="yellow",
        )
    if session.gone:
        say(
            f"not among the problems asked for: {session.gone:,} of the folder's; what it holds of them stays in the "
            "report",
            style="yellow",
        )
    if note := session.prompts.note():
        say(note, style="yellow")
    for line in (*prepared.notes, *data_lines(prepared, session)):
        say(line, style="yellow")


def data_lines(prepared: Prepared, session: Session) -> list[str]:
    """The first rows of the data that were skipped, each with its reason, how many more there are, and what else a user
    should know of the data."""
    from orchestration.runs.quarantine import ROWS_FILE

    path, rows = prepared.settings.dataset.path, session.skipped
    lines = [f"row {row.row} of {path} was skipped: {row.text}" for row in rows[:5]]
    if len(rows) > 5:
        file = Path(prepared.settings.folder) / ROWS_FILE
        were = "was" if len(rows) == 6 else "were"
        lines.append(f"and {counted(len(rows) - 5, 'more row')} {were} skipped; a run lists them in {file}")
    return lines + session.notes
