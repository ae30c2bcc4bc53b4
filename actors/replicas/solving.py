"""One strategy of a task, run by itself: whatever it does, it comes to one end, and the others of its task go on.

What a strategy raises is its own failure, and final: its draws are seeded, so trying again would meet the same. Its outcome
is quarantined at once, and nobody's work is done twice for it. What it lacked is no failure: an empty purse ends it as
unaffordable; a service that is gone (`ServiceLost`) and an engine whose state is unknown (`EngineError`) concern the whole
task, which is tried again. A score that failed was asked for again before the strategy heard of it
(`actors.replicas.clients`). This module knows no strategy. Invariant: nothing that a strategy raises or returns gets past
`run`, but for those two.
"""

from __future__ import annotations

import asyncio
import inspect
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar, get_args

from actors.engines.base import EngineError, Finish
from actors.errors import ServiceLost
from actors.messages import Failure, Row
from actors.replicas.bench import TaskBench
from actors.replicas.clients import TaskModels
from actors.replicas.meter import Meter
from actors.store.rows import candidate_rows
from actors.strategy import Candidate, Decision, Prompt, PurseEmpty, Solution, Strategy
from actors.work import NO_CANDIDATE, NOT_ALL, Cost, Outcome, Task, unpaid_at

E = TypeVar("E", bound=BaseException)

REASON = 500
"""Most characters of a reason."""

TRACE = 20_000
"""Most characters of a traceback: its beginning and its end."""

_INT32, _INT64 = 1 << 31, 1 << 63


@dataclass(frozen=True, slots=True)
class Ended:
    """How one strategy of a task ended: its outcome, its candidates' rows, and what it failed of."""

    outcome: Outcome
    meter: Meter
    solution: Solution | None = None
    rows: tuple[Row, ...] = ()
    failure: Failure | None = None


async def run(key: str, strategy: Strategy, task: Task, bench: TaskBench) -> Ended:
    """Let a strategy solve its task's prompt. Raises ServiceLost and EngineError, and what it was cancelled with by whoever
    ended the task."""
    ended = await _run(key, strategy, task, bench)
    if not bench.ended:
        # It may have cancelled this task and come to its end before it heard of it.
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0)
    return ended


async def _run(key: str, strategy: Strategy, task: Task, bench: TaskBench) -> Ended:
    started = time.perf_counter()
    meter, seat = Meter(), task.keys.index(key)
    solution: Solution | None = None
    try:
        try:
            models = TaskModels.of(bench, meter, seat, judged=strategy.uses_verifier, key=key)
            solution = await _solution(strategy, bench.prompt, models)
        except PurseEmpty:
            solution = None
        outcome = _outcome(key, strategy, bench, task, solution, meter, time.perf_counter() - started)
        rows = () if solution is None else tuple(candidate_rows(outcome, solution, bench.reader.text))
        return Ended(outcome, meter, solution, rows)
    except BaseException as error:
        # By order: the task is over. (A strategy may cancel itself, too.)
        if bench.ended:
            raise
        for kind in (EngineError, ServiceLost):
            if (cause := _met(error, kind)) is not None:
                raise cause from error
        outcome = _outcome(key, strategy, bench, task, None, meter, time.perf_counter() - started)
        if _only_purse(error):
            return Ended(outcome, meter)
        return failed(Ended(outcome, meter), failure_of(error))
    finally:
        meter.end()
        # It needs nothing more for a first candidate.
        bench.purse.need(seat, 0)


def failed(ended: Ended, failure: Failure) -> Ended:
    """The same strategy, as one that failed."""
    outcome = ended.outcome
    outcome = replace(
        outcome,
        state="quarantined",
        reason=failure.reason,
        answer=None,
        generations=0,
        truncated=0,
        kept_tokens=0,
        attributed=Cost(),
        ended=0,
        unreadable=0,
        single_step=0,
        decisions=(),
    )
    about = replace(failure, problem_id=outcome.problem_id, strategy=outcome.strategy, seed=outcome.seed)
    return Ended(outcome, ended.meter, failure=about)


def failure_of(error: BaseException) -> Failure:
    """An exception as text. `place` tells where it was raised, without what differs between problems."""
    whole = traceback.TracebackException.from_exception(error)
    try:
        message = str(error)
    except Exception as second:
        message = f"(its text raises {type(second).__name__})"
    # What was raised, as the last line of a traceback says it; a text of several lines is one here.
    reason = " ".join(f"{type(error).__name__}: {message}".split()).removesuffix(":")
    trace = "".join(whole.format()).rstrip()
    if len(trace) > TRACE:
        trace = f"{trace[: TRACE // 2]}\n  ...\n{trace[-TRACE // 2 :]}"
    # Each line of code once: one that calls itself is as deep as it comes.
    frames = dict.fromkeys(f"{frame.filename}:{frame.lineno}" for frame in whole.stack)
    return Failure(reason[:REASON], trace, " ".join([type(error).__name__, *frames]))


