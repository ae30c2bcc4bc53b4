"""Search on vLLM against vLLM alone and against loops in lock-step, in one run on the same models, requests and seeds.

    python -m tests.benchmarks.vllm_search [--problems 64] [--n 16] [--policy FOLDER --verifier FOLDER] [--gpus 0.5]

Needs vLLM; runs on a CPU (one thread a model) and on a GPU. Sampling: `LLM.generate` on all requests of best-of-N at once
against the same requests through scheduler, replica and run writer. Search: beam search and DVTS through the same, against a
loop in lock-step as the field writes it, at its best: all problems step together, every step of every beam in one
`LLM.generate` with its prefix cache on, then every whole prefix scored, in the best of several batch sizes, then the next
step. The same strategies drive the loop, so it draws the same trees; of its time only what it spends inside the two models
counts. A second loop scores new steps alone, so that what reuse of the verifier's work gains and what overlap gains are told
apart. Figures depend on the machine; the ratios are what is claimed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table

from actors.clients import Meter, TaskBench, TaskModels
from actors.driving import get
from actors.engines.base import (
    EngineCounters,
    EngineName,
    GenerateRequest,
    Generation,
    ScoreRequest,
    Scores,
)
from actors.engines.loading import load_verifier
from actors.engines.model_config import engine_info, eos_ids, read_config
from actors.engines.plan import ModelPlan
from actors.engines.value_head import ValueHead
from actors.engines.vllm_policy import generation, sampling
from actors.engines.vllm_start import engine_args, import_vllm, prepare_process
from actors.ledger import Purse
from actors.memory import keep_freed_memory
from actors.placement import Cluster, RunPlan
from actors.reader import ReaderPlan, TokenReader
from actors.replicas import Bench
from actors.work import Progress, Prompt, Solution, Strategy, Task
from orchestration.allocation import WITHOUT_BUDGET, FirstCome
from orchestration.flops import ModelCost
from orchestration.problems.graders import NumberGrader
from orchestration.strategies.parse import parse
from orchestration.training.prm import Labelled, StepBatches, step_logits
from tests.benchmarks.local_engine import MODELS, prompts

SCORE_BATCHES = (1024, 4096, 16384)
"""Padded tokens of one pass of the loop's verifier, of which it takes the fastest."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Setup:
    """What both sides run with."""

    policy: ModelPlan
    verifier: ModelPlan
    delimiter: str
    max_tokens: int

    def reader(self) -> ReaderPlan:
        return ReaderPlan(self.policy.path, self.delimiter, NumberGrader())


# In lock-step


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
            plan.path, config, engine="vllm", dtype=plan.dtype, context=context, ends=eos_ids(config)
        )
        args = dict(engine_args(plan, context=context))
        args.pop("enable_log_requests", None)
        self._llm = LLM(**args)
        self._turns = turns
        self.slots = plan.max_sequences
        self.likelihoods = True
        self.seconds, self.tokens = 0.0, 0

    def counters(self) -> EngineCounters:
        return EngineCounters(self.tokens, self.tokens, self.seconds, 0)

    async def generate(self, request: GenerateRequest) -> Generation:
        return await self._turns.ask(self.draw, request)

    def draw(self, requests: list[GenerateRequest]) -> list[Generation]:
        from vllm.inputs import TokensPrompt
        from vllm.logprobs import FlatLogprobs

        contexts = [TokensPrompt(prompt_token_ids=list(request.token_ids)) for request in requests]
        params = [sampling(request, self.info.eos_ids, seeded=self.likelihoods) for request in requests]
        if not self.likelihoods:
            for one in params:
                one.logprobs = None
        started = time.perf_counter()
        outputs = self._llm.generate(contexts, params, use_tqdm=False)
        self.seconds += time.perf_counter() - started
        if not self.likelihoods:
            for output in outputs:
                ids = output.outputs[0].token_ids
                output.outputs[0].logprobs = FlatLogprobs(list(range(len(ids))), logprobs=[0.0] * len(ids))
        results = [generation(*pair, self.info.eos_ids) for pair in zip(requests, outputs, strict=True)]
        self.tokens += sum(len(one.token_ids) for one in results)
        return results

    def forget(self) -> None:
        """Empty the prefix cache, which another search may have filled with the same draws."""
        self._llm.reset_prefix_cache()

    async def close(self) -> None:
        self._llm.llm_engine.engine_core.shutdown()


