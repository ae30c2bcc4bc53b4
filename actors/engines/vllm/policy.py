"""The policy on vLLM: every sample a request of its own, token ids in and out, on vLLM's asynchronous engine.

It turns requests into vLLM's and answers back, counts what the engine did, and leaves batching, cache and kernels to it. It
knows nothing of strategies or budgets. Invariant: each request ends with its tokens, with `Aborted` and what it drew, or with
`EngineError` once the engine is dead.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

from actors.engines.base import (
    Aborted,
    EngineCounters,
    EngineError,
    EngineInfo,
    GenerateRequest,
    Generation,
)
from actors.engines.busy import Busy
from actors.engines.model_config import engine_info, read_config
from actors.engines.plan import ModelPlan
from actors.engines.text_ends import Watch
from actors.engines.vllm.admission import Admission
from actors.engines.vllm.start import import_vllm, prepare_process, start, started_for, stop

STEPS_AHEAD = 4
"""Steps that the engine may be ahead of what it tells at that moment."""

DEATH_SECONDS = 10.0
"""How often a request that the engine has not taken looks whether it is still alive."""


class Tally:
    """What vLLM tells after each of its steps, added up."""

    def __init__(self) -> None:
        self.tokens_out = self.tokens_computed = self.flops = self.preempted = 0
        self._told = self._pace = 0.0
        self._held = 0
        self.admission: Admission | None = None

    def record(self, scheduler_stats: Any, iteration_stats: Any) -> None:
        now = time.perf_counter()
        if self._held:
            # A mean of some steps: several may be told at once, after one that took long to be heard.
            self._pace += (now - self._told - self._pace) / (8 if self._pace else 1)
        self._told = now
        preempted = 0
        if iteration_stats is not None:
            drawn = iteration_stats.num_generation_tokens
            self.tokens_out += drawn
            self.tokens_computed += drawn + iteration_stats.prompt_token_stats.computed
            preempted = iteration_stats.num_preempted_reqs
            self.preempted += preempted
        if scheduler_stats is not None:
            if scheduler_stats.perf_stats is not None:
                self.flops += scheduler_stats.perf_stats.num_flops_per_gpu
            self._held = scheduler_stats.num_running_reqs + scheduler_stats.num_waiting_reqs
            if self.admission is not None:
                self.admission.observe(scheduler_stats.kv_cache_usage, self._held, preempted)

    def ahead(self) -> int:
        """Steps that the engine may have made since it last told of one: it waits for nobody."""
        silent = time.perf_counter() - self._told
        return STEPS_AHEAD + (math.ceil(silent / self._pace) if self._pace else 0)

    def logger(self) -> type:
        """A class by which vLLM tells this tally.

        vLLM's own logger, which nothing reads here, observes histograms token by token; it is left out only where one of
        its kind is given.
        """
        from vllm.v1.metrics.loggers import PrometheusStatLogger

        tally = self

        class Logger(PrometheusStatLogger):  # type: ignore[misc]
            def __init__(self, vllm_config: Any, engine_indexes: list[int] | None = None) -> None:
                """Without what its parent sets up, which these methods do not touch."""

            def record(
                self,
                scheduler_stats: Any,
                iteration_stats: Any,
                mm_cache_stats: Any = None,
                engine_idx: int = 0,
            ) -> None:
                tally.record(scheduler_stats, iteration_stats)

            def log_engine_initialized(self) -> None:
                """There is nothing to say yet."""

            def record_admission_rejection(self, reason: str) -> None:
                """Requests wait here before they are sent."""

            def record_sleep_state(self, sleep: int = 0, level: int = 0) -> None:
                """This engine never sleeps."""

        return Logger


class VllmPolicy:
    """A policy engine over a model folder as transformers writes it."""

    def __init__(
        self, engine: Any, info: EngineInfo, admission: Admission, tally: Tally, *, seeded: bool
    ) -> None:
        self._engine, self._info, self._seeded = engine, info, seeded
        self._admission, self._tally = admission, tally
        tally.admission = admission
        self._watches: dict[str, tuple[Watch, ...]] = {}
        watch_requests(engine.output_processor, self._watches)
        self._gpus = int(engine.vllm_config.parallel_config.tensor_parallel_size)
        self._numbers = itertools.count()
        self._busy = Busy()
        self._ended = self._cut_off = 0

    @classmethod
    def load(cls, plan: ModelPlan) -> VllmPolicy:
        """Start vLLM on a model folder: ten seconds and more. Raises UserError where it cannot run the model."""
        config = read_config(plan.path)
        prepare_process(plan)
        import_vllm()
        context = started_for(plan, config)
        tally = Tally()
        engine = start(
            plan,
            "policy",
            [tally.logger()],
            context=context,
            scheduling_policy="priority",
            enable_mfu_metrics=True,
        )
        cache = engine.vllm_config.cache_config
        info = engine_info(
            plan.path,
            config,
            engine="vllm",
            dtype=plan.dtype,
            context=context,
        )
        tokens = int(cache.num_gpu_blocks) * int(cache.block_size)
        admission = Admission(tokens, context, plan.share.max_sequences)
        return cls(engine, info, admission, tally, seeded=plan.seeded)

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def slots(self) -> int:
        return self._admission.slots

    @property
    def paced(self) -> bool:
        """vLLM waits for nobody between its steps."""
        return False

    @property
    def preempted(self) -> int:
        """Requests whose cache was taken away, so that their tokens were computed again."""
        return self._tally.preempted

    def counters(self) -> EngineCounters:
        tally, busy = self._tally, self._busy
        return EngineCounters(
            tally.tokens_out,
            tally.tokens_computed,
            busy.seconds,
            busy.running,
            tally.flops * self._gpus,
            self._ended,
            self._cut_off,
        )

    async def generate(self, request: GenerateRequest) -> Generation:
        request.check(self._info.context)
        with self._busy:
            return await self._generate(request)

    async def close(self) -> None:
        stop(self._engine)

    async def _generate(self, request: GenerateRequest) -> Generation:
        from vllm.exceptions import VLLMClientError
        from vllm.inputs.engine import tokens_input

        name = f"{next(self._numbers)}"
        if request.watches:
            self._watches[name] = request.watches
        adding = asyncio.ensure_future(
            self._engine.add_request(
                name,
                tokens_input(list(request.token_ids)),
                sampling(request, self._info.eos_ids, seeded=self._seeded),
                priority=request.priority,
            )
        )
        try:
            queue = await self._added(adding)
            output = await queue.get()
        except asyncio.CancelledError:
            raise await self._aborted(request, adding) from None
        except VLLMClientError as error:
            raise ValueError(str(error)) from error
        except Exception as error:
            # vLLM hands whatever broke its front end to every request that waits.
            raise EngineError(f"vLLM: {error!r}") from error
        result = generation(request, output, self._info.eos_ids)
        if seen_here(request, result):
            # The engine drew on until it was told.
            result = replace(result, beyond=min(STEPS_AHEAD, request.max_tokens - len(result.token_ids)))
        self._ended += result.finish != "stop"
        self._cut_off += result.finish == "length"
        return result

    async def _added(self, adding: asyncio.Future[Any]) -> Any:
        """The answers' queue of a request, once the engine has it. Cancelling this leaves the request on its way: cut off
        half way, it would run in the engine without anybody to stop it."""
        while not adding.done():
            await asyncio.wait({adding}, timeout=DEATH_SECONDS)
            if not adding.done() and self._engine.errored:
                # The first request asks what the engine can do, and is never told that it died.
                raise EngineError("vLLM died before it took a request")
        return adding.result()

    async def _aborted(self, request: GenerateRequest, adding: asyncio.Future[Any]) -> Aborted:
        """Stop a request, however often whoever asked for it is cancelled meanwhile."""
        stopping = asyncio.ensure_future(self._abort(request, adding))
        while not stopping.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(stopping)
        return stopping.result()

    async def _abort(self, request: GenerateRequest, adding: asyncio.Future[Any]) -> Aborted:
        """Stop a request in the engine and tell what it took."""
        context = len(request.token_ids) - 1
        try:
            queue = await self._added(adding)
            await self._engine.abort(queue.request_id, internal=True)
            # vLLM answers an abort with what the request had so far.
            output = queue.get_nowait()
        except Exception:
            # The engine is dead, or dying: what it computed nobody can say.
            return Aborted(request.max_tokens, context)
        drawn = len(output.outputs[0].token_ids) if output is not None else 0
        cached = (output.num_cached_tokens or 0) if output is not None and drawn else 0
        return Aborted(min(drawn + self._tally.ahead(), request.max_tokens), max(0, context - cached))


def watch_requests(processor: Any, watches: dict[str, tuple[Watch, ...]]) -> None:
    """Have vLLM's front end stop a request in which a text is complete: where it would look for stop strings, it looks at
    each token by the watches that stand under the request's name before it is added."""
    from vllm.v1.engine.detokenizer import IncrementalDetokenizer

    class Watching(IncrementalDetokenizer):  # type: ignore[misc]
        def __init__(self, watches: tuple[Watch, ...]) -> None:
            super().__init__()
            self._watched = [(watch.texts, watch.state) for watch in watches]

        def update(self, new_token_ids: list[int], stop_terminated: bool) -> str | None:
            for token in new_token_ids:
                self.token_ids.append(token)
                told = [(texts, *texts.next(state, token)) for texts, state in self._watched]
                self._watched = [(texts, state) for texts, state, _ in told]
                if any(hit for _, _, hit in told):
                    return "text"
            return None

    add = processor.add_request

    def add_watched(request: Any, *rest: Any, **named: Any) -> None:
        # Before the core has heard of it, so that no token comes first.
        add(request, *rest, **named)
        if (mine := watches.pop(request.external_req_id, None)) is not None:
            processor.request_states[request.request_id].detokenizer = Watching(mine)

    processor.add_request = add_watched


