"""Scores from verifiers elsewhere: calls gathered, sent home, lost with dead verifiers, and never turned into numbers.

Each task has an order of its own in which it asks the verifiers: the first that is up is its home, where its prefixes are
cached. It knows verifiers by a small protocol and nothing of Ray or of budgets. Invariant: every request ends with scores,
with `CallLost` (the call may have cost all of its worst case; ask again) or with an error of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Protocol

from actors.engines.base import ScoreRequest, Scores
from actors.errors import ServiceLost
from actors.messages import Pulse
from actors.scheduling.own_time import answer_of

SCORES_GATHER_S = 0.003
"""How long a request waits for others to travel with."""

TOGETHER = 16
"""Most requests that travel as one call: none is answered before its last one is scored, and the policy has nothing to do."""

VERIFIER_TIMEOUT_S = 120.0
"""Seconds of a verifier's own time without an answer, nor a token computed, after which a call is lost and the verifier is
started anew."""

READY_ASK_S = 60.0
"""Seconds after which a verifier that has not said that it is up is asked anew: its answer may be lost."""

KILLED_S = 0.1
"""How often a verifier that was killed is looked for: its channel of health may still answer for the process that hangs."""

SUSPECT = 2
"""Calls lost with a request in them after which it is sent alone: it may be what kills verifiers."""


SCORE_TRIES = 3
"""Times that a score is asked for which the verifier does not give, or gives no number for, before its strategies fail."""


class CallLost(Exception):
    """The verifier died or hung during this request's call."""


class ScoreError(RuntimeError):
    """The verifier answered that it has no score for this request, or what it gave is none."""


class VerifierGone(Exception):
    """This verifier will never answer again."""


class VerifierLink(Protocol):
    """A verifier replica as its callers see it."""

    async def ready(self) -> str:
        """Return the name of its process when it is up; VerifierGone if it never will be."""

    async def score(self, requests: list[ScoreRequest]) -> list[Scores | str]:
        """Scores of each request, or what is wrong with it; raises where the call was lost."""

    async def pulse(self) -> Pulse:
        """How its process is; answered whatever its work is at."""

    async def restart(self) -> None:
        """Kill the process, so that a fresh one takes its place."""


def rendezvous(key: str, verifiers: int) -> tuple[int, ...]:
    """The order in which what is known by `key` asks the verifiers 0 to `verifiers` - 1: by their hashes with it.

    Each is first for an equal share of keys. Where one is down, its keys go to all others alike, and no other key moves.
    """
    of_key = hashlib.blake2b(key.encode(), digest_size=8)

    def weight(verifier: int) -> bytes:
        both = of_key.copy()
        both.update(b"/%d" % verifier)
        return both.digest()

    return tuple(sorted(range(verifiers), key=weight))


class _Moved(Exception):
    """The verifier went down before the request was sent: another is asked, and nothing was lost."""


_Waiting = tuple[ScoreRequest, asyncio.Future[Scores]]


