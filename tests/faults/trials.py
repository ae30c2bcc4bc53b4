"""One fault: a process of a run is killed at a seeded moment, the run comes to its end, and its books and rows are held
against those of a run that nothing befell.

It knows processes and tables, and nothing of the runtime's insides. Invariant: whatever the moment, what a trial asserts is
the same; figures are what was seen from outside.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from actors.messages import Hold
from actors.seeds import derive
from actors.store.log import read_holds
from orchestration.commands.main import main
from orchestration.runs.run import Run
from orchestration.runs.status import lock_of
from tests.faults.job import LONGEST, LOOK, WASTE, Command, Job, Living, LogTail, Watch
from tests.faults.reading import Flip, Tables, drawn, flips
from tests.support.folders import done_keys

Kind = Literal["driver", "scheduler", "policy", "reviser", "verifier"]

CLASSES: dict[Kind, str] = {
    "scheduler": "SchedulerActor",
    "policy": "_PolicyActor",
    "reviser": "_ReviserActor",
    "verifier": "_VerifierActor",
}

SOLVERS: tuple[Kind, ...] = ("policy", "reviser")
"""Those that may hold tasks, which are lost with them."""

GONE = 60.0
"""Seconds in which a killed driver's processes are gone, but for Ray's agents."""

AGENTS = ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Processes of Ray's that hold nothing of a run, and look for its dead head for a minute."""

AGENTS_GONE = 120.0
"""Seconds after a trial's kill in which they are gone too."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When to kill: `delay` seconds after the victim is there (`share` None: while the run starts), or after this share of
    the outcomes is committed. `choice` picks among several victims."""

    share: float | None
    delay: float
    choice: int

    def __str__(self) -> str:
        after = "its start" if self.share is None else f"{self.share:.0%} of the outcomes"
        return f"{self.delay:.1f} s after {after}"


def moment(kind: Kind, number: int, count: int = 5) -> Moment:
    """The moment of one of `count` trials of a kind: the first while the run starts, the last near its end, the others spread
    over the time between."""
    draw = random.Random(derive("faults", kind, number, count))
    choice = draw.randrange(2)
    if number == 0:
        return Moment(None, draw.uniform(0.0, 8.0 if kind == "driver" else 3.0), choice)
    if number == count - 1:
        return Moment(draw.uniform(0.8, 0.92), draw.uniform(0.0, 0.1), choice)
    between = (number - 1 + draw.random()) / (count - 2)
    # The last outcomes come together.
    return Moment(0.02 + 0.73 * between, draw.uniform(0.0, 0.8) * (1 - between), choice)


@dataclass(slots=True)
class Figures:
    """What one trial measured: seconds from the kill until it was noticed, until work went on and until all was as before,
    the longest silence on the terminal, FLOPs wasted for each that was spent, FLOPs that the dead had in hand (`used`: those
    really done; `charged`: those that the books say), tokens drawn twice."""

    kind: Kind
    moment: Moment
    at: str = ""
    noticed: float | None = None
    goes_on: float | None = None
    whole: float | None = None
    silence: float = 0.0
    waste: float = 0.0
    used: int = 0
    charged: int = 0
    again: int = 0
    left: int = 0
    problems: int = 0
    flips: list[Flip] = field(default_factory=list)
    living: Living | None = None

    @property
    def price(self) -> float | None:
        """What a death is charged, for each FLOP that had really been done; None where too little was in hand to say."""
        return self.charged / self.used if self.used > 0 else None


@dataclass(frozen=True, slots=True)
class Unbroken:
    """The run that nothing befell, and the budget of those that something does: what it spent, and room for all that is in
    hand at once to be lost, at the worst case of every request."""

    job: Job
    tables: Tables
    budget: int


def run_unbroken(job: Job, place: Path) -> Unbroken:
    command = Command(job.words(place / "run", 10**13), place / "command")
    try:
        assert command.wait(LONGEST) == 0, command.said
    finally:
        command.clear()
    tables = Tables.of(place / "run")
    assert len(tables.outcomes) == job.outcomes
    assert tables.wasted == 0
    return Unbroken(job, tables, 6 * tables.spent)


