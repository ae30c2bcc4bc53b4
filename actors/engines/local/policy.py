"""The local engine: continuous batching over slots, on CPU or CUDA, small enough to read in one sitting.

Requests wait in a queue; each step admits as many as there are free rows, and memory for at their longest (their cached
prefixes copied in, what is missing prefilled), then draws one token for every running row. A finished row is refilled at the
next step, never waited for. The model runs on one thread of its own, so that the event loop stays free. Between two steps it
asks whether the next token of each request is paid, and waits until it is; it knows nothing else of budgets, and nothing of
strategies. Invariant: rows [0, n) run, and row i's keys cover all its tokens but the last, which the next step feeds.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from actors.engines.base import (
    Aborted,
    EngineCounters,
    EngineError,
    EngineInfo,
    GenerateRequest,
    Generation,
)
from actors.engines.local.decoder import Decoder, load_decoder
from actors.engines.local.kv import PrefixCache
from actors.engines.local.room import IDLE_S, ROW_BYTES, Room
from actors.engines.local.sampling import certainties, draw, uniforms
from actors.engines.model_config import engine_info
from actors.engines.plan import PREFIX_BYTES
from actors.engines.text_ends import TextEnds

PREFILL_TOKENS = 4096
"""Padded tokens of one prefill pass: enough to fill the matrix units, small against a step's memory."""

PREFILL_PAIRS = 1 << 23
"""Pairs of new and earlier tokens of one prefill pass: of each a mask has a number. Longer prompts go in pieces."""


class _Job:
    """A request, its future, and what it has so far."""

    __slots__ = (
        "admitted", "cancelled", "certainties", "drawn", "future", "logprobs", "most", "prefilled", "request", "tokens",
        "told",
    )  # fmt: skip

    def __init__(self, request: GenerateRequest, future: asyncio.Future[Generation]) -> None:
        self.request, self.future = request, future
        # Positions that it comes to fill: the last token drawn is never read.
        self.most = len(request.token_ids) + request.max_tokens - 1
        self.admitted = self.cancelled = False
        self.prefilled = 0
        self.drawn = uniforms(request.seed, request.max_tokens) if request.temperature else None
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.certainties: list[float] = []
        self.told: tuple[float, ...] = ()