async def _solution(strategy: Strategy, prompt: Prompt, models: TaskModels) -> Solution:
    """What `solve` gives, where that can stand in a run's tables. Raises TypeError where it cannot."""
    coming: Any = strategy.solve(prompt, models)
    if not inspect.isawaitable(coming):
        raise TypeError(f"solve gave {_shown(coming)} and no coroutine: it must be `async def solve`")
    solution: object = await coming
    if not isinstance(solution, Solution):
        raise TypeError(f"solve gave {_shown(solution)} and not a Solution")
    for problem in _unfit(solution):
        raise TypeError(f"solve gave a Solution that no table can hold: {problem}")
    return solution


def _unfit(solution: Solution) -> Iterator[str]:
    """What of a solution has a type or a size that its column does not take: one such value would stop the writer of all."""
    if not isinstance(solution.answer, str | None):
        yield f"answer = {_shown(solution.answer)}, which is not a text"
    if not _whole((solution.generations,), 0, _INT32):
        yield f"generations = {_shown(solution.generations)}"
    if not _whole((solution.kept_tokens,), 0, _INT64):
        yield f"kept_tokens = {_shown(solution.kept_tokens)}"
    if not isinstance(solution.candidates, tuple | list):
        yield f"candidates = {_shown(solution.candidates)}"
        return
    if not all(isinstance(decided, Decision) for decided in solution.decisions):
        yield f"decisions = {_shown(solution.decisions)}"
    if not _whole(tuple(solution.probes), 0, _INT32):
        yield f"probes = {_shown(solution.probes)}"
    for place, one in enumerate(solution.candidates):
        if not isinstance(one, Candidate):
            yield f"candidate {place} is {_shown(one)}"
            return
        for name in ("index", "parent", "depth"):
            if not _whole((getattr(one, name),), -1, _INT32):
                yield f"candidate {place} has {name} = {_shown(getattr(one, name))}"
        for name in ("token_ids", "step_ends"):
            # What is no tuple cannot be looked up.
            if not isinstance(getattr(one, name), tuple) or not _whole(getattr(one, name), 0, _INT32):
                yield f"candidate {place} has {name} that are not all whole numbers"
        for name in ("logprobs", "scores"):
            if not all(_real(number) for number in getattr(one, name)):
                yield f"candidate {place} has {name} that are not all numbers"
        if one.finish not in get_args(Finish):
            yield f"candidate {place} has finish = {_shown(one.finish)}"
        if not isinstance(one.answer, str | None):
            yield f"candidate {place} has answer = {_shown(one.answer)}, which is not a text"
        if not isinstance(one.kept, bool):
            yield f"candidate {place} has kept = {_shown(one.kept)}"


def _whole(numbers: Sequence[Any], least: int, below: int) -> bool:
    """Whether all are plain whole numbers within bounds: numpy's own cannot be written."""
    return set(map(type, numbers)) <= {int} and all(least <= number < below for number in numbers)


def _real(number: object) -> bool:
    """Whether a column of 32-bit numbers takes it: whole ones only as far as they are exact there."""
    return isinstance(number, float) or (isinstance(number, int) and abs(number) <= 1 << 24)


def _shown(value: object) -> str:
    """A value for people, with its type."""
    try:
        text = repr(value)
    except Exception:
        text = "?"
    return f"{type(value).__name__} {text if len(text) <= 60 else text[:57] + '...'}"


def _met(error: BaseException, kind: type[E]) -> E | None:
    """The first exception of a kind among an exception, those it stands for and those it was raised from."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, kind):
            return one
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
    return None


def _only_purse(error: BaseException) -> bool:
    """Whether it is an empty purse, met by each of several that ran together."""
    if isinstance(error, BaseExceptionGroup):
        return all(_only_purse(one) for one in error.exceptions)
    return isinstance(error, PurseEmpty)


def _outcome(
    key: str,
    strategy: Strategy,
    bench: TaskBench,
    task: Task,
    solution: Solution | None,
    meter: Meter,
    seconds: float,
) -> Outcome:
    decisions = () if solution is None else tuple(solution.decisions)
    # Without a candidate, one that goes by a price says that it was worth none.
    nothing = solution is None or (bool(decisions) and not solution.candidates)
    reason = NOT_ALL if meter.refused else ""
    if nothing:
        reason = NO_CANDIDATE if bench.terms is None else unpaid_at(bench.terms.price)
    ended = [] if solution is None else [one for one in solution.candidates if one.finish != "stop"]
    return Outcome(
        key=key,
        problem_id=task.prompt.id,
        strategy=strategy.text,
        seed=task.seed,
        state="unaffordable" if nothing else "answered",
        reason=reason,
        answer=None if solution is None else solution.answer,
        generations=0 if solution is None else solution.generations,
        truncated=0 if solution is None else sum(c.finish == "length" for c in solution.candidates),
        kept_tokens=0 if solution is None else solution.kept_tokens,
        spent=meter.spent,
        attributed=Cost() if nothing else meter.attributed,
        wall_seconds=seconds,
        ended=len(ended),
        unreadable=sum(one.answer is None for one in ended),
        single_step=sum(len(one.step_ends) < 2 for one in ended) if meter.stepwise else 0,
        decisions=decisions,
    )
