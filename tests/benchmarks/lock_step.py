"""Search in lock-step on vLLM, as the field writes it, at its best: what the runtime is timed against.

All problems step together: every step of every beam in one `LLM.generate` with its prefix cache on, then every whole prefix
scored in the best of several batch sizes, then the next step; each phase may have all cores, for nothing else runs. The same
strategies drive it with the same seeds, so it draws the same trees; of its time only what it spends inside the two models
counts, and not what it spends on choosing. Token ids go in and come out, so it needs no tokenizer between its steps.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch

from actors.engines.base import EngineCounters, GenerateRequest, Generation, ScoreRequest, Scores
from actors.engines.loading import load_verifier
from actors.engines.model_config import engine_info, read_config
from actors.engines.plan import ModelPlan
from actors.engines.verifiers.value_head import ValueHead
from actors.engines.vllm.policy import generation, sampling
from actors.engines.vllm.start import engine_args, import_vllm, prepare_process
from actors.ledger import Purse
from actors.memory import keep_freed_memory
from actors.replicas.bench import Bench, TaskBench
from actors.replicas.clients import TaskModels
from actors.replicas.meter import Meter
from actors.replicas.reader import ReaderPlan, TokenReader
from actors.strategy import Prompt, Role, Solution, Strategy
from orchestration.allocation.first_come import WITHOUT_BUDGET
from orchestration.flops import ModelCost
from orchestration.problems.graders.number import NumberGrader
from orchestration.training.batches import Labelled, StepBatches
from orchestration.training.measures import step_logits

SCORE_BATCHES = (1024, 4096, 16384)
"""Padded tokens of one pass of the loop's verifier, of which it takes the fastest."""

T = TypeVar("T")
R = TypeVar("R")
P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Setup:
    """What both sides run with. `likelihoods`: whether both have vLLM tell how likely each token was."""

    policy: ModelPlan
    verifier: ModelPlan
    delimiter: str
    max_tokens: int
    likelihoods: bool = False

    def reader(self) -> ReaderPlan:
        return ReaderPlan(self.policy.path, self.delimiter, NumberGrader())

    def bench(self, models: Mapping[Role, ModelPlan]) -> Bench:
        costs = {role: ModelCost.from_folder(plan.path) for role, plan in models.items()}
        return Bench(self.reader(), costs, "paper", self.max_tokens, self.likelihoods)