class RemoteScorer:
    """Scores for all tasks of a replica. Requests of a few milliseconds to the same verifier travel as one call."""

    def __init__(
        self,
        links: tuple[VerifierLink, ...],
        *,
        deadline: float = VERIFIER_TIMEOUT_S,
    ) -> None:
        self._links = links
        self._deadline = deadline
        # Who is down, with the task that waits until it is up again (or never will be).
        self._down: dict[int, asyncio.Task[None]] = {}
        self._gone: dict[int, str] = {}
        # Of each that was up, its process.
        self._process: dict[int, str] = {}
        self._losses: dict[ScoreRequest, int] = {}
        # verifier -> what travels there next
        self._waiting: dict[int, list[_Waiting]] = {}
        self._begun = False
        self.outstanding = 0
        self._senders: set[asyncio.Task[None]] = set()

    def of(self, key: str) -> TaskScorer:
        """The scorer of one task. Tasks of one key have one home: what they share is computed once."""
        return TaskScorer(self, rendezvous(key, len(self._links)))

    async def score(self, request: ScoreRequest, order: tuple[int, ...]) -> Scores:
        """Ask the first verifier of `order` that is up. Raises CallLost, ServiceLost where none is left, ScoreError for a
        request that the verifier cannot score, and RuntimeError for one that verifiers were lost with again and again."""
        if not self._begun:
            # One is up that has said so: others may still load, or wait for a machine.
            self._begun = True
            for number in range(len(self._links)):
                self._watch(number)
        self.outstanding += 1
        try:
            while True:
                try:
                    return await self._gathered(await self._up(order), request)
                except _Moved:
                    continue
        finally:
            self.outstanding -= 1

    def _gathered(self, number: int, request: ScoreRequest) -> asyncio.Future[Scores]:
        """What a verifier will answer to a request, which travels with others of the next milliseconds."""
        future: asyncio.Future[Scores] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(number, [])
        waiting.append((request, future))
        if len(waiting) == 1:
            sender = asyncio.create_task(self._send_soon(number))
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        return future

    async def _send_soon(self, number: int) -> None:
        await asyncio.sleep(SCORES_GATHER_S)
        batch = [item for item in self._waiting.pop(number) if not item[1].done()]
        try:
            await self._send_all(number, batch)
        except Exception as error:
            # Nobody may wait for ever, whatever failed here.
            self._lose(batch, error)

    async def _send_all(self, number: int, batch: list[_Waiting]) -> None:
        suspects, others = [], batch
        if self._losses:
            suspects = [item for item in batch if self._losses.get(item[0], 0) >= SUSPECT]
            others = [item for item in batch if self._losses.get(item[0], 0) < SUSPECT]
        parts = [others[first : first + TOGETHER] for first in range(0, len(others), TOGETHER)]
        await asyncio.gather(*(self._send(number, part) for part in parts))
        for one in suspects:
            await self._send(number, [one])

    async def _send(self, number: int, batch: list[_Waiting]) -> None:
        if number in self._down or number in self._gone:
            for _, future in batch:
                if not future.done():
                    future.set_exception(_Moved())
            return
        link = self._links[number]
        try:
            answers = await self._answers(link, [request for request, _ in batch])
        except Exception as error:
            known, hung = number in self._down, isinstance(error, TimeoutError)
            self._watch(number, self._process.get(number) if hung else None)
            self._lose(batch, error)
            if hung and not known:
                # Several calls run out together: one fresh process is enough.
                await link.restart()
            return
        self._answer(batch, answers)

    async def _answers(self, link: VerifierLink, requests: list[ScoreRequest]) -> list[Scores | str]:
        """Call a verifier; TimeoutError where it does not answer, nor compute anything, for `deadline` seconds of its own."""
        return await answer_of(
            link.score(requests),
            link.pulse,
            self._deadline,
            moves=lambda pulse: pulse.counters.tokens_computed,
        )

    async def _up(self, order: tuple[int, ...]) -> int:
        """The first verifier of an order that is up; waits while one is on its way, however long: it may be for a machine,
        and a start that comes to nothing ends itself (see `starting`). Raises ServiceLost where all are gone."""
        while True:
            for number in order:
                if number not in self._down and number not in self._gone:
                    return number
            if not self._down:
                why = next(iter(self._gone.values()), "there is none")
                raise ServiceLost(f"no verifier answers: {why}")
            await asyncio.wait(self._down.values(), return_when=asyncio.FIRST_COMPLETED)

    def _watch(self, number: int, hung: str | None = None) -> None:
        """Send nothing to a verifier before it is up again, by another process than one that `hung`."""
        if number not in self._down and number not in self._gone:
            self._down[number] = asyncio.create_task(self._comes_back(number, hung))

    async def _comes_back(self, number: int, hung: str | None) -> None:
        while True:
            try:
                process = await asyncio.wait_for(self._links[number].ready(), READY_ASK_S)
                if process != hung:
                    self._process[number] = process
                    break
                await asyncio.sleep(KILLED_S)
            except VerifierGone as gone:
                self._gone[number] = str(gone)
                break
            except Exception:
                # On its way up, or its machine is being replaced.
                await asyncio.sleep(0.5)
        del self._down[number]

    def _lose(self, batch: list[_Waiting], error: Exception) -> None:
        for request, future in batch:
            if future.done():
                self._losses.pop(request, None)
                continue
            losses = self._losses[request] = self._losses.get(request, 0) + 1
            if losses >= 2 * SUSPECT:
                del self._losses[request]
                why = f"{losses} verifiers were lost with this request, last: {error!r}"
                future.set_exception(RuntimeError(why[:400]))
            else:
                future.set_exception(CallLost(repr(error)[:400]))

    def _answer(self, batch: list[_Waiting], answers: list[Scores | str] | list[str]) -> None:
        for (request, future), answer in zip(batch, answers, strict=True):
            if self._losses:
                self._losses.pop(request, None)
            if future.done():
                continue
            if isinstance(answer, Scores):
                future.set_result(answer)
            else:
                future.set_exception(ScoreError(answer))


@dataclass(frozen=True, slots=True)
class TaskScorer:
    """The scorer of one task, which asks the verifiers in the task's `order`."""

    remote: RemoteScorer
    order: tuple[int, ...]

    async def score(self, request: ScoreRequest) -> Scores:
        return await self.remote.score(request, self.order)
