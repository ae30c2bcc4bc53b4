"""How a run stands, while it runs: rates and remaining time from what the scheduler says, on one live block
or in lines.

`Gauge` is pure: fed with `Progress`, it gives a `Reading`. It knows nothing of runs. Invariant: whatever is
shown was counted, never guessed, but for the time left, which is told from the rate so far.
"""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from actors.work import Progress
from orchestration.report.tables import scientific

if TYPE_CHECKING:
    from rich.console import Console, Group

    from orchestration.evaluation import Pass

WINDOW = 10.0
"""Seconds that rates are taken over: long enough to be steady, short enough to show a stall."""

STALL = 30.0
"""Seconds without a finished outcome after which the oldest tasks are named."""

LINE = 5.0
"""Seconds between two lines where there is no terminal."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What is shown: totals so far, rates a second, shares between 0 and 1, seconds left (None: not known
    yet).
    """

    progress: Progress
    tokens_a_second: float
    scored_a_second: float
    policy_share: float
    verifier_share: float
    seconds_left: float | None
    stalled: bool


class Gauge:
    """Turns a run's progress into rates. `outcomes` is how many this session has to make."""

    def __init__(self, outcomes: int) -> None:
        self._outcomes = outcomes
        self._seen: deque[Progress] = deque()
        self._last_finish = (0, 0.0)

    def observe(self, progress: Progress) -> Reading:
        """Take the newest progress; `seconds` must not fall."""
        self._seen.append(progress)
        while len(self._seen) > 2 and progress.seconds - self._seen[1].seconds >= WINDOW:
            self._seen.popleft()
        if progress.outcomes > self._last_finish[0]:
            self._last_finish = (progress.outcomes, progress.seconds)
        old = self._seen[0]
        seconds = max(progress.seconds - old.seconds, 1e-9)

        def busy(now: float, before: float, replicas: int) -> float:
            return min(1.0, max(0.0, (now - before) / (seconds * replicas))) if replicas else 0.0

        return Reading(
            progress=progress,
            tokens_a_second=max(0, progress.policy_tokens - old.policy_tokens) / seconds,
            scored_a_second=max(0, progress.verifier_tokens - old.verifier_tokens) / seconds,
            policy_share=busy(progress.policy_busy, old.policy_busy, progress.policy_replicas),
            verifier_share=busy(progress.verifier_busy, old.verifier_busy, progress.verifier_replicas),
            seconds_left=self._left(progress, old, seconds),
            stalled=progress.seconds - self._last_finish[1] >= STALL and progress.outcomes < self._outcomes,
        )

    def _left(self, progress: Progress, old: Progress, seconds: float) -> float | None:
        """By the outcomes still to make, or by the budget where that ends sooner; from the rate over the
        whole run.
        """
        if not progress.outcomes or progress.seconds <= 0:
            return None
        left = (self._outcomes - progress.outcomes) * progress.seconds / progress.outcomes
        spending = (progress.spent - old.spent) / seconds
        if progress.budget is not None and spending > 0:
            left = min(left, (progress.budget - progress.spent - progress.wasted) / spending)
        return max(0.0, left)


STOPPING = "finishing what is in hand; Ctrl-C again stops at once"


class Interrupt:
    """Notes the first Ctrl-C, which is raised as ever; while it is in use, and on the main thread alone.

    What is to be said of it is said with the next progress, which comes if something is in hand: a signal handler must not
    print.
    """

    def __init__(self) -> None:
        self._met = self._said = False
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._meet)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None

    def to_say(self) -> bool:
        """Whether it was met and not yet said; true once."""
        fresh = self._met and not self._said
        self._said = self._said or fresh
        return fresh

    def _meet(self, number: int, frame: FrameType | None) -> None:
        self._met = True
        self.__exit__()
        signal.default_int_handler(number, frame)