class Turns:
    """Requests that wait until everybody waits; then all of one kind are answered at once."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Any, Any, asyncio.Future[Any]]] = []

    async def ask(self, answer: Callable[[list[R]], Sequence[T]], request: R) -> T:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((answer, request, future))
        return await future

    async def run(self, work: Sequence[Awaitable[T]], order: Sequence[Callable[[list[Any]], Any]]) -> list[T]:
        """Let all work go on; answer first what the first of `order` answers, as long as anybody waits for it."""
        tasks = [asyncio.ensure_future(one) for one in work]
        while not all(task.done() for task in tasks):
            await self._settled()
            for answer in order:
                mine = [(request, future) for who, request, future in self._waiting if who == answer]
                if mine:
                    self._waiting = [one for one in self._waiting if one[0] != answer]
                    answers = answer([request for request, _ in mine])
                    for (_, future), one in zip(mine, answers, strict=True):
                        future.set_result(one)
                    break
        return [task.result() for task in tasks]

    async def _settled(self) -> None:
        """Return once nobody has anything to do but wait."""
        quiet, before = 0, -1
        while quiet < 20:
            await asyncio.sleep(0)
            quiet, before = (quiet + 1 if len(self._waiting) == before else 0), len(self._waiting)


class LockStepPolicy:
    """A policy that draws for all who ask in one `LLM.generate`."""

    def __init__(self, plan: ModelPlan, turns: Turns) -> None:
        from vllm import LLM

        config = read_config(plan.path)
        context = int(config.max_position_embeddings)
        self.info = engine_info(
            plan.path,
            config,
            engine="vllm",
            dtype=plan.dtype,
            context=context,
        )
        args = dict(engine_args(plan, context=context))
        args.pop("enable_log_requests", None)
        self._llm = LLM(**args)
        self._turns = turns
        self.slots = plan.share.max_sequences
        self.paced = False
        self.seconds, self.tokens = 0.0, 0

    async def close(self) -> None:
        self._llm.llm_engine.engine_core.shutdown()

    def counters(self) -> EngineCounters:
        return EngineCounters(self.tokens, self.tokens, self.seconds, 0)

    async def generate(self, request: GenerateRequest) -> Generation:
        return await self._turns.ask(self.draw, request)

    def draw(self, requests: list[GenerateRequest]) -> list[Generation]:
        from vllm.inputs import TokensPrompt

        contexts = [TokensPrompt(prompt_token_ids=list(request.token_ids)) for request in requests]
        params = [sampling(request, self.info.eos_ids, seeded=True) for request in requests]
        started = time.perf_counter()
        outputs = self._llm.generate(contexts, params, use_tqdm=False)
        self.seconds += time.perf_counter() - started
        results = [generation(*pair, self.info.eos_ids) for pair in zip(requests, outputs, strict=True)]
        self.tokens += sum(len(one.token_ids) for one in results)
        return results

    def forget(self) -> None:
        """Empty the prefix cache, which another search may have filled with the same draws."""
        assert self._llm.reset_prefix_cache(), "requests still run"


class WholePrefixes:
    """A verifier that scores every prefix from its first token, in batches of near-equal lengths, by transformers."""

    def __init__(self, plan: ModelPlan, turns: Turns, batch: int) -> None:
        from transformers import AutoModelForCausalLM

        where = torch.device(plan.torch_device())
        dtype = getattr(torch, plan.dtype)
        self._model: Any = AutoModelForCausalLM.from_pretrained(plan.path, dtype=dtype).eval().to(where)
        self._model.value_head = ValueHead.load(plan.path).to(where)
        self._where, self._turns, self.batch = where, turns, batch
        self.seconds = 0.0

    async def score(self, request: ScoreRequest) -> Scores:
        return await self._turns.ask(self.rate, request)

    @torch.inference_mode()
    def rate(self, requests: list[ScoreRequest]) -> list[Scores]:
        rows = [
            Labelled(r.token_ids, r.prompt_length, r.step_ends, (0.0,) * len(r.step_ends), True, str(i))
            for i, r in enumerate(requests)
        ]
        batches = StepBatches(rows, self.batch, 0, seed=0)
        found: dict[int, tuple[float, ...]] = {}
        # How a batch is laid out, the loop's own code would do otherwise.
        laid_out = [batches[index] for index in range(len(batches))]
        started = time.perf_counter()
        for index, padded in enumerate(laid_out):
            batch = {
                name: value.to(self._where) if isinstance(value, torch.Tensor) else value
                for name, value in padded.items()
            }
            logits, _ = step_logits(self._model, batch)
            values = torch.sigmoid(logits.float()).tolist()
            for row, one in enumerate(batches.members(index)):
                found[int(one.problem_id)] = tuple(values[row][1 : 1 + len(one.ends)])
        self.seconds += time.perf_counter() - started
        return [Scores(found[i], len(r.token_ids)) for i, r in enumerate(requests)]


class NewSteps:
    """A verifier that computes new steps alone, in turns: the engine that ours scores with."""

    def __init__(self, plan: ModelPlan, turns: Turns) -> None:
        self._engine = load_verifier(plan)
        self._turns = turns
        # A loop of its own, for the loop that asks stands still meanwhile.
        self._loop = asyncio.new_event_loop()
        self._thread = ThreadPoolExecutor(max_workers=1)
        self.seconds = 0.0

    async def score(self, request: ScoreRequest) -> Scores:
        return await self._turns.ask(self.rate, request)

    def rate(self, requests: list[ScoreRequest]) -> list[Scores]:
        started = time.perf_counter()
        results = self._thread.submit(self._loop.run_until_complete, self._all(requests)).result()
        self.seconds += time.perf_counter() - started
        return results

    async def _all(self, requests: list[ScoreRequest]) -> list[Scores]:
        return list(await asyncio.gather(*(self._engine.score(request) for request in requests)))

    def close(self) -> None:
        self._thread.submit(self._loop.run_until_complete, self._engine.close()).result()
        self._thread.shutdown()
        self._loop.close()


@dataclass(frozen=True, slots=True)
class Result:
    """What one side did: sampled tokens, seconds that count, and the answer of each problem."""

    tokens: int
    seconds: float
    answers: dict[str, str | None]
    note: str = ""

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds

    def per_minute(self) -> float:
        return 60 * len(self.answers) / self.seconds


def in_turns(
    setup: Setup,
    turns: Turns,
    policy: LockStepPolicy,
    verifier: WholePrefixes | NewSteps | None,
    items: list[Prompt],
    strategy: Strategy,
) -> Result:
    """Solve all problems in lock-step."""
    reader = TokenReader(setup.reader(), policy.info.eos_ids)
    run = setup.bench({"policy": setup.policy, "verifier": setup.verifier})
    policy.forget()
    before = policy.tokens, policy.seconds, verifier.seconds if verifier else 0.0

    async def solve(prompt: Prompt) -> Solution:
        bench = TaskBench(run, prompt, 0, policy, verifier, reader, Purse(WITHOUT_BUDGET))
        return await strategy.solve(prompt, TaskModels.of(bench, Meter()))

    order: list[Callable[[list[Any]], Any]] = [policy.draw, *([verifier.rate] if verifier else [])]
    solutions = asyncio.run(turns.run([solve(prompt) for prompt in items], order))
    generated, scored = policy.seconds - before[1], (verifier.seconds if verifier else 0.0) - before[2]
    answers = {prompt.id: one.answer for prompt, one in zip(items, solutions, strict=True)}
    note = f"{generated:.1f} s drawing, {scored:.1f} s scoring"
    return Result(policy.tokens - before[0], generated + scored, answers, note)


class Loop:
    """The loop with its models, on all the threads that the policy's plan gives."""

    def __init__(self, setup: Setup) -> None:
        self._setup, self._turns, self._batch = setup, Turns(), 0
        # One thread: a second team of threads would spin where the policy's are to work.
        share = replace(setup.verifier.share, threads=1)
        self._verifier = replace(setup.verifier, engine="local", share=share)
        self._policy = LockStepPolicy(setup.policy, self._turns)

    def sample(self, items: list[Prompt], strategy: Strategy, likelihoods: bool) -> Result:
        setup = replace(self._setup, likelihoods=likelihoods)
        return in_turns(setup, self._turns, self._policy, None, items, strategy)

    def choose_batch(self, items: list[Prompt], strategy: Strategy) -> int:
        """Score in the fastest of several batch sizes from now on."""

        def seconds(batch: int) -> float:
            verifier = WholePrefixes(self._verifier, self._turns, batch)
            in_turns(self._setup, self._turns, self._policy, verifier, items, strategy)
            return verifier.seconds

        seconds(SCORE_BATCHES[0])
        self._batch = min(SCORE_BATCHES, key=seconds)
        return self._batch

    def search(self, items: list[Prompt], strategy: Strategy) -> Result:
        verifier = WholePrefixes(self._verifier, self._turns, self._batch)
        return in_turns(self._setup, self._turns, self._policy, verifier, items, strategy)

    def reuse(self, items: list[Prompt], strategy: Strategy) -> Result:
        """The same search, with new steps alone scored."""
        verifier = NewSteps(self._verifier, self._turns)
        # Loading an engine sets how many threads the process has.
        torch.set_num_threads(self._setup.policy.share.threads)
        result = in_turns(self._setup, self._turns, self._policy, verifier, items, strategy)
        verifier.close()
        return result


class LoopProcess:
    """A loop in a process of its own, for how many threads vLLM has is settled when it starts."""

    def __init__(self, setup: Setup, threads: int) -> None:
        share = replace(setup.policy.share, threads=threads)
        setup = replace(setup, policy=replace(setup.policy, share=share))
        spawn = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=_begin, initargs=(setup,))

    def ask(self, work: Callable[Concatenate[Loop, P], T], *given: P.args, **named: P.kwargs) -> T:
        """What a method of the loop gives."""
        return self._pool.submit(_do, work, given, named).result()

    def close(self) -> None:
        self._pool.shutdown()


_here: list[Loop] = []
"""The loop of this process."""


def _begin(setup: Setup) -> None:
    keep_freed_memory()
    prepare_process(setup.policy)
    import_vllm()
    _here.append(Loop(setup))


def _do(work: Callable[..., T], given: tuple[Any, ...], named: dict[str, Any]) -> T:
    return work(_here[0], *given, **named)
