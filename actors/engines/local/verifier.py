"""The scoring engine: values of steps, computing only what no earlier request has computed.

Every step end that was scored is remembered by its exact token ids and the step ends before it, with its keys and values, its
running likelihood state and its value; a longer request starts from the longest such prefix. Requests that wait together
run as one ragged batch, each distinct prompt and each distinct solution once. It knows nothing of searches. Invariant: a step
keeps its first score, so that later batches never change it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from actors.engines.base import EngineCounters, EngineError, EngineInfo, ScoreRequest, Scores
from actors.engines.identity import tokenizer_hash
from actors.engines.local.decoder import Decoder, load_decoder
from actors.engines.local.heads import load_family
from actors.engines.local.room import IDLE_S, Room
from actors.engines.model_config import engine_info
from actors.engines.plan import PREFIX_BYTES
from actors.engines.verifiers.base import Head
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.engines.verifiers.value_head import STATE, ValueHead, likelihood_features

BATCH_TOKENS = 4096
"""Padded tokens of one pass."""

TABLE = 1 << 25
"""Entries of a table of likelihoods, tokens by vocabulary, that is made at once."""


_Key = tuple[tuple[int, ...], tuple[int, ...]]
"""All that a prefix's scores depend on: its token ids, and where its prompt and each of its steps end."""


@dataclass(slots=True)
class _Mark:
    """A prefix that ends where the prompt or a step ends: everything needed to go on from there.

    `cuts`: where the prompt ends, and each step since. `prompt` is the value of the prompt alone, where the head gives one.
    """

    kv: Tensor
    length: int
    cuts: tuple[int, ...]
    state: Tensor
    hidden: Tensor
    values: tuple[float, ...]
    prompt: float | None = None


_Piece = tuple[tuple[int, ...], int, _Mark | None, tuple[int, ...]]
"""What to compute: token ids, how many of them are cached, the mark of those, and the ends of the new steps."""


class _Marks:
    """Marks by their keys, least recently used out first beyond `max_bytes` of keys and values."""

    def __init__(self, max_bytes: int) -> None:
        self._max, self._bytes = max_bytes, 0
        self._marks: OrderedDict[_Key, _Mark] = OrderedDict()
        self._users: dict[int, int] = {}

    def get(self, key: _Key) -> _Mark | None:
        mark = self._marks.get(key)
        if mark is not None:
            self._marks.move_to_end(key)
        return mark

    def put(self, key: _Key, mark: _Mark) -> None:
        if key in self._marks:
            return
        self._marks[key] = mark
        self._count(mark.kv, +1)
        self._fit()

    @property
    def nbytes(self) -> int:
        return self._bytes

    def bound(self, max_bytes: int) -> None:
        """Keep to so many bytes from now on."""
        self._max = max_bytes
        self._fit()

    def _fit(self) -> None:
        while self._bytes > self._max and len(self._marks) > 1:
            _, old = self._marks.popitem(last=False)
            self._count(old.kv, -1)

    def _count(self, kv: Tensor, change: int) -> None:
        """Marks of one solution share one tensor, whose bytes count once."""
        users = self._users.get(id(kv), 0)
        size = kv.numel() * kv.element_size()
        if users == 0:
            self._bytes += size
        users += change
        if users == 0:
            self._bytes -= size
            del self._users[id(kv)]
        else:
            self._users[id(kv)] = users


def _key(request: ScoreRequest, steps: int) -> _Key:
    """Key of a request's first steps; of its prompt with none."""
    cuts = (request.prompt_length, *request.step_ends[:steps])
    return request.token_ids[: cuts[-1]], cuts


