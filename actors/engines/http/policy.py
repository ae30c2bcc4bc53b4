"""The policy behind an address: every sample a request of its own to a server's completions, token ids in and out.

Answers are read as they are drawn, so that it is known what one took that is cancelled, and which server is silent. It knows
nothing of strategies or budgets. Invariant: each request ends with its tokens, with `Aborted` and what it drew at most, with
`AnswerLost` where its answer was on its way and did not come, or with `EngineError` where the server is gone or answers what
it was not asked.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import cast

import httpx2

from actors.engines.base import (
    Aborted,
    AnswerLost,
    EngineCounters,
    EngineError,
    EngineInfo,
    GenerateRequest,
    Generation,
)
from actors.engines.busy import Busy
from actors.engines.http.gate import Gate
from actors.engines.http.greeting import CONNECT_S, EVENT_BYTES, Served, greet, headers, words
from actors.engines.http.protocol import (
    INTERVAL,
    Answer,
    NonsenseError,
    ServerFailed,
    body,
    ends_by_id,
    error_text,
    looks,
)
from actors.engines.model_config import engine_info, read_config
from actors.engines.plan import ModelPlan, Server
from actors.errors import UserError

REFUSED_S = 120.0
"""Seconds that a server may refuse a request, with nothing computed for it: a new one may be coming up behind the address."""

PAUSE_S = 0.25
"""Seconds before a request that was refused is made again; twice as many before each further time."""

LONGEST_PAUSE_S = 15.0

LOST_IN_A_ROW = 16
"""Times in a row that answers may be lost, none coming between, before the server counts as gone. What was in flight together
is lost once."""

STEPS_AHEAD = 4
"""Steps that a server may be ahead of what it has sent."""

IDLE_S = 2.0
"""Seconds that a connection is kept for the next request: servers close idle ones after five, maybe as one is on its way."""

_Events = AsyncGenerator[httpx2.ServerSentEvent, None]

_BUSY = (429, 503)
_REFUSES_REQUEST = (400, 413, 422)


class _Refused(Exception):
    """The server did not take the request; nothing was computed. `after`: the seconds that it asks to wait."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


@dataclass(slots=True)
class _Asked:
    """A request and its answer so far; nothing is `sent` while it waits its turn. `last`: when its last piece came;
    `turn`: how often losses had been counted, or forgotten, when it was sent."""

    request: GenerateRequest
    ends: Sequence[int]
    answer: Answer
    sent: bool = False
    last: float = field(default_factory=time.perf_counter)
    turn: int = 0

    @property
    def came(self) -> int:
        return len(self.answer.tokens) + self.answer.over