def strike(kind: Kind, when: Moment, unbroken: Unbroken, place: Path) -> Figures:
    """One trial in an empty folder; fails with what the user saw."""
    folder = place / "run"
    words = unbroken.job.words(folder, unbroken.budget)
    figures = Figures(kind, when, problems=unbroken.job.problems)
    first = Command(words, place / "first")
    second: Command | None = None
    try:
        watch = Watch(first, LogTail(folder))
        victim = wait_for(kind, when, watch, unbroken.job.outcomes, unbroken.job.replicas(kind))
        watch.look()
        assert first.code is None, "it ended before it was killed"
        figures.at = f"{len(watch.log.committed)}/{unbroken.job.outcomes}"
        if kind == "driver":
            before = _kill_driver(watch, figures)
            second = Command(words, place / "second")
            _go_on(second, folder, before, figures)
        else:
            before = _kill_actor(kind, victim, watch, figures)
            second = Command(words, place / "second")
            _say_done(second, unbroken.job.problems)
        for command in (first, second):
            assert "Traceback" not in command.said
            figures.silence = max(figures.silence, command.silence)
        figures.left = first.left
        tables = Tables.of(folder)
        figures.flips = flips(unbroken.tables, tables)
        _check_books(folder, tables, unbroken, figures)
        _check_committed(tables, before)
        if kind == "driver":
            _check_driver(folder, tables, before)
        else:
            holds = unbroken.job.holds_tasks(kind)
            _check_actor(kind, folder, tables, before, figures, holds=holds)
        _check_folder(folder)
    except AssertionError as error:
        said = "\n\n".join(c.lines for c in (first, second) if c is not None)
        pytest.fail(f"{kind} killed {when} ({figures.at}): {error}\n\n{said}", pytrace=False)
    finally:
        for command in (first, second):
            if command is not None:
                command.clear()
    return figures


@dataclass(frozen=True, slots=True)
class _Before:
    """What a run had on disk when it was struck: keys of its outcomes, with the seconds they took where those were seen; its
    open leases; the name of the actor that was killed; and what leases that had ended had wasted."""

    done: set[str]
    seconds: dict[str, float]
    held: dict[int, Hold]
    victim: str = ""
    wasted: dict[int, int] = field(default_factory=dict)


def wait_for(kind: Kind, when: Moment, watch: Watch, outcomes: int, replicas: int = 2) -> int:
    """Wait until the moment, and name the victim, one of so many `replicas` if it is one that draws."""

    def victims() -> list[int]:
        if kind == "driver":
            return [watch.command.pid]
        there = watch.processes(CLASSES[kind])
        if kind in SOLVERS:
            # One of them by its name, for processes come in no order.
            return [pid for pid in there if watch.names.get(pid) == f"{kind}-{when.choice % replicas}"]
        return list(there)

    if when.share is None:
        watch.until(lambda: bool(victims()), f"a {kind}")
    else:
        wanted = when.share * outcomes
        watch.until(lambda: len(watch.log.committed) >= wanted, f"{wanted:.0f} outcomes")
    if when.delay:
        until = time.monotonic() + when.delay
        watch.until(lambda: time.monotonic() + LOOK >= until, "the moment")
        time.sleep(max(0.0, until - time.monotonic()))
    if kind == "driver":
        # While it is looked at, a short run may come to its end.
        os.kill(watch.command.pid, signal.SIGSTOP)
    # One look into a list of processes that changes meanwhile may miss some.
    watch.until(lambda: len(victims()) == 1, f"one {kind}")
    [victim] = victims()
    return victim


# A driver


def _kill_driver(watch: Watch, figures: Figures) -> _Before:
    """Kill the driver alone; its processes go by themselves."""
    folder = watch.log.folder
    figures.living = living = Living(watch.command.pid)
    killed = time.monotonic()
    watch.command.kill()

    def left() -> list[str]:
        titles = [title for title in living.left().values() if title not in AGENTS]
        # A process of many threads is a zombie by name before the last of them gives its files back.
        return titles if titles or lock_of(folder) != "held" else ["who holds the lock"]

    while alive := left():
        assert time.monotonic() < killed + GONE, f"alive {GONE:.0f} s after their driver: {alive}"
        time.sleep(LOOK)
    figures.noticed = time.monotonic() - killed
    assert lock_of(folder) == "free"
    watch.log.look()
    done = set(done_keys(folder)) if (folder / "log").is_dir() else set()
    held = read_holds(folder)
    figures.used = watch.command.done() - watch.log.paid.total()
    figures.charged = sum(hold.flops for hold in held.values()) + sum(
        charge.flops for charge in watch.log.lost
    )
    return _Before(done, dict(watch.log.committed), held, wasted=dict(watch.log.wasted))


def _go_on(command: Command, folder: Path, before: _Before, figures: Figures) -> None:
    """The same command comes to the end of the run."""
    watch = Watch(command, LogTail(folder))
    watch.log.skip()
    watch.until(lambda: bool(watch.log.leased) or command.code is not None, "work to go on")
    figures.goes_on = time.monotonic() - command.began
    watch.until(lambda: command.code is not None, "the end of the run")
    assert command.code == 0
    if before.done:
        assert "resuming: " in command.said or "problems are done" in command.said


def _check_driver(folder: Path, tables: Tables, before: _Before) -> None:
    """What was committed was not drawn again, and all that was in hand is charged what it was lent."""
    rest = sum(drawn(row) for key, row in tables.outcomes.items() if key not in before.done)
    # The first session did not live to say what it did.
    assert sum(map(drawn, Run(folder).info.get("sessions", ()))) == rest
    cut_off = [row for row in tables.lost() if "when the run was cut off" in row["reason"]]
    assert {row["lease"]: row["flops"] for row in cut_off} == {k: h.flops for k, h in before.held.items()}
    # A driver's actors die one after another: its scheduler may see a replica go, and lend its tasks once more; a policy may
    # see its verifier go, and end tasks for want of it.
    others: Counter[int] = Counter()
    for row in tables.ledger:
        if row["kind"] in WASTE and row not in cut_off:
            others[row["lease"]] += row["flops"]
        assert row["kind"] != "failed" or row["reason"].startswith("ServiceLost: "), row
    assert others == before.wasted


