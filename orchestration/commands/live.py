"""How a run stands, while it runs: rates and remaining time from what the scheduler says, on one live block
or in lines.

It knows nothing of runs on disk. Invariant: what is shown is what the gauge read; nothing is counted here.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from actors.errors import counted
from actors.strategy import ROLES, Role
from actors.work import Progress
from orchestration.analysis.doubts import ENOUGH, Doubt, doubts
from orchestration.commands.phrases import all_cut_off, clock, why_it_waits
from orchestration.report.tables import scientific
from orchestration.runs.gauge import Gauge, Reading, Totals

if TYPE_CHECKING:
    from rich.console import Console, Group

LINE = 5.0
"""Seconds between two lines where there is no terminal."""

STOPPING = "finishing what is nearly done; Ctrl-C again stops at once"


class Interrupt:
    """Notes Ctrl-C and SIGTERM, which cluster schedulers send before they kill; while it is in use, and on the main thread
    alone. Each is raised as KeyboardInterrupt.

    What is to be said of the first is said with the next progress, which comes if something is in hand: a signal handler must
    not print.
    """

    def __init__(self) -> None:
        self.met = self._said = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._meet)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def to_say(self) -> bool:
        """Whether it was met and not yet said; true once."""
        fresh = self.met and not self._said
        self._said = self._said or fresh
        return fresh

    def _meet(self, number: int, frame: FrameType | None) -> None:
        self.met = True
        raise KeyboardInterrupt


class _Doubts:
    """Says once of each doubt that a run's candidates raise it, and that none of the first samples came to an end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: set[Doubt | str] = set()

    def say(self, progress: Progress) -> None:
        self._once("first", all_cut_off(progress))
        for doubt, sentence in doubts(progress.tallies, ENOUGH).items():
            self._once(doubt, sentence)

    def _once(self, doubt: Doubt | str, sentence: str) -> None:
        if sentence and doubt not in self._said:
            self._said.add(doubt)
            self._console.print(sentence, style="yellow", highlight=False, soft_wrap=True, markup=False)


class Display:
    """Shows a run's progress until it is left: a live block on a terminal, a line every few seconds
    elsewhere.
    """

    def __init__(self, console: Console, totals: Totals) -> None:
        self._console, self._totals = console, totals
        self._gauge = Gauge(totals.outcomes_left)
        self._live: Any = None
        self._next_line = 0.0
        self._interrupt, self._doubts = Interrupt(), _Doubts(console)

    def __enter__(self) -> Display:
        self._interrupt.__enter__()
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live("starting the models ...", console=self._console, refresh_per_second=4)
            self._live.start()
        else:
            self._console.print("starting the models ...", highlight=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interrupt.__exit__()
        if self._live is not None:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        """Show the newest progress."""
        reading = self._gauge.observe(progress)
        if self._interrupt.to_say():
            self._console.print(STOPPING, highlight=False)
        self._doubts.say(progress)
        if self._live is not None:
            self._live.update(self._block(reading))
        elif progress.seconds >= self._next_line or progress.tasks_open == 0:
            self._next_line = progress.seconds + LINE
            self._console.print(self.line(reading), highlight=False, soft_wrap=True)

    def line(self, reading: Reading) -> str:
        """One line for logs, its fields always in the same order."""
        progress, totals = reading.progress, self._totals
        problems, seed = totals.problems_now(progress.outcomes)
        parts = [
            clock(progress.seconds),
            f"{problems:,}/{totals.problems:,} problems{seed}",
            f"{totals.outcomes_done + progress.outcomes:,}/{totals.outcomes:,} outcomes"
            + (f" ({progress.quarantined:,} quarantined)" if progress.quarantined else ""),
            f"{reading.drawn_a_second:,.0f} tok/s",
            self._spent(progress),
            f"busy {'/'.join(f'{reading.of(role).share:.0%}' for role in at_work(progress))}",
            self._left(reading),
        ]
        line = "  ".join(parts)
        return "  ".join([line, *why_it_waits(reading)])

    def _left(self, reading: Reading) -> str:
        if self._interrupt.met:
            return "stopping"
        return "left " + ("unknown" if reading.seconds_left is None else clock(reading.seconds_left))

    def _spent(self, progress: Progress) -> str:
        spent = f"{scientific(float(progress.spent + progress.wasted))} FLOPs"
        return spent if progress.budget is None else f"{spent} of {scientific(float(progress.budget))}"

    def _block(self, reading: Reading) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        progress = reading.progress
        totals = self._totals
        done = totals.outcomes_done + progress.outcomes
        problems, seed = totals.problems_now(progress.outcomes)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", width=8)
        grid.add_column(width=30)
        grid.add_column()
        ended = f"{progress.answered:,} answered"
        for count, name in ((progress.unaffordable, "unaffordable"), (progress.quarantined, "quarantined")):
            ended += f", {count:,} {name}" if count else ""
        # Of what an earlier start made it is not said how it ended.
        ended = f"this start: {ended}" if totals.outcomes_done else ended
        grid.add_row(
            "problems",
            ProgressBar(total=max(1, totals.problems), completed=problems, width=30),
            f"{problems:,} of {totals.problems:,}{seed}",
        )
        grid.add_row(
            "outcomes",
            ProgressBar(total=max(1, totals.outcomes), completed=done, width=30),
            f"{done:,} of {totals.outcomes:,} ({ended})",
        )
        if progress.budget is not None:
            spent = progress.spent + progress.wasted
            detail = f"{self._spent(progress)}, {scientific(float(progress.reserved))} reserved"
            detail += f", {scientific(float(progress.wasted))} wasted" if progress.wasted else ""
            bar = ProgressBar(total=progress.budget, completed=min(spent, progress.budget), width=30)
            grid.add_row("budget", bar, detail)
        else:
            grid.add_row("spent", self._spent(progress), "")
        working = at_work(progress)
        scored = f"{reading.of('verifier').tokens_a_second:,.0f} scored/s" if "verifier" in working else ""
        grid.add_row("tokens", f"{reading.drawn_a_second:,.0f} drawn/s", scored)
        busy = [f"{role} {reading.of(role).share:.0%} of {progress.of(role).replicas}" for role in working]
        grid.add_row("busy", busy[0], ", ".join(busy[1:]))
        grid.add_row("time", f"{clock(progress.seconds)}, {self._left(reading)}", "")
        return Group(grid, *(Text(text, style="yellow") for text in why_it_waits(reading)))


class Lines:
    """A line every few seconds for work whose size is not known beforehand, such as sampling for training."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0
        self._interrupt, self._doubts = Interrupt(), _Doubts(console)

    def __enter__(self) -> Lines:
        self._interrupt.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._interrupt.__exit__()

    def say(self, text: str) -> None:
        """Print a line of another kind."""
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)

    def update(self, progress: Progress) -> None:
        """Print the newest progress, if it is time."""
        if self._interrupt.to_say():
            self._console.print(STOPPING, highlight=False)
        self._doubts.say(progress)
        if progress.seconds < self._next and progress.seconds > self._next - 2 * LINE:
            return
        self._next = progress.seconds + LINE
        line = f"{clock(progress.seconds)}  {counted(progress.outcomes, 'outcome')}  "
        line += counted(progress.drawn, "token")
        self._console.print(line, highlight=False, soft_wrap=True)


def at_work(progress: Progress) -> list[Role]:
    """The roles that have replicas up; the policy, where nobody has that draws."""
    up = [role for role in ROLES if progress.of(role).replicas]
    return up if set(up) - {"verifier"} else ["policy", *up]