def seen_here(request: GenerateRequest, result: Generation) -> bool:
    """Whether a watch saw the end, and the core did not."""
    last = result.token_ids[-1]
    known = {i for one in request.watches for i in one.texts.always}.union(request.stop_ids)
    return last not in known and any(one.ended(result.token_ids) for one in request.watches)


def sampling(request: GenerateRequest, eos_ids: tuple[int, ...], *, seeded: bool) -> Any:
    """vLLM's parameters of a request."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed if seeded and request.temperature else None,
        # vLLM has no tokenizer here, so it knows no end token of its own. A token that completes a text whatever came before
        # ends it in the core.
        stop_token_ids=[
            *request.stop_ids,
            *eos_ids,
            *(i for one in request.watches for i in one.texts.always),
        ],
        ignore_eos=True,
        # Three arrays a token, packed in the core and unpacked here.
        logprobs=0 if request.likelihoods else None,
        flat_logprobs=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,
    )


def generation(request: GenerateRequest, output: Any, eos_ids: tuple[int, ...]) -> Generation:
    """What vLLM's answer to a request means. Raises EngineError where it was ended by anything but its tokens."""
    one = output.outputs[0]
    if one.finish_reason not in ("stop", "length"):
        raise EngineError(f"vLLM ended a request: {one.finish_reason}")
    tokens = tuple(one.token_ids)
    finish = request.finish_of(tokens, eos_ids)
    logprobs: tuple[float, ...] = ()
    if request.likelihoods:
        flat = one.logprobs
        logprobs = tuple(flat.logprobs[first] for first in flat.start_indices)
    # The last token of the context is computed with the first draw, and counted there.
    prefilled = max(0, len(request.token_ids) - 1 - (output.num_cached_tokens or 0))
    return Generation(tokens, logprobs, finish, prefilled)