# An actor


def _kill_actor(kind: Kind, victim: int, watch: Watch, figures: Figures) -> _Before:
    """Kill a process of the run, which comes to its end without another command."""
    log, command = watch.log, watch.command
    before = _Before(set(log.committed), dict(log.committed), dict(log.holds), watch.names.get(victim, ""))
    there = set(watch.processes(CLASSES[kind]))
    leased, lost = len(log.leased), len(log.lost)
    killed = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    log.look()
    paid = log.paid[before.victim]
    fresh: float | None = None

    def look() -> bool:
        nonlocal fresh
        now = time.monotonic()
        new = {pid: up for pid, up in watch.processes(CLASSES[kind]).items() if pid not in there}
        if new and fresh is None:
            fresh = now
        if any(new.values()) and figures.whole is None:
            figures.whole = now - killed
        return command.code is not None

    watch.until(look, "the end of the run")
    assert command.code == 0
    charges = log.lost[lost:]
    tasks = {charge.task_id for charge in charges}
    again = [seen for seen, hold in log.leased[leased:] if hold.task_id in tasks]
    after = [seen for seen in log.lines if fresh is not None and seen > fresh]
    if kind in SOLVERS and charges:
        figures.used = command.done(victim) - paid
        figures.charged = sum(charge.flops for charge in charges)
        figures.noticed = charges[0].seen - killed
        figures.goes_on = min(again) - killed if again else None
    elif fresh is not None:
        figures.noticed = fresh - killed
        figures.goes_on = min(after) - killed if kind == "scheduler" and after else figures.whole
    return before


def _say_done(command: Command, problems: int) -> None:
    """The same command finds nothing to do."""
    assert command.wait(LONGEST) == 0
    assert f"all {problems} problems are done" in command.said


def _check_actor(
    kind: Kind, folder: Path, tables: Tables, before: _Before, figures: Figures, *, holds: bool
) -> None:
    """What was lost is charged, what was not goes on, and nothing else is drawn again."""
    assert not [row for row in tables.ledger if row["kind"] == "failed"]
    [session] = Run(folder).info["sessions"]
    figures.again = drawn(session) - tables.drawn
    lost = {row["lease"]: row for row in tables.lost()}
    if not holds:
        assert not lost, "its trees go on"
        # A session's count lacks what a replica that drew has not told of yet, and has a draw on its way there twice.
        assert figures.again == 0 or kind in SOLVERS
        assert tables.wasted == 0 or kind != "scheduler"
        assert all(row["purpose"] == kind for row in tables.ledger if row["kind"] == "lost")
        return
    problems = {row["task_id"].partition("/")[0] for row in lost.values()}
    most = sum(drawn(row) for row in tables.outcomes.values() if row["problem_id"] in problems)
    assert 0 <= figures.again <= most
    assert tables.wasted == sum(row["flops"] for row in lost.values())
    settled = {row["lease"] for row in tables.ledger if row["kind"] in ("kept", "pruned")}
    assert not settled & lost.keys()
    for lease, hold in before.held.items():
        mine = hold.replica == before.victim
        assert lease in settled or (mine and lost[lease]["flops"] >= hold.flops > 0), (lease, hold)


# Books and folder


def _check_books(folder: Path, tables: Tables, unbroken: Unbroken, figures: Figures) -> None:
    assert tables.spent == sum(row["spent_flops"] for row in tables.outcomes.values())
    if not figures.flips:
        # Not so the verifier's: who asks while another's same steps are on their way pays for them too.
        assert tables.drawn == unbroken.tables.drawn
    assert tables.spent + tables.wasted <= unbroken.budget
    paid = {(row["task_id"], row["attempt"], row["lease"]) for row in tables.ledger if row["kind"] == "kept"}
    assert len(paid) == len({task for task, *_ in paid}) == unbroken.job.tasks, "each is paid once"
    info = Run(folder).info
    assert (info["spent_flops"], info["wasted_flops"]) == (tables.spent, tables.wasted)
    figures.waste = tables.wasted / tables.spent


def _check_committed(tables: Tables, before: _Before) -> None:
    """What was committed stands as it was written: one that was made again would have taken another time."""
    assert before.done <= tables.outcomes.keys()
    assert {key: tables.outcomes[key]["wall_seconds"] for key in before.seconds} == before.seconds


def _check_folder(folder: Path) -> None:
    """Parquet alone; status and report say so."""
    assert not list((folder / "log").iterdir())
    assert not list(folder.rglob("*.tmp"))
    for words in (["status", str(folder)], ["report", str(folder)]):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            assert main(words) == 0
        assert words[0] == "report" or f"{folder}: finished" in said.getvalue(), said.getvalue()
