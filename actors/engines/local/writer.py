"""The engine of a judge that writes: a thought is drawn, and the chance of the good word read in the verdict behind it.

It goes on with the local engine, where what was read and written is computed once. It knows nothing of a family's format.
Invariant: a score hangs on what is read and on how it is written alone, so what was drawn once would be drawn again.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from dataclasses import dataclass, replace

import torch

from actors.engines.base import (
    EngineCounters,
    EngineInfo,
    GenerateRequest,
    Generation,
    ScoreRequest,
    Scores,
    Writing,
    Written,
)
from actors.engines.identity import tokenizer_hash
from actors.engines.local.decoder import load_decoder
from actors.engines.local.policy import LocalEngine
from actors.engines.local.room import Room
from actors.engines.model_config import engine_info
from actors.engines.text_ends import TextEnds, Watch, pieces
from actors.engines.verifiers.families.chosen import ChosenFamily
from actors.engines.verifiers.families.known import family_config
from actors.engines.verifiers.families.pieces import Pieces
from actors.seeds import derive


@dataclass(frozen=True, slots=True)
class _Chain:
    """One text of a judge: the chance that its verdict is good, and the tokens before that."""

    value: float
    written: Written
    kept: tuple[int, ...]


class WritingEngine:
    """A verifier engine over the model folder of a family that writes; `pair` are the words that say good and bad."""

    def __init__(self, engine: LocalEngine, bytes_of: list[bytes], pair: tuple[int, int]) -> None:
        self._engine, self._pair = engine, pair
        self._bytes = bytes_of + [b""] * max(0, engine.info.vocabulary - len(bytes_of))
        # texts that end a thought -> what finds them
        self._ends: dict[str, TextEnds] = {}

    @classmethod
    def load(
        cls,
        chosen: ChosenFamily,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        max_sequences: int = 128,
        room: Room | None = None,
    ) -> WritingEngine:
        """Load the folder of a family that writes. Raises UserError where it cannot be read."""
        where, pair = torch.device(device), chosen.wording().pair
        assert pair is not None
        decoder, config = load_decoder(
            chosen.path, dtype=dtype, device=where, config=family_config(chosen.path)
        )
        kind = str(dtype).removeprefix("torch.")
        info = engine_info(chosen.path, config, engine="local", dtype=kind, context=decoder.context)
        hashes = chosen.identity(), tokenizer_hash(chosen.policy)
        info = replace(info, model_hash=hashes[0], tokenizer_hash=hashes[1])
        engine = LocalEngine(
            decoder, info, device=where, max_sequences=max_sequences, room=room, resumes=True
        )
        return cls(engine, pieces(Pieces(chosen.path).tokenizer.backend_tokenizer), pair)

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    def counters(self) -> EngineCounters:
        return self._engine.counters()

    async def close(self) -> None:
        await self._engine.close()

    async def score(self, request: ScoreRequest) -> Scores:
        """The mean over the chains of the chance that the verdict is good. Raises ValueError for a request without `writing`,
        or of more than the model takes."""
        if request.writing is None:
            raise ValueError("this verifier writes before it scores, and was not told what")
        request.check(self.info.context)
        writing = request.writing
        chains = await asyncio.gather(
            *(self._chain(request.token_ids, writing, number) for number in range(writing.thinking.chains))
        )
        value = math.fsum(one.value for one in chains) / len(chains)
        written = tuple(one.written for one in chains)
        # The last token is read with the first that is drawn.
        computed = sum(one.prefilled for one in written) + len(written)
        left = self._left(chains[0], writing) if writing.stepwise else ()
        return Scores((value,), min(computed, len(request.token_ids)), written=written, left=left)

    def _left(self, chain: _Chain, writing: Writing) -> tuple[int, ...]:
        """What a chain leaves to the next step, its verdict the likelier word."""
        good, bad = self._pair
        return (*chain.kept, *writing.then, good if chain.value >= 0.5 else bad)

    async def _chain(self, ids: tuple[int, ...], writing: Writing, number: int) -> _Chain:
        thinking = writing.thinking
        drawn = await self._engine.generate(
            GenerateRequest(
                ids,
                thinking.tokens,
                seed=derive("thought", ids, thinking.tokens, thinking.temperature, number),
                temperature=thinking.temperature,
                watches=tuple(Watch(self._finds(text), 0, "stop") for text in writing.stops),
                extend=True,
                likelihoods=False,
            )
        )
        kept = self._kept(drawn, writing.stops)
        asked = await self._engine.generate(
            GenerateRequest(
                ids + drawn.token_ids[:kept] + writing.then,
                1,
                seed=0,
                temperature=0.0,
                # It goes before a thought that has not begun: what it goes on from is still there.
                priority=-1,
                likelihoods=False,
                asked=self._pair,
            )
        )
        good, bad = asked.told
        value = 1 / (1 + math.exp(min(bad - good, 700.0)))
        written = Written(len(drawn.token_ids), kept, drawn.prefilled, asked.prefilled)
        return _Chain(value, written, drawn.token_ids[:kept])

    def _finds(self, text: str) -> TextEnds:
        if text not in self._ends:
            self._ends[text] = TextEnds(self._bytes, [text])
        return self._ends[text]

    def _kept(self, drawn: Generation, stops: tuple[str, ...]) -> int:
        """How many of the tokens stand before what ended the thought; one in which that begins does not."""
        ids = drawn.token_ids
        text = b"".join(self._bytes[token] for token in ids)
        places = [at for stop in stops if (at := text.find(stop.encode())) >= 0]
        if not places:
            return len(ids) - (ids[-1] in self.info.eos_ids)
        ends = itertools.accumulate(len(self._bytes[token]) for token in ids)
        return sum(end <= min(places) for end in ends)