class WholePrefixes:
    """A verifier that scores every prefix from its first token, in batches of near-equal lengths, by transformers."""

    def __init__(self, plan: ModelPlan, turns: Turns, batch: int, threads: int) -> None:
        from transformers import AutoModelForCausalLM

        where = torch.device(plan.torch_device())
        dtype = getattr(torch, plan.dtype)
        self._model: Any = AutoModelForCausalLM.from_pretrained(plan.path, dtype=dtype).eval().to(where)
        self._model.value_head = ValueHead.load(plan.path).to(where)
        self._where, self._turns, self.batch, self._threads = where, turns, batch, threads
        self.seconds, self.computed = 0.0, 0

    async def score(self, request: ScoreRequest) -> Scores:
        return await self._turns.ask(self.rate, request)

    @torch.inference_mode()
    def rate(self, requests: list[ScoreRequest]) -> list[Scores]:
        torch.set_num_threads(self._threads)
        started = time.perf_counter()
        rows = [
            Labelled(r.token_ids, r.prompt_length, r.step_ends, (0.0,) * len(r.step_ends), True, str(i))
            for i, r in enumerate(requests)
        ]
        batches = StepBatches(rows, self.batch, 0, seed=0)
        found: dict[int, tuple[float, ...]] = {}
        for index in range(len(batches)):
            batch = {
                name: value.to(self._where) if isinstance(value, torch.Tensor) else value
                for name, value in batches[index].items()
            }
            logits, _ = step_logits(self._model, batch)
            values = torch.sigmoid(logits.float()).tolist()
            for row, one in enumerate(batches.members(index)):
                found[int(one.problem_id)] = tuple(values[row][: len(one.ends)])
        self.seconds += time.perf_counter() - started
        torch.set_num_threads(1)
        self.computed += sum(len(r.token_ids) for r in requests)
        return [Scores(found[i], len(r.token_ids)) for i, r in enumerate(requests)]


class NewSteps:
    """A verifier that computes new steps alone, in turns: the engine that ours scores with."""

    def __init__(self, plan: ModelPlan, turns: Turns) -> None:
        self._engine = load_verifier(plan)
        self._turns = turns
        # A loop of its own, for the loop that asks stands still meanwhile.
        self._loop = asyncio.new_event_loop()
        self._thread = ThreadPoolExecutor(max_workers=1)
        self.seconds, self.computed = 0.0, 0

    async def score(self, request: ScoreRequest) -> Scores:
        return await self._turns.ask(self.rate, request)

    def rate(self, requests: list[ScoreRequest]) -> list[Scores]:
        started = time.perf_counter()
        results = self._thread.submit(self._loop.run_until_complete, self._all(requests)).result()
        self.seconds += time.perf_counter() - started
        self.computed += sum(one.computed for one in results)
        return results

    async def _all(self, requests: list[ScoreRequest]) -> list[Scores]:
        return list(await asyncio.gather(*(self._engine.score(request) for request in requests)))

    def close(self) -> None:
        self._thread.submit(self._loop.run_until_complete, self._engine.close()).result()


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
    policy: LockStepPolicy,
    verifier: WholePrefixes | NewSteps | None,
    items: list[Prompt],
    strategy: Strategy,
) -> Result:
    """Solve all problems in lock-step."""
    reader = TokenReader(setup.reader(), policy.info.eos_ids)
    cost, verifier_cost = ModelCost.from_folder(setup.policy.path), ModelCost.from_folder(setup.verifier.path)
    policy.forget()
    before = policy.tokens, policy.seconds, verifier.seconds if verifier else 0.0

    async def solve(prompt: Prompt) -> Solution:
        bench = TaskBench(
            prompt,
            0,
            policy,
            verifier,
            reader,
            Purse(WITHOUT_BUDGET),
            cost,
            verifier_cost,
            "paper",
            setup.max_tokens,
        )
        return await strategy.solve(prompt, TaskModels.of(bench, Meter()))

    order = [policy.draw, *([verifier.rate] if verifier else [])]
    solutions = asyncio.run(policy._turns.run([solve(prompt) for prompt in items], order))
    generated, scored = policy.seconds - before[1], (verifier.seconds if verifier else 0.0) - before[2]
    answers = {prompt.id: one.answer for prompt, one in zip(items, solutions, strict=True)}
    note = f"{generated:.1f} s drawing, {scored:.1f} s scoring"
    return Result(policy.tokens - before[0], generated + scored, answers, note)


