"""An evaluation from prepared settings to a finished run folder: go on where it stopped, stream, record.

It knows the runtime's driver API and nothing of terminals. Invariant: nothing is spent before the folder has
agreed to be gone on with.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from actors.store.done import holds_outcomes
from actors.store.log import FolderLock, read_books, segments
from actors.store.writer import RunWriter
from actors.work import Progress
from orchestration.runs.folder import clear, writing
from orchestration.runs.identity import Identity
from orchestration.runs.pricing import Stopped, allocator_of, price_of
from orchestration.runs.problem_store import ProblemStore, stored_problems
from orchestration.runs.quarantine import write_rows
from orchestration.runs.record import books, now, session_record, write_record
from orchestration.runs.run import Run
from orchestration.runs.run_plan import run_plan
from orchestration.runs.session import Session, asked, opened, survey, taken_up, tasks
from orchestration.runs.status import StatusWriter, says_finished
from orchestration.setup.prepare import Prepared

LEAST_LEFT = 0.02
"""The share of a budget that is left over: with more, prompts that stopped are taken up again."""

MOST_TAKEN_UP = 3
"""Times that this is done in one start: each needs its replicas anew."""


def evaluate(
    prepared: Prepared,
    on_start: Callable[[Session], None] = lambda _: None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    command: str = "",
) -> Run:
    """Run what is missing in the folder and return it. Blocks; Ctrl-C lets what is in hand end and is raised
    again. `command` is what a user gives to go on with the run, for its status.

    Raises UserError where the folder holds results of another set-up or of edited problems, or has spent the budget
    already, or the machine cannot take the replicas.
    """
    folder = Path(prepared.settings.folder)
    start = opened(prepared)
    # What another driver writes is left as it is: run.json and status.json would tell of this one's failure.
    with _held(folder):
        if not start.begun and (folder / "run.json").exists() and holds_outcomes(folder):
            # Those of another driver, which held the folder until now.
            start = opened(prepared)
        identity, record = start.identity, start.record
        before = start.known["budget_flops"] if start.known else prepared.budget
        session = survey(prepared, start)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if not start.begun:
            clear(folder, whole=start.anew)
        write_rows(folder, session.skipped)
        write_record(folder, prepared, record)
    on_start(session)
    if not session.outcomes_left and segments(folder):
        # Its last driver was killed after the last outcome, before it made parts of the log.
        RunWriter(folder, None).close()
    if session.outcomes_left or taken_up(prepared, start.known):
        started = time.time()
        state = "failed"
        try:
            with _status(prepared, session, command) as status:

                def told(progress: Progress) -> None:
                    status.update(progress)
                    if session.outcomes_left:
                        on_progress(progress)

                progress = None
                if session.outcomes_left:
                    progress = _stream(prepared, identity, session, told)
                progress = _take_up(prepared, identity, session, progress, told)
            state = "finished"
            record |= books(folder)
            # Not where an outcome that a smaller one cut short was not asked for: it would never be again.
            if session.again == session.unpaid:
                record["budget_flops"] = prepared.budget
            if progress is not None:
                record.setdefault("sessions", []).append(session_record(progress, started))
        except KeyboardInterrupt:
            state = "stopped"
            record |= books(folder)
            raise
        finally:
            write_record(folder, prepared, record | {"state": state, "updated": now()})
    else:
        record |= books(folder)
        write_record(folder, prepared, record | {"state": "finished", "budget_flops": before})
        if not says_finished(folder):
            with _status(prepared, session, command):
                pass
    return Run(folder)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a run's folder, as its writer will; one that is new is nobody's."""
    if not (folder / "run.json").exists():
        yield
        return
    with writing(folder):
        lock = FolderLock(folder)
    try:
        yield
    finally:
        lock.release()


def _status(prepared: Prepared, session: Session, command: str) -> StatusWriter:
    models = prepared.models
    replicas = {role: model.share.replicas for role, model in models.items() if role in prepared.asked}
    return StatusWriter(Path(prepared.settings.folder), session.totals, prepared.unit, replicas, command)


def _stream(
    prepared: Prepared, identity: Identity, session: Session, on_progress: Callable[[Progress], None]
) -> Progress:
    from actors.cluster.placement import Cluster

    store = ProblemStore(Path(prepared.settings.folder), session.stored)
    allocator = allocator_of(
        prepared, session.outcomes_left, session.answered, anew=session.again > session.answered
    )
    with Cluster(run_plan(prepared, identity, allocator, session.longest)) as cluster:
        # One that finds other files at its model's path than were hashed here says so, and never works.
        cluster.infos(first=True, on_progress=on_progress)
        return cluster.run(tasks(prepared, identity, session.done, store, session.prompts), on_progress)


def _take_up(
    prepared: Prepared,
    identity: Identity,
    session: Session,
    progress: Progress | None,
    on_progress: Callable[[Progress], None],
) -> Progress | None:
    """Under one price let prompts that stopped go on with what is left of the budget, as long as that buys anything. What
    they had stands in the folder: they repeat what they decided, and decide again where they stopped."""
    from actors.cluster.placement import Cluster

    folder, bound = Path(prepared.settings.folder), price_of(prepared)
    if bound is None or prepared.budget is None or prepared.settings.keep != "all":
        return progress
    stood: Counter[int] | None = None
    for _ in range(MOST_TAKEN_UP):
        spent = sum(read_books(folder))
        if prepared.budget - spent < LEAST_LEFT * prepared.budget:
            break
        store = ProblemStore(folder, stored_problems(folder))
        stopped = Stopped(prepared, bound, asked(prepared, identity, store))
        # What exists already is free: by what was spent nobody can tell whether anything came of it.
        if stopped.counts == stood or (found := stopped.again(spent)) is None:
            break
        stood, (allocator, passes) = stopped.counts, found
        todo = (one for some in passes for one in tasks(prepared, identity, some, store, session.prompts))
        with Cluster(run_plan(prepared, identity, allocator, session.longest)) as cluster:
            before = progress
            done = cluster.run(todo, partial(_tell_on_top, on_progress, before))
            progress = _on_top(done, before)
    return progress


def _tell_on_top(told: Callable[[Progress], None], before: Progress | None, now: Progress) -> None:
    told(_on_top(now, before))


def _on_top(now: Progress, before: Progress | None) -> Progress:
    """The progress of prompts that were taken up again, as that of the start they belong to: no outcome is a new one."""
    if before is None:
        return replace(now, outcomes=0, answered=0, unaffordable=0, quarantined=0)
    load = {
        role: replace(
            now.of(role),
            tokens=now.of(role).tokens + before.of(role).tokens,
            flops=now.of(role).flops + before.of(role).flops,
        )
        for role in now.load.keys() | before.load.keys()
    }
    return replace(
        now,
        outcomes=before.outcomes,
        answered=before.answered,
        unaffordable=before.unaffordable,
        quarantined=before.quarantined,
        seconds=before.seconds + now.seconds,
        load=load,
        tallies=before.tallies,
    )