class Display:
    """Shows a run's progress until it is left: a live block on a terminal, a line every few seconds
    elsewhere.
    """

    def __init__(
        self,
        console: Console,
        *,
        problems: int,
        outcomes: int,
        outcomes_done: int,
        passes: Sequence[Pass],
    ) -> None:
        self._console = console
        self._problems, self._passes = problems, passes
        self._outcomes, self._outcomes_done = outcomes, outcomes_done
        self._gauge = Gauge(outcomes - outcomes_done)
        self._live: Any = None
        self._next_line = 0.0
        self._interrupt = Interrupt()

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
        if self._live is not None:
            self._live.update(self._block(reading))
        elif progress.seconds >= self._next_line or progress.tasks_open == 0:
            self._next_line = progress.seconds + LINE
            self._console.print(self.line(reading), highlight=False, soft_wrap=True)

    def problems_done(self, progress: Progress) -> tuple[int, str]:
        """Problems whose strategies have all ended for the seed that is at work, and that seed where there are several;
        a task's outcomes are counted together."""
        made = progress.outcomes
        for one in self._passes[:-1]:
            if made < one.outcomes_left:
                break
            made -= one.outcomes_left
        else:
            one = self._passes[-1]
        fresh = self._problems - one.problems_done
        done = one.problems_done + (made * fresh // one.outcomes_left if one.outcomes_left else 0)
        return done, f" of seed {one.seed}" if len(self._passes) > 1 else ""

    def line(self, reading: Reading) -> str:
        """One line for logs, its fields always in the same order."""
        progress = reading.progress
        problems, seed = self.problems_done(progress)
        parts = [
            clock(progress.seconds),
            f"{problems:,}/{self._problems:,} problems{seed}",
            f"{self._outcomes_done + progress.outcomes:,}/{self._outcomes:,} outcomes",
            f"{reading.tokens_a_second:,.0f} tok/s",
            self._spent(progress),
            f"busy {reading.policy_share:.0%}"
            + (f"/{reading.verifier_share:.0%}" if progress.verifier_replicas else ""),
            "left " + ("?" if reading.seconds_left is None else clock(reading.seconds_left)),
        ]
        line = "  ".join(parts)
        if progress.waiting_for:
            line += f"  waiting for {progress.waiting_for}"
        if reading.stalled and progress.oldest:
            line += "  nothing ended for 30 s; oldest: " + _named(progress)
        return line

    def _spent(self, progress: Progress) -> str:
        spent = f"{scientific(float(progress.spent + progress.wasted))} FLOPs"
        return spent if progress.budget is None else f"{spent} of {scientific(float(progress.budget))}"

    def _block(self, reading: Reading) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        progress = reading.progress
        done = self._outcomes_done + progress.outcomes
        problems, seed = self.problems_done(progress)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", width=8)
        grid.add_column(width=30)
        grid.add_column()
        left = "" if reading.seconds_left is None else f", about {clock(reading.seconds_left)} left"
        ended = f"{progress.answered:,} answered"
        for count, name in ((progress.unaffordable, "unaffordable"), (progress.quarantined, "quarantined")):
            ended += f", {count:,} {name}" if count else ""
        grid.add_row(
            "problems",
            ProgressBar(total=max(1, self._problems), completed=problems, width=30),
            f"{problems:,} of {self._problems:,}{seed}",
        )
        grid.add_row(
            "outcomes",
            ProgressBar(total=max(1, self._outcomes), completed=done, width=30),
            f"{done:,} of {self._outcomes:,} ({ended})",
        )
        if progress.budget is not None:
            spent = progress.spent + progress.wasted
            detail = f"{self._spent(progress)}, {scientific(float(progress.reserved))} reserved"
            detail += f", {scientific(float(progress.wasted))} wasted" if progress.wasted else ""
            bar = ProgressBar(total=progress.budget, completed=min(spent, progress.budget), width=30)
            grid.add_row("budget", bar, detail)
        else:
            grid.add_row("spent", self._spent(progress), "")
        scored = f"{reading.scored_a_second:,.0f} scored/s" if progress.verifier_replicas else ""
        grid.add_row("tokens", f"{reading.tokens_a_second:,.0f} drawn/s", scored)
        verifier = (
            f"verifier {reading.verifier_share:.0%} of {progress.verifier_replicas}"
            if progress.verifier_replicas
            else ""
        )
        grid.add_row("busy", f"policy {reading.policy_share:.0%} of {progress.policy_replicas}", verifier)
        grid.add_row("time", f"{clock(progress.seconds)}{left}", "")
        below = [Text(f"waiting for {progress.waiting_for}", style="yellow")] if progress.waiting_for else []
        if reading.stalled and progress.oldest:
            below.append(Text("nothing ended for 30 s; oldest tasks: " + _named(progress), style="yellow"))
        return Group(grid, *below)


class Lines:
    """A line every few seconds for work whose size is not known beforehand, such as sampling for training."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0
        self._interrupt = Interrupt()

    def __enter__(self) -> Lines:
        self._interrupt.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._interrupt.__exit__()

    def update(self, progress: Progress) -> None:
        """Print the newest progress, if it is time."""
        if self._interrupt.to_say():
            self._console.print(STOPPING, highlight=False)
        if progress.seconds < self._next and progress.seconds > self._next - 2 * LINE:
            return
        self._next = progress.seconds + LINE
        line = f"{clock(progress.seconds)}  {progress.outcomes:,} outcomes  {progress.policy_tokens:,} tokens"
        self._console.print(line, highlight=False, soft_wrap=True)


def _named(progress: Progress) -> str:
    return ", ".join(f"{name} ({clock(age)})" for name, age in progress.oldest)


def clock(seconds: float) -> str:
    """Seconds as 00:42, 12:05 or 3:07:00."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute:02}:{second:02}"
