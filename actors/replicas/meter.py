"""What one strategy takes and waits for, and the requests that strategies share: made once, ended with the last who waits.

It knows no model. Invariant: no strategy's end takes an answer from another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from actors.ledger import Rank
from actors.replicas.bench import TaskBench
from actors.strategy import PurseEmpty
from actors.work import Cost

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class Meter:
    """What one strategy took: `spent` for real, `attributed` alone with an ideal cache of its own prefixes.

    `refused` says that the purse could not pay one of its requests: it answers with less than it wanted. `used` are the
    requests that it had an answer of, `waits` those it waits for. `stepwise` says that it drew steps one by one.
    """

    spent: Cost = field(default_factory=Cost)
    attributed: Cost = field(default_factory=Cost)
    refused: bool = False
    stepwise: bool = False
    used: set[asyncio.Future[Any]] = field(default_factory=set)
    waits: set[asyncio.Future[Any]] = field(default_factory=set)
    ended: bool = False

    def end(self) -> None:
        """Let the strategy wait for nothing more, and ask nothing more: what it left running would be drawn for nobody."""
        self.ended = True
        for wait in self.waits:
            wait.cancel()


@dataclass(slots=True)
class Turn:
    """Which candidate of its strategy a request is for, counted from 0: by that the purse serves who waits, and among equals
    by the strategies' order (`seat`).

    A draw is for the candidate after all that are whole or under way, so that of a round of a search the first draw is for
    the first candidate as long as there is none. A score is for the candidate after all that are scored.
    """

    seat: int = 0
    judged: bool = False
    whole: set[tuple[int, ...]] = field(default_factory=set)
    drawn: int = 0
    scored: int = 0
    drawing: int = 0
    scoring: int = 0

    def draw(self) -> Rank:
        return self.drawn + self.drawing, self.seat

    def score(self) -> Rank:
        return self.scored + self.scoring, self.seat

    def came(self, bench: TaskBench, solution: tuple[int, ...]) -> None:
        """A whole solution is there, which its strategy had not: what its first candidate still needs."""
        self.drawn += 1
        self.whole.add(solution)
        if not self.judged:
            bench.purse.need(self.seat, 0)
        elif self.drawn == 1 and not self.scored:
            # It is none before it is scored.
            bench.purse.need(self.seat, bench.judging(len(solution), len(bench.steps.last(solution).ends)))


async def once(
    bench: TaskBench,
    meter: Meter,
    book: dict[K, asyncio.Future[V]],
    key: K,
    make: Callable[[], Coroutine[None, None, V]],
) -> tuple[V, bool]:
    """Await what `make` gives, made by the first who asks for `key`; says too whether this strategy has it for the first
    time. One that failed may be asked for again; one that nobody waits for any more is stopped, whoever asked first."""
    bench.check_open()
    if meter.ended:
        raise RuntimeError("this strategy has ended")
    request = book.get(key)
    joined = request is not None
    if request is None:
        request = book[key] = asyncio.ensure_future(make())
        bench.running[request] = 0

        def forget(done: asyncio.Future[V]) -> None:
            del bench.running[done]
            if done.cancelled() or done.exception() is not None:
                _drop(book, key, done)

        request.add_done_callback(forget)
    wait = asyncio.shield(request)
    meter.waits.add(wait)
    if not request.done():
        bench.running[request] += 1
    try:
        value = await wait
    except PurseEmpty:
        if not joined:
            raise
        refused = True
    else:
        refused = False
    finally:
        meter.waits.discard(wait)
        if not request.done():
            bench.running[request] -= 1
            if not bench.running[request]:
                # At once: whoever asks before it has ended is to have one of its own.
                _drop(book, key, request)
                request.cancel()
    if refused:
        # It was refused at another's turn: at this one's it may be paid.
        return await once(bench, meter, book, key, make)
    first = request not in meter.used
    meter.used.add(request)
    return value, first


def _drop(book: dict[K, asyncio.Future[V]], key: K, request: asyncio.Future[V]) -> None:
    if book.get(key) is request:
        del book[key]