# Ours


def ours(setup: Setup, items: list[Prompt], strategy: Strategy) -> Result:
    """Solve all problems through the whole runtime; seconds from the first lease to the last commit."""
    scored = strategy.uses_verifier
    policy_cost, verifier_cost = (
        ModelCost.from_folder(setup.policy.path),
        ModelCost.from_folder(setup.verifier.path),
    )
    bench = Bench(setup.reader(), policy_cost, verifier_cost if scored else None, "paper", setup.max_tokens)

    def tasks() -> Iterator[tuple[Task, str | None]]:
        for prompt in items:
            yield Task(prompt.id, prompt, (strategy,), (prompt.id,), 0), None

    with tempfile.TemporaryDirectory() as folder:
        plan = RunPlan(
            Path(folder),
            setup.policy,
            setup.verifier if scored else None,
            bench,
            FirstCome(None),
            NumberGrader(),
        )
        started = time.perf_counter()
        with Cluster(plan) as cluster:
            cluster.infos()
            begun = time.perf_counter()
            progress = cluster.run(tasks())
            seconds = time.perf_counter() - begun
            computed = sum(get(one.counters.remote()).tokens_computed for one in cluster.verifiers.values())
        parts = (Path(folder) / "outcomes").glob("*.parquet")
        rows = [row for part in parts for row in pq.read_table(part, columns=["key", "answer"]).to_pylist()]
    note = f"start {begun - started:.0f} s; busy: policy {progress.policy_busy / seconds:.0%}"
    if scored:
        note += f", verifier {progress.verifier_busy / seconds:.0%}; "
        note += f"verifier tokens computed a token needed {computed / _needed(progress, items):.2f}"
    return Result(progress.policy_tokens, seconds, {row["key"]: row["answer"] for row in rows}, note)


def _needed(progress: Progress, items: list[Prompt]) -> int:
    """Tokens that the verifier has to see once: the new ones of each step, and each prompt."""
    return progress.verifier_tokens + sum(len(prompt.token_ids) for prompt in items)