class ScoringEngine:
    """A verifier engine over a model folder with a value head, or the head of a public family."""

    def __init__(
        self,
        decoder: Decoder,
        head: Head,
        info: EngineInfo,
        *,
        device: torch.device,
        max_sequences: int = 128,
        prefix_bytes: int = PREFIX_BYTES,
        room: Room | None = None,
    ) -> None:
        self._decoder, self._head, self._info, self._device = decoder, head, info, device
        self._rows = max_sequences
        self._cache = decoder.new_cache(max_sequences)
        self._marks, self._mark_bytes = _Marks(prefix_bytes), prefix_bytes
        self._room = room or Room(device)
        # Marks of the batch in hand: it needs them to its end, whatever the bound on memory says.
        self._fresh: dict[_Key, _Mark] = {}
        self._waiting: list[tuple[ScoreRequest, asyncio.Future[Scores]]] = []
        self._tokens = self._steps = 0
        self._busy = 0.0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="scoring")
        self._loop_task: asyncio.Task[None] | None = None
        self._rest: asyncio.TimerHandle | None = None

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        max_sequences: int = 128,
        prefix_bytes: int = PREFIX_BYTES,
        room: Room | None = None,
        family: ChosenFamily | None = None,
    ) -> ScoringEngine:
        """Load a model folder with a value head, or of a public family, which is asked in its own tokens. Raises UserError
        where it cannot be read."""
        where = torch.device(device)
        kind = str(dtype).removeprefix("torch.")
        head: Head
        if family is None:
            head = ValueHead.load(folder).to(where)
            decoder, config = load_decoder(folder, dtype=dtype, device=where)
            info = engine_info(folder, config, engine="local", dtype=kind, context=decoder.context)
        else:
            head, decoder, config = load_family(family, dtype=dtype, device=where)
            info = engine_info(folder, config, engine="local", dtype=kind, context=decoder.context)
            hashes = family.identity(), tokenizer_hash(family.policy)
            info = replace(info, model_hash=hashes[0], tokenizer_hash=hashes[1])
        return cls(
            decoder,
            head,
            info,
            device=where,
            max_sequences=max_sequences,
            prefix_bytes=prefix_bytes,
            room=room,
        )

    @property
    def info(self) -> EngineInfo:
        return self._info

    def counters(self) -> EngineCounters:
        return EngineCounters(self._steps, self._tokens, self._busy, len(self._waiting))

    async def score(self, request: ScoreRequest) -> Scores:
        request.check(self._info.context)
        future: asyncio.Future[Scores] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        self._wake()
        if self._loop_task is None or self._loop_task.done():
            self._loop_task = asyncio.create_task(self._drain())
        return await future

    def _wake(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None

    async def close(self) -> None:
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
        self._wake()
        self._thread.shutdown()

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch = self._waiting
            try:
                batch = [item for item in self._take() if not item[1].cancelled()]
                requests = [request for request, _ in batch]
                results = await loop.run_in_executor(self._thread, self._score_all, requests)
            except Exception as error:
                if batch is self._waiting:
                    # None of them could be taken: all fail, none hangs.
                    self._waiting = []
                for _, future in batch:
                    if not future.done():
                        future.set_exception(EngineError(f"scoring failed: {error!r}"))
                continue
            for (_, future), scores in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(scores)
        self._wake()
        self._rest = loop.call_later(IDLE_S, self._thread.submit, self._cache.clear)

    def _take(self) -> list[tuple[ScoreRequest, asyncio.Future[Scores]]]:
        """The next of those that wait, one at least. They are bounded, so that whoever asks how it goes on sees it go on, and
        what they make is kept to their end."""
        room, count = self._row_bytes(), 0
        while count < min(self._rows, len(self._waiting)):
            room -= len(self._waiting[count][0].token_ids) * self._cache.position_bytes
            if count and room < 0:
                break
            count += 1
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        return taken

    @torch.inference_mode()
    def _score_all(self, requests: list[ScoreRequest]) -> list[Scores]:
        started = time.perf_counter()
        self._fresh.clear()
        computed: dict[_Key, int] = {}
        prompts: dict[tuple[int, ...], int] = {}
        for request in requests:
            prompt = request.token_ids[: request.prompt_length]
            if self._longest(request) is None and prompt not in prompts:
                prompts[prompt] = len(prompt)
        self._run([(ids, 0, None, ()) for ids in prompts])
        pieces: dict[_Key, _Piece] = {}
        for request in requests:
            key = _key(request, len(request.step_ends))
            mark = self._longest(request)
            assert mark is not None
            ends = tuple(e for e in request.step_ends if e > mark.length)
            if ends and key not in pieces:
                pieces[key] = (key[0], mark.length, mark, ends)
                computed[key] = ends[-1] - mark.length
        # A distinct solution that extends another of this batch starts from the shared mark: both are computed at once,
        # which costs the overlap twice but never another pass.
        self._run(list(pieces.values()))
        results = []
        for request in requests:
            key = _key(request, len(request.step_ends))
            final = self._pinned(key)
            assert final is not None
            cost = computed.pop(key, 0) + prompts.pop(request.token_ids[: request.prompt_length], 0)
            results.append(Scores(final.values, cost, final.prompt))
            self._steps += len(final.values)
        self._fresh.clear()
        self._cache.settle(
            min(len(requests), self._rows), max(len(request.token_ids) for request in requests)
        )
        self._busy += time.perf_counter() - started
        return results

    def _pinned(self, key: _Key) -> _Mark | None:
        """The mark of a prefix, kept to the end of this batch: what the batch computes may push it out of the cache."""
        mark = self._fresh.get(key) or self._marks.get(key)
        if mark is not None:
            self._fresh[key] = mark
        return mark

    def _remember(self, ids: tuple[int, ...], mark: _Mark) -> None:
        key = (ids, mark.cuts)
        self._fresh[key] = mark
        self._marks.put(key, mark)

    def _longest(self, request: ScoreRequest) -> _Mark | None:
        """The mark of the longest scored prefix of a request, its prompt included."""
        for count in range(len(request.step_ends), -1, -1):
            mark = self._pinned(_key(request, count))
            if mark is not None:
                return mark
        return None

    def _run(self, pieces: list[_Piece]) -> None:
        """Compute pieces the shortest first, and remember their marks."""
        pieces = sorted(pieces, key=lambda piece: len(piece[0]) - piece[1])
        while pieces:
            batch: list[_Piece] = []
            room, begun = self._row_bytes(), 0
            while pieces and len(batch) < self._rows:
                width, begun = len(pieces[0][0]) - pieces[0][1], max(begun, pieces[0][1])
                if batch and (len(batch) + 1) * width > BATCH_TOKENS:
                    break
                if batch and (len(batch) + 1) * self._cache.row_bytes(begun + width) > room:
                    break
                batch.append(pieces.pop(0))
            self._forward(batch, room)

    def _row_bytes(self) -> int:
        """Bytes that the rows of a pass may take, and as many the marks of a batch; what is remembered has a part too."""
        whole = self._room.bytes_for(self._cache.nbytes + self._marks.nbytes)
        kept = min(self._mark_bytes, whole // 4)
        self._marks.bound(kept)
        return (whole - kept) // 2

    def _forward(self, batch: list[_Piece], room: int) -> None:
        device = self._device
        width = max(len(ids) - start for ids, start, _, _ in batch)
        steps = max(len(ends) for _, _, _, ends in batch)
        tokens = torch.zeros((len(batch), width), dtype=torch.long)
        step_of = torch.full((len(batch), width), -1, dtype=torch.long)
        starts = torch.tensor([start for _, start, _, _ in batch])
        state = torch.zeros((len(batch), STATE), device=device)
        longest = int(starts.max()) + width
        self._cache.reserve(len(batch), longest, max(1, room // self._cache.row_bytes(longest)))
        before: list[Tensor | None] = []
        for row, (ids, start, mark, ends) in enumerate(batch):
            tokens[row, : len(ids) - start] = torch.tensor(ids[start:])
            for number, end in enumerate(ends):
                step_of[row, (start if number == 0 else ends[number - 1]) - start : end - start] = number
            if mark is not None:
                self._cache.load(row, mark.kv, start)
                state[row] = mark.state
            before.append(None if mark is None else mark.hidden)
            self._tokens += len(ids) - start
        tokens, step_of = tokens.to(device), step_of.to(device)
        hidden = self._decoder.forward(tokens, starts.to(device), self._cache, 0, longest)
        if steps:
            previous = torch.stack(
                [h if h is not None else hidden.new_zeros(hidden.shape[-1]) for h in before]
            )
            shifted = torch.cat((previous[:, None], hidden[:, :-1]), dim=1)
            logprobs, entropies = self._likelihood(shifted, tokens)
            features, states = likelihood_features(logprobs, entropies, step_of, steps, state)
        judged = self._head if isinstance(self._head, ValueHead) and self._head.config.prompt else None
        for row, (ids, start, mark, ends) in enumerate(batch):
            kv = self._cache.store(row, len(ids))
            if not ends:
                last = hidden[row, len(ids) - start - 1].clone()
                alone = None if judged is None else float(torch.sigmoid(judged.of_prompt(last.float())))
                self._remember(ids, _Mark(kv, len(ids), (len(ids),), state[row].clone(), last, (), alone))
                continue
            at = hidden[row, torch.tensor([end - start - 1 for end in ends], device=device)]
            values = torch.sigmoid(self._head(at.float(), features[row, : len(ends)])).tolist()
            assert mark is not None
            for number, end in enumerate(ends):
                cuts, scored = mark.cuts + ends[: number + 1], mark.values + tuple(values[: number + 1])
                after, last = states[row, number].clone(), at[number].clone()
                self._remember(ids[:end], _Mark(kv, end, cuts, after, last, scored, mark.prompt))

    def _likelihood(self, hidden: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probability of each token and entropy of its distribution, both [B, T], from the state before it."""
        if not self._head.config.likelihood:
            zero = torch.zeros(tokens.shape, device=tokens.device)
            return zero, zero
        at_once = max(1, TABLE // (len(tokens) * self._info.vocabulary))
        told = [
            self._likelihood_of(hidden[:, place : place + at_once], tokens[:, place : place + at_once])
            for place in range(0, tokens.shape[1], at_once)
        ]
        logprobs, entropies = zip(*told, strict=True)
        return torch.cat(logprobs, dim=1), torch.cat(entropies, dim=1)

    def _likelihood_of(self, hidden: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        table = torch.log_softmax(self._decoder.logits(hidden), dim=-1)
        entropies = -(table.exp() * table).sum(-1)
        return table.gather(-1, tokens[..., None])[..., 0], entropies
