"""A run's tasks through its scheduler, from the driver: streamed in, watched, drained, and given again to a scheduler that
died.

It knows actors' handles and nothing of where they are. Invariant: every task of the stream reaches a scheduler, and one that
has ended reaches none a second time.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import (
    ActorUnavailableError,
    ActorUnschedulableError,
    RayActorError,
    RayTaskError,
    RuntimeEnvSetupError,
)

from actors.cluster.links import mistake_in
from actors.cluster.ray_start import where_to_look
from actors.errors import UserError
from actors.messages import Pulse
from actors.work import Progress, Task

WAITING_TASKS = 2_000
"""Tasks that wait in the scheduler at once, or twice as many as the replicas' sequences where that is more; the data set is
streamed behind it."""

LOOK_S = 0.25
"""Seconds between two looks at the run's progress."""

SILENT_S = 10.0
"""Seconds without an answer of a verifier's channel of health after which a run says that it waits for it."""

SCHEDULER_RETURN_S = 60.0
"""Seconds that a scheduler which died may take to be back."""

SUCCESSOR = "a scheduler to take over: the last one's process died"
"""What a run waits for meanwhile."""

MAX_SCHEDULER_DEATHS = 5
"""Deaths of the scheduler in a row, without one outcome between them, after which the run is given up."""


