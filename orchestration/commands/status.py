"""`flopwise status RUN`: how a run stands, from another terminal: what is done, where the FLOPs went, what it waits for.

It reads the run's folder alone, without Ray, and asks nobody. Invariant: whatever state a folder is in, it is named, and how
that is known.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.errors import UserError, counted, nearest
from actors.ledger import Entry, Kind
from actors.strategy import Role
from orchestration.commands.announce import RETRY
from orchestration.commands.arguments import options_of

if TYPE_CHECKING:
    from rich.console import Console, Group

    from actors.work import Progress
    from orchestration.runs.gauge import Reading
    from orchestration.runs.run import InHand
    from orchestration.runs.status import Standing, Status

HELP = """flopwise status RUN: how a run stands, told from another terminal, or on another day.

It reads the run's folder alone: it disturbs nothing, and the run need not live any more. It says whether the run goes on, was
stopped, failed or was killed; problems and outcomes done; tokens a second and the time left; what is spent of the budget;
replicas that are up, and what the others wait for; the tasks longest in hand where nothing ends; where the FLOPs went.

Examples:
  flopwise status runs/evaluate
      once
  flopwise status runs/evaluate --watch
      every two seconds until the run ends; Ctrl-C ends the watching, not the run
  jq .reading.seconds_left runs/evaluate/status.json
      for programs: the run writes this file every second

A run that was stopped (Ctrl-C, SIGTERM), failed or was killed goes on where it stopped: give the same command again."""

PERIOD = 2.0
"""Seconds between two looks with --watch."""

_WIDE = 1000

DUTY = 20.0
"""Reading all outcomes and the ledger may take one part in this many of the time."""

KINDS: tuple[Kind, ...] = ("kept", "pruned", "failed", "lost")


def run(words: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    options, places = options_of(words, ("--help", "--watch"))
    if given := [word for word in places if "=" in word]:
        watch = given[0].startswith("watch=")
        mend = "to watch a run add --watch" if watch else "name one run, as in: flopwise status runs/evaluate"
        raise UserError(f"{given[0]!r}: status takes no settings: {mend}")
    if "--help" in options:
        print(HELP)
        return 0
    if len(places) != 1:
        raise UserError("name one run, as in: flopwise status runs/evaluate")
    folder = Path(os.path.expanduser(places[0]))
    if not folder.is_dir():
        others = [str(path.parent) for path in folder.parent.glob("*/run.json")]
        raise UserError.of("run", str(folder), f"there is no such folder{nearest(str(folder), others)}")
    from rich.console import Console

    from orchestration.runs.status import read_status, standing

    # Off a terminal a line is a line, so that it can be searched.
    console = Console() if sys.stdout.isatty() else Console(width=_WIDE)
    if standing(folder, read_status(folder), time.time()) == "never started":
        inside = [str(path.parent) for path in sorted(folder.glob("*/run.json"))]
        mend = f"name one of {', '.join(inside[:3])}" if inside else "flopwise evaluate folder=... starts one"
        raise UserError.of("run", str(folder), f"there is no run in this folder; {mend}")
    looks = _looks(folder)
    if "--watch" not in options:
        look = next(looks)
        console.print(block(look))
    else:
        try:
            look = _watch(looks, console)
        except KeyboardInterrupt:
            return 0
    if text := way_on(look):
        console.print(text, soft_wrap=True, highlight=False, markup=False)
    return 0


@dataclass(frozen=True, slots=True)
class Look:
    """All that one look at a folder found. Its tables were read at `read`: `states` counts its outcomes, `books` are its
    ledger's sums, `lost` what it had in hand, of a run that does not go on."""

    folder: Path
    now: float
    standing: Standing
    status: Status | None
    states: Mapping[str, int]
    books: tuple[Entry, ...]
    lost: InHand
    read: float


