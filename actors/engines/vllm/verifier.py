"""A verifier on vLLM: the language model runs there, and the value head reads here what it answers.

vLLM keeps keys and values in whole blocks; this side keeps the points (see step_points) from which a longer sequence is
scored, and of each answer takes what no point knew. It knows nothing of searches. Invariant: scores are those of the local
engine up to rounding, and a step keeps its first score.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import safe_open
from torch import Tensor

from actors.engines.base import EngineCounters, EngineError, EngineInfo, ScoreRequest, Scores
from actors.engines.busy import Busy
from actors.engines.identity import tokenizer_hash
from actors.engines.model_config import engine_info, read_config
from actors.engines.plan import ModelPlan
from actors.engines.verifiers.base import Head
from actors.engines.verifiers.families.known import family_config
from actors.engines.verifiers.value_head import ValueHead, likelihood_features
from actors.engines.vllm.bodies import body_of
from actors.engines.vllm.family_heads import family_head
from actors.engines.vllm.start import import_vllm, prepare_process, start, started_for, stop
from actors.engines.vllm.step_points import Key, Point, Points, keys, start_of
from actors.engines.vllm.tails import LOGITS, TASK, WANTED, Tail, architecture, register, scored_as, unpack
from actors.engines.weights import weight_files
from actors.errors import UserError

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

POINT_BYTES = 256 << 20
"""What is remembered of scored sequences."""


class OutputRows:
    """Rows of the output head, read from a model folder's files one by one and never held."""

    def __init__(self, folder: Path, *, tied: bool) -> None:
        self._name = "model.embed_tokens.weight" if tied else "lm_head.weight"
        # safetensors brings no types.
        self._file: Any
        for file in weight_files(folder, "verifier"):
            self._file = safe_open(str(file), framework="pt")
            if self._name in self._file.keys():
                return
        raise UserError.of("verifier", str(folder), f"its weights hold no {self._name}: save the whole model")

    def logit(self, token: int, hidden: Tensor) -> Tensor:
        """Logit of a token at a position, from its float32 hidden state [D]."""
        return self.row(token) @ hidden

    def row(self, token: int) -> Tensor:
        """A token's row [D], float32."""
        return cast(Tensor, self._file.get_slice(self._name)[token]).float()