class HttpPolicy:
    """A policy engine over a server that has the model of a folder."""

    def __init__(
        self,
        server: Server,
        served: Served,
        info: EngineInfo,
        *,
        max_sequences: int = 256,
        seeded: bool = True,
    ) -> None:
        self._server, self._served, self._info, self._seeded = server, served, info, seeded
        self._gate = Gate(max_sequences)
        # Clients at rest, of one connection each: the pool of one client looks through all of its own at each request.
        self._resting: list[httpx2.AsyncClient] = []
        self._trust: ssl.SSLContext | None = None
        self._busy = Busy()
        # Seconds a token of one answer: a mean of the last ones.
        self._pace = 0.0
        self._tokens_out = self._tokens_computed = self._ended = self._cut_off = 0
        self._lost = self._turn = 0

    @classmethod
    def load(cls, plan: ModelPlan) -> HttpPolicy:
        """Greet the server of a plan. UserError, and ConnectionError where it may come yet, as in `greet`."""
        server = plan.server
        if server is None:
            raise UserError.of("policy.url", None, "policy.engine=http asks a server: give its address")
        config = read_config(plan.path)
        # Where a model reads images too, its text has a config of its own.
        text = config.get_text_config()
        own = getattr(text, "max_position_embeddings", None)
        served = greet(server, plan.path, int(text.vocab_size), own)
        context = served.context or own
        if context is None:
            mend = "neither its config.json (max_position_embeddings) nor the server tells its context: write it there"
            raise UserError.of("policy.path", str(plan.path), mend)
        info = engine_info(plan.path, config, engine="http", dtype=plan.dtype, context=int(context))
        return cls(server, served, info, max_sequences=plan.share.max_sequences, seeded=plan.seeded)

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def slots(self) -> int:
        return self._gate.places

    @property
    def paced(self) -> bool:
        """A server waits for nobody between its steps."""
        return False

    def counters(self) -> EngineCounters:
        return EngineCounters(
            self._tokens_out,
            self._tokens_computed,
            self._busy.seconds,
            self._busy.running,
            ended=self._ended,
            cut_off=self._cut_off,
        )

    async def generate(self, request: GenerateRequest) -> Generation:
        request.check(self._info.context)
        ends = ends_by_id(request, self._info.eos_ids)
        asked = _Asked(request, ends, Answer(request, ends, self._info.vocabulary))
        with self._busy:
            try:
                async with self._gate.entered(request.priority):
                    await self._insist(asked)
            except asyncio.CancelledError:
                raise self._aborted(asked) from None
        return self._generation(asked)

    async def close(self) -> None:
        while self._resting:
            await self._resting.pop().aclose()

    async def _insist(self, asked: _Asked) -> None:
        """Have a request answered, asking again as long as the server does not take it."""
        waited, pause = 0.0, PAUSE_S
        if self._lost:
            await asyncio.sleep(min(PAUSE_S * 2 ** min(self._lost, 8), LONGEST_PAUSE_S))
        while True:
            try:
                await self._ask(asked)
                if self._lost:
                    self._lost, self._turn = 0, self._turn + 1
                return
            except _Refused as refused:
                asked.sent = False
                pause = max(pause, refused.after)
                if waited + pause > REFUSED_S:
                    why = f"{self._server.url} has taken no request for {waited:.0f} s: {refused}"
                    raise EngineError(why) from None
                await asyncio.sleep(pause)
                waited, pause = waited + pause, min(2 * pause, LONGEST_PAUSE_S)

    async def _ask(self, asked: _Asked) -> None:
        """Make a request once, and read its answer as far as it counts."""
        request = asked.request
        answer = asked.answer = Answer(request, asked.ends, self._info.vocabulary)
        words_of = body(request, self._served.model, asked.ends, seeded=self._seeded)
        client = self._resting.pop() if self._resting else self._new_client()
        asked.sent, asked.last, asked.turn = True, time.perf_counter(), self._turn
        try:
            async with client.stream("POST", f"{self._server.url}/completions", json=words_of) as response:
                await self._check_status(response)
                told = cast(_Events, aiter(httpx2.EventSource(response, EVENT_BYTES)))
                async with aclosing(told) as events:
                    async for event in events:
                        before = asked.came
                        answer.add(event.data)
                        self._see(asked, asked.came - before)
                        # One that is done is read to its end, so that its connection serves another.
                        if answer.seen:
                            break
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise _Refused(words(error)) from error
        except (NonsenseError, httpx2.SSEError) as error:
            raise EngineError(f"{self._server.url} does not answer what it is asked: {error}") from error
        except (ServerFailed, httpx2.RequestError) as error:
            if not answer.done:
                raise self._lose(asked, words(error)) from error
        finally:
            self._resting.append(client)
        if not (answer.seen or answer.done):
            raise self._lose(asked, "its connection was closed within an answer")
        if answer.read is None or tuple(answer.read) != request.token_ids:
            raise EngineError(f"{self._server.url} read other token ids than it was sent")

    def _new_client(self) -> httpx2.AsyncClient:
        if self._trust is None:
            # Read from files, so once for all.
            self._trust = httpx2.create_ssl_context()
        return httpx2.AsyncClient(
            headers=headers(self._server),
            verify=self._trust,
            timeout=httpx2.Timeout(self._server.timeout, connect=CONNECT_S),
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=IDLE_S),
        )

    async def _check_status(self, response: httpx2.Response) -> None:
        """Raise for an answer that is none."""
        code = response.status_code
        if code == 200:
            return
        await response.aread()
        try:
            told = error_text(response.json())
        except ValueError:
            told = " ".join(response.text.split())[:300]
        said = f"{code} {response.reason_phrase}: {told}"
        if code in _BUSY:
            after = response.headers.get("Retry-After", "")
            raise _Refused(said, float(after) if after.isdecimal() else 0.0)
        if code >= 500:
            raise ServerFailed(said)
        if code in _REFUSES_REQUEST:
            raise ValueError(f"{self._server.url}: {said}")
        raise EngineError(f"{self._server.url}: {said}")

    def _lose(self, asked: _Asked, why: str) -> Exception:
        # Others that were in flight with it are lost by the same trouble, which counts once.
        if asked.turn == self._turn:
            self._lost, self._turn = self._lost + 1, self._turn + 1
        if self._lost > LOST_IN_A_ROW:
            return EngineError(
                f"{self._server.url} has lost answers {self._lost} times in a row, last: {why}"
            )
        return AnswerLost(f"{self._server.url}: {why}")

    def _see(self, asked: _Asked, new: int) -> None:
        now = time.perf_counter()
        if new and asked.came > new:
            # From its second piece on: before the first it waited, and its context was computed.
            self._pace += ((now - asked.last) / new - self._pace) / (8 if self._pace else 1)
        if new:
            asked.last = now
        self._tokens_out += new
        self._tokens_computed += new

    def _ahead(self, since: float, gathered: int) -> int:
        """Tokens that may have been drawn beyond those that came, the last of them at that time."""
        silent = time.perf_counter() - since + self._served.round_trip
        return gathered - 1 + STEPS_AHEAD + (math.ceil(silent / self._pace) if self._pace else 0)

    def _aborted(self, asked: _Asked) -> Aborted:
        request = asked.request
        if not asked.sent:
            return Aborted(0, 0)
        context, most = len(request.token_ids) - 1, request.max_tokens
        if not self._pace:
            # Nobody can say yet how fast it draws.
            return Aborted(most, context)
        ahead = self._ahead(asked.last, 1 if looks(request) else INTERVAL)
        return Aborted(min(asked.came + ahead, most), context)

    def _generation(self, asked: _Asked) -> Generation:
        request, answer = asked.request, asked.answer
        tokens = tuple(answer.tokens)
        finish = request.finish_of(tokens, self._info.eos_ids)
        beyond = 0
        if answer.seen:
            # The server drew on until it was told.
            ahead = answer.over + self._ahead(time.perf_counter(), 1)
            beyond = min(ahead, request.max_tokens - len(tokens))
        # The last token of the context is computed with the first draw, and counted there.
        prefilled = max(0, len(request.token_ids) - 1 - (answer.cached or 0))
        self._tokens_computed += prefilled
        self._ended += finish != "stop"
        self._cut_off += finish == "length"
        return Generation(tokens, tuple(answer.logprobs), finish, prefilled, beyond)