class LocalEngine:
    """A policy engine over a model folder as transformers writes it. With `resumes`, what is to `extend` may be gone on with
    however it ended, and not only where a step did."""

    def __init__(
        self,
        decoder: Decoder,
        info: EngineInfo,
        *,
        device: torch.device,
        max_sequences: int = 256,
        prefix_bytes: int = PREFIX_BYTES,
        room: Room | None = None,
        resumes: bool = False,
    ) -> None:
        self._decoder, self._info, self._device = decoder, info, device
        self._resumes = resumes
        # Rows that there may be at all, and those that memory has room for.
        self._slots = self._fitting = max_sequences
        # Positions that the longest of the rows that run comes to fill.
        self._longest = 0
        self._cache = decoder.new_cache(max_sequences)
        self._prefixes, self._prefix_bytes = PrefixCache(prefix_bytes), prefix_bytes
        self._room = room or Room(device)
        # By priority, then in the order of asking.
        self._waiting: list[tuple[int, int, _Job]] = []
        self._asked = 0
        self._running: list[_Job] = []
        # Those that left the queue last: some may not run yet.
        self._entering: list[_Job] = []
        # Per-row state of the running rows, in the order of `_running`.
        self._last = np.zeros(max_sequences, dtype=np.int64)
        self._length = np.zeros(max_sequences, dtype=np.int64)
        self._most = np.zeros(max_sequences, dtype=np.int64)
        self._drawn = np.zeros(max_sequences, dtype=np.int64)
        self._temperature = np.ones(max_sequences, dtype=np.float32)
        self._top_p = np.ones(max_sequences, dtype=np.float32)
        self._stop_row = np.zeros(max_sequences, dtype=np.int64)
        self._stop_sets: dict[tuple[int, ...], int] = {}
        self._stops = np.zeros((0, info.vocabulary), dtype=np.bool_)
        # Texts that some requests are watched for, and by row whether and in which state; see `text_ends`.
        self._texts: list[TextEnds] = []
        self._watched = np.zeros((0, max_sequences), dtype=np.bool_)
        self._state = np.zeros((0, max_sequences), dtype=np.int64)
        self._eos = np.zeros(info.vocabulary, dtype=np.bool_)
        self._eos[list(info.eos_ids)] = True
        self._tokens_out = self._tokens_computed = self._ended = self._cut_off = 0
        self._busy = 0.0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._loop_task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        max_sequences: int = 256,
        prefix_bytes: int = PREFIX_BYTES,
        room: Room | None = None,
    ) -> LocalEngine:
        """Load a model folder (config.json, safetensors). Raises UserError where it cannot be read."""
        where = torch.device(device)
        decoder, config = load_decoder(folder, dtype=dtype, device=where)
        info = engine_info(
            folder,
            config,
            engine="local",
            dtype=str(dtype).removeprefix("torch."),
            context=decoder.context,
        )
        return cls(
            decoder, info, device=where, max_sequences=max_sequences, prefix_bytes=prefix_bytes, room=room
        )

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def slots(self) -> int:
        return self._fitting

    @property
    def paced(self) -> bool:
        return True

    def counters(self) -> EngineCounters:
        return EngineCounters(
            self._tokens_out,
            self._tokens_computed,
            self._busy,
            len(self._running) + len(self._waiting),
            ended=self._ended,
            cut_off=self._cut_off,
        )

    async def generate(self, request: GenerateRequest) -> Generation:
        request.check(self._info.context)
        job = _Job(request, asyncio.get_running_loop().create_future())
        if request.pace is not None:
            request.pace.call(self._wake.set)
        self._asked += 1
        heapq.heappush(self._waiting, (request.priority, self._asked, job))
        if self._loop_task is None or self._loop_task.done():
            self._loop_task = asyncio.create_task(self._loop())
        self._wake.set()
        try:
            return await job.future
        except asyncio.CancelledError:
            job.cancelled = True
            # Others may wait for what it was not paid.
            self._wake.set()
            # A step may be under way: it computes the context and draws one token more, at most.
            context = len(request.token_ids) - 1
            most = min(len(job.tokens) + 1, request.max_tokens)
            raise Aborted(most if job.admitted else 0, context if job.admitted else 0) from None

    async def close(self) -> None:
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
        self._thread.shutdown()

    async def _loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting and not self._running:
                self._wake.clear()
                rest = loop.call_later(IDLE_S, self._thread.submit, self._cache.clear)
                try:
                    await self._wake.wait()
                finally:
                    rest.cancel()
            while not self._paid():
                self._wake.clear()
                await self._wake.wait()
            try:
                finished = await loop.run_in_executor(self._thread, self._step)
            except Exception as error:
                # The batch's state is unknown after a failed step: every request in it fails, none hangs.
                for job in [*self._running, *self._entering, *(job for _, _, job in self._waiting)]:
                    if not job.future.done():
                        job.future.set_exception(EngineError(f"engine step failed: {error!r}"))
                self._running.clear()
                self._entering.clear()
                self._waiting.clear()
                continue
            for job in self._running:
                if job.request.pace is not None:
                    job.request.pace.drew()
            for job, generation in finished:
                if not job.future.done():
                    job.future.set_result(generation)

    def _paid(self) -> bool:
        """Whether the next step may be made; those that wait may be in it."""
        jobs = [*self._running, *(job for _, _, job in self._waiting)]
        return all(job.cancelled or job.request.pace is None or job.request.pace.paid for job in jobs)

    @torch.inference_mode()
    def _step(self) -> list[tuple[_Job, Generation]]:
        started = time.perf_counter()
        for row in [i for i, job in enumerate(self._running) if job.cancelled][::-1]:
            self._release(row)
        if self._waiting:
            self._admit()
        finished = self._decode() if self._running else []
        running = len(self._running)
        self._cache.settle(running, int(self._length[:running].max(initial=0)))
        self._busy += time.perf_counter() - started
        return finished

    # Admission

    def _next(self) -> list[_Job]:
        """The waiting requests that get a row each. Every row may grow as long as the longest, for all are as wide as it is;
        a request that is alone always has room."""
        rows, jobs = len(self._running), list[_Job]()
        self._entering = jobs
        self._longest = int(self._most[:rows].max(initial=0))
        now = int(self._length[:rows].max(initial=0))
        room = self._row_bytes()
        while self._waiting and rows < self._slots:
            place = heapq.heappop(self._waiting)
            job = place[2]
            self._fitting = self._fit(room, max(self._longest, job.most))
            if rows >= self._fitting and rows and not job.cancelled:
                heapq.heappush(self._waiting, place)
                break
            # In this order: whoever cancels sees that it was admitted, or is seen here.
            job.admitted = True
            if not job.cancelled:
                jobs.append(job)
                rows += 1
                self._longest = max(self._longest, job.most)
                now = max(now, len(job.request.token_ids))
        # No row that stands empty may cost those the room who run.
        self._cache.reserve(rows, now, self._fit(room, self._longest))
        return jobs

    def _fit(self, room: int, positions: int) -> int:
        """How many rows of so many positions have room in so many bytes, one at least, with what is drawn from them."""
        row = self._cache.row_bytes(positions) + ROW_BYTES * self._info.vocabulary
        return max(1, min(self._slots, room // row))

    def _row_bytes(self) -> int:
        """Bytes that rows may take, with what is drawn from them; stored prefixes have a part of the memory too."""
        whole = self._room.bytes_for(self._cache.nbytes + self._prefixes.nbytes)
        kept = min(self._prefix_bytes, whole // 4)
        self._prefixes.bound(kept)
        return whole - kept

    def _admit(self) -> None:
        """Give free rows to waiting requests; compute what no stored prefix covers, each distinct context once."""
        jobs = self._next()
        known: list[tuple[_Job, Tensor | None, int]] = []
        leaders: dict[tuple[int, ...], tuple[_Job, Tensor | None, int]] = {}
        followers: list[_Job] = []
        for job in jobs:
            past = job.request.token_ids[:-1]
            if past in leaders:
                followers.append(job)
                continue
            kv, length = self._prefixes.find(past)
            if length == len(past):
                known.append((job, kv, length))
            else:
                leaders[past] = (job, kv, length)
        for job, kv, length in known:
            row = self._start(job)
            if kv is not None:
                self._cache.load(row, kv, length)
        ordered = sorted(leaders.values(), key=lambda item: len(item[0].request.token_ids) - item[2])
        while ordered:
            batch: list[tuple[_Job, Tensor | None, int]] = []
            begun = 0
            while ordered:
                width = len(ordered[0][0].request.token_ids) - 1 - ordered[0][2]
                begun = max(begun, ordered[0][2])
                # Padding takes no more room than rows will.
                if batch and ((len(batch) + 1) * width > PREFILL_TOKENS or begun + width > self._longest):
                    break
                batch.append(ordered.pop(0))
            self._prefill(batch)
        for job in followers:
            past = job.request.token_ids[:-1]
            row = self._start(job)
            self._cache.move(self._running.index(leaders[past][0]), row, len(past))

    def _prefill(self, batch: list[tuple[_Job, Tensor | None, int]]) -> None:
        first = len(self._running)
        width = max(len(job.request.token_ids) - 1 - length for job, _, length in batch)
        tokens = torch.zeros((len(batch), width), dtype=torch.long)
        starts = [length for _, _, length in batch]
        for i, (job, kv, length) in enumerate(batch):
            row = self._start(job)
            if kv is not None:
                self._cache.load(row, kv, length)
            new = job.request.token_ids[length:-1]
            tokens[i, : len(new)] = torch.tensor(new)
            job.prefilled = len(new)
            self._tokens_computed += len(new)
        tokens, begun = tokens.to(self._device), torch.tensor(starts, device=self._device)
        piece = max(1, PREFILL_PAIRS // (len(batch) * (max(starts) + width)))
        for place in range(0, width, piece):
            part = tokens[:, place : place + piece]
            longest = max(starts) + place + part.shape[1]
            self._decoder.forward(part, begun + place, self._cache, first, longest)
        for i, (job, _, _) in enumerate(batch):
            past = job.request.token_ids[:-1]
            self._prefixes.put(past, self._cache.store(first + i, len(past)))

    def _start(self, job: _Job) -> int:
        row = len(self._running)
        self._running.append(job)
        request = job.request
        self._last[row] = request.token_ids[-1]
        self._length[row], self._most[row] = len(request.token_ids), job.most
        self._drawn[row] = 0
        self._temperature[row], self._top_p[row] = request.temperature, request.top_p
        stop = self._stop_sets.get(request.stop_ids)
        if stop is None:
            stop = self._stop_sets[request.stop_ids] = len(self._stops)
            table = self._eos.copy()
            table[list(request.stop_ids)] = True
            self._stops = np.concatenate([self._stops, table[None]])
        self._stop_row[row] = stop
        self._watched[:, row], self._state[:, row] = False, 0
        for watch in request.watches:
            place = self._place(watch.texts)
            self._watched[place, row], self._state[place, row] = True, watch.state
        return row

    def _place(self, texts: TextEnds) -> int:
        """Where the state of these texts stands; a new place where they are new."""
        for place, known in enumerate(self._texts):
            if known is texts:
                return place
        self._texts.append(texts)
        self._watched = np.concatenate([self._watched, np.zeros((1, self._slots), dtype=np.bool_)])
        self._state = np.concatenate([self._state, np.zeros((1, self._slots), dtype=np.int64)])
        return len(self._texts) - 1

    # Decoding

    def _decode(self) -> list[tuple[_Job, Generation]]:
        n = len(self._running)
        tokens = torch.from_numpy(self._last[:n, None]).to(self._device)
        starts = torch.from_numpy(self._length[:n] - 1).to(self._device)
        hidden = self._decoder.forward(tokens, starts, self._cache, 0, int(self._length[:n].max()))
        uniform = np.fromiter(
            (0.0 if job.drawn is None else job.drawn[len(job.tokens)] for job in self._running), np.float64, n
        )
        logits = self._decoder.logits(hidden[:, 0])
        for row, job in enumerate(self._running):
            if job.request.asked and not job.tokens:
                job.told = tuple(torch.log_softmax(logits[row], dim=-1)[list(job.request.asked)].tolist())
        drawn, logprobs = draw(
            logits,
            torch.from_numpy(self._temperature[:n]).to(self._device),
            torch.from_numpy(self._top_p[:n]).to(self._device),
            torch.from_numpy(uniform).to(self._device),
        )
        if any(job.request.certainty for job in self._running):
            for job, certainty in zip(self._running, certainties(logits).tolist(), strict=True):
                job.certainties.append(certainty)
        new = drawn.cpu().numpy()
        self._last[:n] = new
        self._length[:n] += 1
        self._tokens_out += n
        self._tokens_computed += n
        for job, token, logprob in zip(self._running, new.tolist(), logprobs.tolist(), strict=True):
            job.tokens.append(token)
            job.logprobs.append(logprob)
        self._drawn[:n] += 1
        limit = np.fromiter((job.request.max_tokens for job in self._running), np.int64, n)
        done = self._stops[self._stop_row[:n], new] | (self._drawn[:n] >= limit)
        for texts, watched, state in zip(self._texts, self._watched, self._state, strict=True):
            # All rows at once, for that costs less than to choose; only those that are watched can end.
            kinds = texts.kinds[new]
            done |= texts.hit[state[:n], kinds] & watched[:n]
            state[:n] = texts.after[state[:n], kinds]
        finished = []
        for row in np.flatnonzero(done)[::-1].tolist():
            job = self._running[row]
            finished.append((job, self._result(job, row)))
            self._release(row)
        finished.reverse()
        return finished

    def _result(self, job: _Job, row: int) -> Generation:
        finish = job.request.finish_of(job.tokens, self._info.eos_ids)
        if job.request.extend and (finish == "stop" or self._resumes):
            ids = job.request.token_ids + tuple(job.tokens[:-1])
            self._prefixes.put(ids, self._cache.store(row, len(ids)))
        self._ended += finish != "stop"
        self._cut_off += finish == "length"
        logprobs = tuple(job.logprobs) if job.request.likelihoods else ()
        certain = tuple(job.certainties) if job.request.certainty else ()
        return Generation(
            tuple(job.tokens), logprobs, finish, job.prefilled, told=job.told, certainties=certain
        )

    def _release(self, row: int) -> None:
        """Free a row: the last running row takes its place, so that running rows stay together."""
        last = len(self._running) - 1
        if row != last:
            self._cache.move(last, row, int(self._length[last]) - 1)
            self._running[row] = self._running[last]
            for state in (
                self._last, self._length, self._most, self._drawn, self._temperature, self._top_p, self._stop_row
            ):  # fmt: skip
                state[row] = state[last]
            self._watched[:, row], self._state[:, row] = self._watched[:, last], self._state[:, last]
        self._running.pop()