class VllmVerifier:
    """A verifier engine over a model folder with a value head, or the head of a public family, on a vLLM of its own."""

    def __init__(
        self, engine: AsyncLLM, head: Head, output: OutputRows | None, info: EngineInfo, point_bytes: int
    ) -> None:
        self._engine, self._head, self._output, self._info = engine, head, output, info
        self._width = int(engine.model_config.hf_text_config.hidden_size)
        self._block = int(engine.vllm_config.cache_config.block_size)
        self._points = Points(point_bytes)
        self._numbers = itertools.count()
        self._steps = self._tokens = self._again = 0
        self._busy = Busy()

    @classmethod
    def load(cls, plan: ModelPlan, *, point_bytes: int = POINT_BYTES) -> VllmVerifier:
        """Start vLLM on the model folder of a plan, which takes some ten seconds.

        Raises UserError where the folder cannot be read, or holds what cannot be scored on vLLM.
        """
        folder, family = plan.path, plan.family
        config = read_config(folder) if family is None else family_config(folder)
        known = scored_as(folder, config) if family is None else body_of(folder)
        head, output = _head_of(plan, tied=bool(config.tie_word_embeddings))
        context = started_for(plan, config)
        prepare_process(plan)
        import_vllm()
        from vllm.config import PoolerConfig

        register()
        changed: dict[str, Any] = {"architectures": [architecture(known)]}
        if family is not None:
            # The context is within the window, where it hides nothing.
            changed["sliding_window"] = None
        engine = start(
            plan,
            "verifier",
            context=context,
            runner="pooling",
            pooler_config=PoolerConfig(task=TASK, tok_pooling_type="ALL"),
            hf_overrides=changed,
            worker_extension_cls="actors.engines.vllm.value_model.WorkerExtension",
        )
        info = engine_info(folder, config, engine="vllm", dtype=plan.dtype, context=context)
        if family is not None:
            info = replace(info, model_hash=family.identity(), tokenizer_hash=tokenizer_hash(family.policy))
        return cls(engine, head, output, info, point_bytes)

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def asked_again(self) -> int:
        """Requests that vLLM had cached beyond what was remembered here, so that they had to be made again, whole."""
        return self._again

    def counters(self) -> EngineCounters:
        return EngineCounters(self._steps, self._tokens, self._busy.seconds, self._busy.running)

    async def score(self, request: ScoreRequest) -> Scores:
        request.check(self._info.context)
        if not request.step_ends:
            raise ValueError("on vLLM a prompt alone is not judged: step_ends needs at least one")
        request = ScoreRequest(
            request.token_ids[: request.step_ends[-1]],
            request.prompt_length,
            request.step_ends,
            request.whole,
        )
        every = keys(request, self._block)
        computed = 0
        known = self._points.longest(every) or start_of(request)
        if known.length < len(request.token_ids):
            lengths = [length for length, _ in every if request.whole or length >= known.length]
            needed = request.prompt_length if request.whole else known.length
            tail = await self._ask(request, lengths, needed)
            computed = len(request.token_ids) - tail.start
            # Looked up anew: a request beside this one may have scored more of the same text, or memory run out.
            begin = self._points.longest(every) or start_of(request)
            if not request.whole and (not _joins(begin, tail) or begin.length < known.length):
                # Another pass is its asker's to pay for first.
                self._again += 1
                return Scores((), computed)
            known = self._go_on(request, every, begin, tail)
        self._steps += len(known.values)
        return Scores(known.values, computed)

    async def close(self) -> None:
        stop(self._engine)

    async def _ask(self, request: ScoreRequest, lengths: list[int], known: int) -> Tail:
        """Have vLLM compute a request, whose first `known` tokens need no likelihood; the hidden states at these lengths come
        back. Raises ValueError where vLLM refuses this request alone."""
        from vllm import PoolingParams
        from vllm.exceptions import VLLMClientError
        from vllm.inputs.engine import tokens_input

        total = len(request.token_ids)
        # A token's likelihood stands at the position before it; what comes after the last is kept at a block's end alone.
        needed = [known - 1, total if total % self._block == 0 else total - 1]
        if not self._head.config.likelihood:
            needed = [0, 0]
        params = PoolingParams(
            task=TASK,
            use_activation=False,
            skip_reading_prefix_cache=request.whole,
            extra_kwargs={WANTED: [length - 1 for length in lengths], LOGITS: needed},
        )
        prompt = tokens_input(list(request.token_ids))
        try:
            with self._busy:
                async for answer in self._engine.encode(prompt, params, f"score-{next(self._numbers)}"):
                    tail = unpack(answer.outputs.data, self._width)
        except VLLMClientError as error:
            raise ValueError(f"vLLM refuses to score it: {error}"[:400]) from error
        except Exception as error:
            raise EngineError(f"scoring failed: {error!r}") from error
        self._tokens += len(request.token_ids) - tail.start
        return tail

    @torch.inference_mode()
    def _go_on(self, request: ScoreRequest, every: list[Key], begin: Point, tail: Tail) -> Point:
        """Score the steps after a point from a tail that joins it, and remember every point on the way."""
        ids, ends = request.token_ids, [e for e in request.step_ends if e > begin.length]
        if not ends:
            return begin
        logprobs, entropies = tail.logprobs, tail.entropies
        if begin.length > tail.start:
            skip = begin.length - 1 - tail.start
            logprobs, entropies = logprobs[skip:], entropies[skip:]
        else:
            assert begin.row is not None
            logprob = torch.zeros(())
            if self._head.config.likelihood:
                assert self._output is not None
                logprob = self._output.logit(ids[begin.length], begin.row[:-2]) - begin.row[-2]
            logprobs = torch.cat((logprob[None], logprobs))
            entropies = torch.cat((begin.row[-1:], entropies))
        logprobs = torch.cat((begin.logprobs, logprobs))
        entropies = torch.cat((begin.entropies, entropies))
        origin = begin.length - len(begin.logprobs)
        step_of = torch.repeat_interleave(
            torch.arange(len(ends)), torch.tensor([b - a for a, b in itertools.pairwise((origin, *ends))])
        )
        features, states = likelihood_features(
            logprobs[None], entropies[None], step_of[None], len(ends), begin.state[None]
        )
        lengths = [length for length, _ in every if length > tail.start]
        rows = dict(zip(lengths[len(lengths) - len(tail.rows) :], tail.rows, strict=True))
        hidden = torch.stack([rows[end][:-2] for end in ends])
        values = torch.sigmoid(self._head(hidden, features[0])).tolist()
        first, whole, state = origin, 0, begin.state
        for key in every:
            length = key[0]
            if length < begin.length or length not in rows:
                continue
            if length == ends[whole]:
                state, origin = states[0, whole], length
                whole += 1
            begun = slice(origin - first, length - first)
            point = Point(
                length,
                state.clone(),
                logprobs[begun].clone(),
                entropies[begun].clone(),
                begin.values + tuple(values[:whole]),
                rows[length].clone() if length % self._block == 0 else None,
            )
            self._points.put(key, point)
        return point


def _head_of(plan: ModelPlan, *, tied: bool) -> tuple[Head, OutputRows | None]:
    """The head that reads hidden states here, and where it needs it that of the language model."""
    if plan.family is None:
        return ValueHead.load(plan.path), OutputRows(plan.path, tied=tied)
    return family_head(plan.family, lambda: OutputRows(plan.path, tied=tied)), None


def _joins(point: Point, tail: Tail) -> bool:
    """Whether a tail tells all that comes after a point."""
    return tail.start < point.length or (tail.start == point.length and point.row is not None)
