"""Scores from verifiers elsewhere: calls gathered, sent home, lost with dead verifiers, and never turned into numbers.

Each task has an order of its own in which it asks the verifiers: the first that is up is its home, where its prefixes are
cached. It knows verifiers by a small protocol and nothing of Ray or of budgets. Invariant: every request ends with scores,
with `CallLost` (the call may have cost all of its worst case; ask again) or with an error of its own.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from actors.engines.base import ScoreRequest, Scores
from actors.replicas.peers import CallLost, Peer, Peers, rendezvous

SCORES_GATHER_S = 0.003
"""How long a request waits for others to travel with."""

TOGETHER = 16
"""Most requests that travel as one call: none is answered before its last one is scored, and the policy has nothing to do."""

VERIFIER_TIMEOUT_S = 120.0
"""Seconds of a verifier's own time without an answer, nor a token computed, after which a call is lost and the verifier is
started anew."""

SUSPECT = 2
"""Calls lost with a request in them after which it is sent alone: it may be what kills verifiers."""


SCORE_TRIES = 3
"""Times that a score is asked for which the verifier does not give, or gives no number for, before its strategies fail."""


class ScoreError(RuntimeError):
    """The verifier answered that it has no score for this request, or what it gave is none."""


class VerifierLink(Peer, Protocol):
    """A verifier replica as its callers see it."""

    async def score(self, requests: list[ScoreRequest]) -> list[Scores | str]:
        """Scores of each request, or what is wrong with it; raises where the call was lost."""


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
        self._peers = Peers("verifier", links, deadline)
        self._losses: dict[ScoreRequest, int] = {}
        # verifier -> what travels there next
        self._waiting: dict[int, list[_Waiting]] = {}
        self.outstanding = 0
        self._senders: set[asyncio.Task[None]] = set()

    def of(self, key: str) -> TaskScorer:
        """The scorer of one task. Tasks of one key have one home: what they share is computed once."""
        return TaskScorer(self, rendezvous(key, len(self._links)))

    async def score(self, request: ScoreRequest, order: tuple[int, ...]) -> Scores:
        """Ask the first verifier of `order` that is up. Raises CallLost, ServiceLost where none is left, ScoreError for a
        request that the verifier cannot score, and RuntimeError for one that verifiers were lost with again and again."""
        self.outstanding += 1
        try:
            while True:
                try:
                    return await self._gathered(await self._peers.up(order), request)
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
        if not self._peers.is_up(number):
            for _, future in batch:
                if not future.done():
                    future.set_exception(_Moved())
            return
        scoring = self._links[number].score([request for request, _ in batch])
        try:
            answers = await self._peers.answer(number, scoring)
        except Exception as error:
            self._lose(batch, error)
            return
        self._answer(batch, answers)

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