class Driver:
    """Drives one scheduler. `why` says what replicas that are not up, by their names, wait for."""

    def __init__(
        self,
        scheduler: Any,
        writer: Any,
        verifiers: dict[str, Any],
        *,
        grace: float,
        sequences: int,
        why: Callable[[Iterable[str]], str],
    ) -> None:
        self._scheduler, self._writer, self._verifiers = scheduler, writer, verifiers
        self._grace, self._why = grace, why
        self._window = max(WAITING_TASKS, 2 * sequences)
        self._stream: Iterator[tuple[Task, str | None]] = iter(())
        self._open: dict[str, Task] = {}
        self._asked: dict[str, Any] = {}
        self._heard: dict[str, float] = {}
        self._unsure: list[Task] = []
        self._told = 0
        self._latest: Progress | None = None
        self._number = 0
        self._running: Any = None
        self._started = False
        self._more = True
        self._stop_at: float | None = None

    def run(
        self, tasks: Iterable[tuple[Task, str | None]], on_progress: Callable[[Progress], None]
    ) -> Progress:
        """See `Cluster.run`."""
        if self._started:
            raise RuntimeError("a cluster runs one stream of tasks")
        self._started = True
        self._stream = iter(tasks)
        deaths, outcomes = 0, 0
        while True:
            try:
                if self._running is None:
                    self._begin(on_progress)
                progress = self._follow(on_progress)
                if self._stop_at is not None:
                    raise KeyboardInterrupt
                return progress
            except KeyboardInterrupt:
                if self._stop_at is not None:
                    raise
                self._stop_at = time.monotonic() + self._grace
            except ActorUnavailableError as death:
                # One that is the cause of a method's failure is not the scheduler's own.
                if isinstance(death, RayTaskError):
                    raise
                self._running = None
                ended: int = get(self._writer.ended.remote())
                deaths = deaths + 1 if ended == outcomes else 1
                outcomes = ended
                if deaths > MAX_SCHEDULER_DEATHS:
                    raise

    def progress(self) -> Progress:
        """How the run stands, with what the verifiers say of themselves."""
        progress: Progress = get(self._scheduler.progress.remote())
        busy = 0.0
        alive, now = 0, time.monotonic()
        for name, handle in self._verifiers.items():
            # One that loads answers when it is up: it is asked once until then.
            self._heard.setdefault(name, now)
            if name not in self._asked:
                self._asked[name] = handle.pulse.remote()
        asked = list(self._asked.values())
        ready, _ = ray.wait(asked, num_returns=len(asked), timeout=LOOK_S) if asked else ([], [])
        for name in [name for name, reference in self._asked.items() if reference in ready]:
            try:
                pulse: Pulse = ray.get(self._asked.pop(name))
            except RayActorError:
                continue
            busy += pulse.counters.busy_seconds
            alive += 1
            self._heard[name] = now
        waiting = progress.waiting_for
        silent = [name for name, heard in self._heard.items() if now - heard > SILENT_S]
        down = (*progress.replicas_down, *silent)
        # Where there is nobody down and something to wait for, it is what the run failed of.
        if down and (progress.replicas_down or not waiting):
            waiting = f"{', '.join(down)} ({self._why(down)})"
        load = dict(progress.load)
        if self._verifiers:
            load["verifier"] = replace(progress.of("verifier"), busy=busy, replicas=alive)
        return replace(progress, load=load, waiting_for=waiting)

    def _begin(self, on_progress: Callable[[Progress], None]) -> None:
        """Open the scheduler, and give one that has not been told of them the tasks that have not ended."""
        began = time.monotonic()
        while True:
            try:
                life: int = get(self._scheduler.open.remote())
                break
            except ActorUnavailableError:
                waited = time.monotonic() - began
                if waited > SCHEDULER_RETURN_S:
                    raise
                if self._latest is not None:
                    seconds = self._latest.seconds + waited
                    on_progress(replace(self._latest, seconds=seconds, waiting_for=SUCCESSOR))
                time.sleep(LOOK_S)
        if life != self._told:
            self._forget_ended()
            self._send(list(self._open.values()))
            self._told = life
        elif self._unsure:
            self._send(self._unsure)
        if self._stop_at is None:
            self._feed()
        else:
            self._drain()
        self._running = self._scheduler.run.remote()

    def _drain(self) -> None:
        assert self._stop_at is not None
        get(self._scheduler.drain.remote(max(0.0, self._stop_at - time.monotonic())))

    def _follow(self, on_progress: Callable[[Progress], None]) -> Progress:
        """Watch the scheduler to its end, and feed it."""
        if self._stop_at is not None:
            self._drain()
        while True:
            done, _ = ray.wait([self._running], timeout=LOOK_S)
            progress = self._latest = self.progress()
            on_progress(progress)
            if done:
                get(self._running)
                return progress
            if self._more and self._stop_at is None and progress.tasks_open < self._window // 2:
                self._feed()

    def _forget_ended(self) -> None:
        unfinished: set[str] = get(self._writer.unfinished.remote())
        self._open = {name: task for name, task in self._open.items() if name in unfinished}

    def _feed(self) -> None:
        """Queue tasks of the stream until the window is full; say so where there are no more."""
        if self._more:
            self._forget_ended()
            count = self._window - len(self._open)
            batch = list(itertools.islice(self._stream, count))
            self._more = len(batch) == count
            if batch:
                # Noted before they are sent: a scheduler that dies on it is given them again.
                self._open |= {task.id: task for task, _ in batch}
                get(self._writer.label.remote({task.id: label for task, label in batch}))
                self._send([task for task, _ in batch])
        if not self._more:
            get(self._scheduler.close.remote())

    def _send(self, tasks: list[Task]) -> None:
        """Submit tasks. A call that failed or was interrupted may have arrived: made again it has the same number, and is
        passed over then."""
        self._unsure = tasks
        get(self._scheduler.submit.remote(tasks, self._number + 1))
        self._number += 1
        self._unsure = []


def get(reference: Any) -> Any:
    """`ray.get` that gives a UserError of the other side back as itself, and one in place of what says that Ray starts no
    process."""
    try:
        return ray.get(reference)
    except (ActorUnschedulableError, RuntimeEnvSetupError) as error:
        raise UserError(_not_started(error)) from None
    except (RayTaskError, RayActorError) as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, RayActorError):
            # A constructor's mistake, also through another actor that met it.
            mistake = mistake_in(error)
            if mistake is not None:
                raise UserError(mistake) from None
        raise


def _not_started(error: Exception) -> str:
    """What to say where Ray has no process for an actor: its node is gone, or its environment cannot be made."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # What an environment failed of stands at the end of a traceback.
    why = lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}"
    return f"Ray starts no process for an actor of the run: {why[:600]} ({where_to_look()})"