def long_steps(setup: Setup, length: int = 100, sequences: int = 32) -> float:
    """Verifier tokens computed a token needed, where each step has `length` tokens: branches of the same prompts, a step at a
    time, as a search asks them."""
    import random

    async def scored() -> tuple[int, int]:
        engine = load_verifier(setup.verifier)
        rng, context = random.Random(0), engine.info.context
        prompts = [
            tuple(rng.randrange(3, engine.info.vocabulary) for _ in range(64)) for _ in range(sequences)
        ]
        needed = sum(map(len, prompts))
        for count in range(1, (context - 64) // length + 1):
            new = [tuple(rng.randrange(3, engine.info.vocabulary) for _ in range(length)) for _ in prompts]
            prompts = [old + step for old, step in zip(prompts, new, strict=True)]
            needed += length * sequences
            ends = tuple(64 + length * (i + 1) for i in range(count))
            await asyncio.gather(*(engine.score(ScoreRequest(ids, 64, ends)) for ids in prompts))
        computed = engine.counters().tokens_computed
        await engine.close()
        return computed, needed

    computed, needed = asyncio.run(scored())
    return computed / needed


def _same(one: Result, other: Result) -> str:
    return f"{sum(one.answers[p] == a for p, a in other.answers.items())} of {len(one.answers)} answers equal"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--problems", type=int, default=64, help="problems, which the loop steps together")
    parser.add_argument("--n", type=int, default=16, help="samples or beams of a problem")
    parser.add_argument("--policy", type=Path, default=MODELS / "policy", help="the policy's folder")
    parser.add_argument("--verifier", type=Path, default=MODELS / "prm", help="the verifier's folder")
    parser.add_argument(
        "--verifier-engine", choices=["vllm", "local"], default="vllm", help="what ours scores with"
    )
    parser.add_argument("--delimiter", default="\n", help="text that ends a step")
    parser.add_argument("--max-tokens", type=int, default=256, help="tokens of a solution")
    parser.add_argument("--sequences", type=int, default=256, help="sequences that run at once")
    parser.add_argument("--gpus", type=float, default=0.0, help="GPUs of each model's replica")
    parser.add_argument("--strategies", nargs="*", default=["beam", "dvts"], help="searches to time")
    given = parser.parse_args()
    keep_freed_memory()
    device = "cuda" if given.gpus else "cpu"
    dtype = "bfloat16" if given.gpus else "float32"

    def plan(path: Path, engine: EngineName) -> ModelPlan:
        return ModelPlan(
            path,
            gpus=given.gpus,
            max_sequences=given.sequences,
            device=device,
            dtype=dtype,
            engine=engine,
        )

    setup = Setup(
        plan(given.policy, "vllm"),
        plan(given.verifier, given.verifier_engine),
        given.delimiter,
        given.max_tokens,
    )
    prepare_process(setup.policy)
    import_vllm()
    items = prompts(given.problems, given.policy)
    console = Console()
    table = Table(
        "what",
        "figure",
        "by",
        "ratio",
        "",
        title=f"{device}, {dtype}, {given.problems} problems, N = {given.n}",
    )

    def row(what: str, one: Result, other: Result, *, minute: bool = False) -> None:
        mine, theirs = (one.per_minute(), other.per_minute()) if minute else (one.rate, other.rate)
        unit = "problems/min" if minute else "tokens/s"
        note = "; ".join(text for text in (one.note, other.note, _same(one, other)) if text)
        table.add_row(what, f"{mine:,.1f} {unit}", f"{theirs:,.1f}", f"{mine / theirs:.2f}", note)
        console.print(
            f"{what}: {mine:,.1f} against {theirs:,.1f} {unit}, {mine / theirs:.2f} ({note})", soft_wrap=True
        )

    turns = Turns()
    policy = LockStepPolicy(setup.policy, turns)
    majority = parse(f"majority(n={given.n})")
    in_turns(setup, policy, None, items[:4], majority)
    raw = in_turns(setup, policy, None, items, majority)
    policy.likelihoods = False
    bare = in_turns(setup, policy, None, items, majority)
    policy.likelihoods = True
    searches = [parse(f"{name}(n={given.n},width=4)") for name in given.strategies]
    whole = {}
    # Nothing else runs while the loop scores: all cores are its verifier's, where that is faster.
    ways = [(size, threads) for size in SCORE_BATCHES for threads in sorted({1, os.cpu_count() or 1})]
    _try(setup, policy, items[:16], searches[0], *ways[0])
    batch, threads = min(ways, key=lambda way: _try(setup, policy, items[:16], searches[0], *way))
    for strategy in searches:
        whole[strategy.text] = in_turns(
            setup, policy, WholePrefixes(setup.verifier, turns, batch, threads), items, strategy
        )
    new = {}
    for strategy in searches:
        verifier = NewSteps(setup.verifier, turns)
        new[strategy.text] = in_turns(setup, policy, verifier, items, strategy)
        verifier.close()
    asyncio.run(policy.close())

    ourselves = ours(setup, items, majority)
    row("samples through the runtime against LLM.generate", ourselves, raw)
    row("the same against LLM.generate without likelihoods", ourselves, bare)
    row("best-of-N, scored, against LLM.generate", ours(setup, items, parse(f"best_of_n(n={given.n})")), raw)
    for strategy in searches:
        mine = ours(setup, items, strategy)
        row(
            f"{strategy.text} against lock-step (batches of {batch}, {threads} threads)",
            mine,
            whole[strategy.text],
            minute=True,
        )
        row(f"{strategy.text}: reuse alone", new[strategy.text], whole[strategy.text], minute=True)
        row(f"{strategy.text}: overlap alone", mine, new[strategy.text], minute=True)
    console.print(table)
    for engine in sorted({"local", given.verifier_engine}):
        ratio = long_steps(replace(setup, verifier=replace(setup.verifier, engine=engine)))
        console.print(
            f"verifier tokens computed a token needed, steps of 100 tokens, {engine} engine: {ratio:.3f}"
        )


def _try(
    setup: Setup, policy: LockStepPolicy, items: list[Prompt], strategy: Strategy, batch: int, threads: int
) -> float:
    """Seconds of scoring with a batch size and so many threads."""
    verifier = WholePrefixes(setup.verifier, policy._turns, batch, threads)
    in_turns(setup, policy, verifier, items, strategy)
    return verifier.seconds


if __name__ == "__main__":
    main()