def _looks(folder: Path) -> Iterator[Look]:
    """A look whenever one is asked for. What takes long to read in a large folder is read again in due time only, and
    once the run has ended."""
    from orchestration.runs.run import InHand, Run
    from orchestration.runs.status import read_status, standing

    states: Mapping[str, int] = {}
    books: tuple[Entry, ...] = ()
    lost = InHand()
    due = read = 0.0
    while True:
        now = time.time()
        status = read_status(folder)
        stands = standing(folder, status, now)
        if time.monotonic() >= due or not goes_on(stands):
            began = time.monotonic()
            found = Run(folder)
            states, books = found.states(), found.books()
            if not goes_on(stands):
                lost = InHand.of(found.holds().values())
            read = now
            due = time.monotonic() + DUTY * (time.monotonic() - began)
        yield Look(folder, now, stands, status, states, books, lost, read)


def goes_on(stands: Standing) -> bool:
    """Whether there may be news of a run later."""
    return stands in ("running", "silent")


def _watch(looks: Iterator[Look], console: Console) -> Look:
    """Show look after look until the run ends, and return the last: one block on a terminal, block after block elsewhere."""
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        for look in looks:
            if console.is_terminal:
                live.update(block(look), refresh=True)
            else:
                console.print(block(look))
            if not goes_on(look.standing):
                break
            time.sleep(PERIOD)
    return look


def block(look: Look) -> Group:
    """A look for people: a line on the state, then a line for each thing there is to say."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from orchestration.commands.phrases import warnings

    style = {"killed": "red", "failed": "red", "silent": "yellow", "stopped": "yellow"}.get(
        look.standing, "green"
    )
    head = Text(f"{look.folder}: ", style="bold")
    head.append(look.standing, style=style)
    head.append(about(look), style="not bold")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", width=12)
    grid.add_column()
    for name, text in facts(look):
        grid.add_row(name, Text(text))
    reading = None if look.status is None or not goes_on(look.standing) else look.status.reading
    below: list[Any] = [Text(text, style="yellow") for text in (warnings(reading) if reading else ())]
    if look.books:
        below += ["", _books(look.books)]
    return Group(head, grid, *below)


def about(look: Look) -> str:
    """What is to be said of the state: who runs it and how that is known, or how it ended."""
    from orchestration.commands.phrases import clock
    from orchestration.runs.status import is_here

    if look.standing == "killed":
        last = "" if look.status is None else f"; its last word is of {moment(look.status.written)}"
        return f": nobody writes this folder{last}"
    if look.status is None:
        return ""
    status = look.status
    age = max(0.0, look.now - status.written)
    who = f" on {status.host}, pid {status.pid}, since {moment(status.started)}"
    if look.standing == "running":
        if not is_here(status):
            who += f" (another machine: told from its last word, {age:.0f} s ago)"
        elif age >= 10:
            who += f"; its last word is {clock(age)} old"
        return who
    if look.standing == "silent":
        where = (
            "the folder is still locked" if is_here(status) else "this machine cannot see whether it lives"
        )
        return f": no word for {clock(age)} from the run{who}; {where}"
    ended = f" at {moment(status.written)} on {status.host}"
    if look.standing == "failed":
        return f"{ended}: {status.reason}"
    return ended


def way_on(look: Look) -> str:
    """What goes on with a run that has not come to its end, and does not run, or with what it left quarantined."""
    if look.standing == "finished" and (count := look.states.get("quarantined", 0)):
        return f"{counted(count, 'outcome')} {'is' if count == 1 else 'are'} quarantined: {RETRY}"
    if look.standing not in ("killed", "stopped", "failed"):
        return ""
    if look.status is None or not look.status.command:
        return "the same command goes on where it stopped"
    return f"go on with: {look.status.command}"


def facts(look: Look) -> list[tuple[str, str]]:
    """What was counted, as (name, text)."""
    from orchestration.commands.phrases import clock, owed

    found: list[tuple[str, str]] = []
    status, reading = look.status, None if look.status is None else look.status.reading
    if status is not None:
        totals = status.totals
        made = 0 if reading is None else reading.progress.outcomes
        problems, seed = totals.problems_now(made)
        before = f", {totals.outcomes_done:,} of them before this start" if totals.outcomes_done else ""
        found.append(("problems", f"{problems:,} of {totals.problems:,}{seed}"))
        # Who was killed did not say what it did last.
        last = " at its last word" if look.standing == "killed" else ""
        found.append(("outcomes", f"{totals.outcomes_done + made:,} of {totals.outcomes:,}{before}{last}"))
    if look.states:
        parts = ", ".join(f"{count:,} {state}" for state, count in sorted(look.states.items()))
        old = f", {look.now - look.read:.0f} s ago" if look.now - look.read >= 1 else ""
        found.append(("in folder", f"{counted(sum(look.states.values()), 'outcome')}{old}: {parts}"))
    if status is None or reading is None:
        return found
    progress = reading.progress
    asks = progress.of("verifier").replicas > 0 or "verifier" in status.replicas
    if goes_on(look.standing):
        scored = f", {reading.of('verifier').tokens_a_second:,.0f} scored/s" if asks else ""
        found.append(("tokens", f"{reading.drawn_a_second:,.0f} drawn/s{scored}"))
        left = "not known yet" if reading.seconds_left is None else f"about {clock(reading.seconds_left)}"
        found.append(("time", f"{clock(progress.seconds)} so far, left: {left}"))
        found.append(("replicas", replicas(status.replicas, reading)))
    else:
        found.append(("tokens", f"{progress.drawn:,} drawn in {clock(progress.seconds)}"))
    found.append(("spent" if progress.budget is None else "budget", budget(look, progress, status.unit)))
    if look.lost.tasks:
        found.append(("open", owed(look.lost)))
    return found


def replicas(asked: Mapping[Role, int], reading: Reading) -> str:
    """How many replicas are up, of how many, and how busy they are."""
    return ", ".join(
        f"{role} {reading.progress.of(role).replicas} of {count} up, {reading.of(role).share:.0%} busy"
        for role, count in asked.items()
    )


def budget(look: Look, progress: Progress, unit: str) -> str:
    """What is spent and wasted of the budget, in its unit, and what running requests have reserved; of a run that does not go
    on, by its ledger."""
    from orchestration.report.tables import scientific

    charged, wasted = progress.spent + progress.wasted, progress.wasted
    if look.books and not goes_on(look.standing):
        charged = sum(entry.flops for entry in look.books)
        wasted = sum(entry.flops for entry in look.books if entry.wasted)
    text = scientific(float(charged))
    if progress.budget is not None:
        text += f" of {scientific(float(progress.budget))} ({charged / max(progress.budget, 1):.0%})"
    text += f" in {unit} FLOPs"
    text += f"; {scientific(float(wasted))} of it wasted" if wasted else ""
    return text + (
        f"; {scientific(float(progress.reserved))} more reserved" if goes_on(look.standing) else ""
    )


def _books(books: tuple[Entry, ...]) -> Any:
    """Where the FLOPs went: a row a purpose, a column a kind, and shares of all."""
    from rich import box
    from rich.table import Table

    from orchestration.report.tables import scientific

    kinds = [kind for kind in KINDS if any(entry.kind == kind for entry in books)]
    purposes = sorted({entry.purpose for entry in books})
    everything = sum(entry.flops for entry in books)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("FLOPs settled", no_wrap=True)
    for kind in kinds:
        table.add_column(kind, justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    for name in [*purposes, "all"]:
        mine = [entry for entry in books if name in (entry.purpose, "all")]
        sums = [sum(entry.flops for entry in mine if entry.kind == kind) for kind in kinds]
        cells = [scientific(float(flops)) if flops else "-" for flops in sums]
        table.add_row(name, *cells, f"{sum(sums) / everything:.1%}")
    return table


def moment(seconds: float) -> str:
    """A moment as people here write it, with the day where it is not today."""
    then = time.localtime(seconds)
    today = time.strftime("%Y-%m-%d") == time.strftime("%Y-%m-%d", then)
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", then)
