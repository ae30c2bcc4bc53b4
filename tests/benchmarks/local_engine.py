"""The local engine against transformers' own `generate`, in one run on the same models, prompts and thread.

    python -m tests.benchmarks.local_engine [--requests 1024] [--beams 64]

Three pairs. Sampling: seeded requests with natural stops, on the engine and by `generate` in waves (static cache, the best
of several batch sizes). Beam search: on the engine, and in waves that generate one step of every beam, prefill every prefix
again and score whole prefixes. Ray: the sampling job through scheduler, replica and run writer, against the engine alone.
Each line is a ratio; absolute figures depend on the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from actors.cluster.placement import Cluster, RunPlan
from actors.engines.local.policy import LocalEngine
from actors.engines.local.verifier import ScoringEngine
from actors.engines.plan import ModelPlan
from actors.engines.verifiers.value_head import ValueHead
from actors.ledger import Purse
from actors.memory import keep_freed_memory
from actors.replicas.bench import Bench, TaskBench
from actors.replicas.clients import TaskModels
from actors.replicas.meter import Meter
from actors.replicas.reader import ReaderPlan, TokenReader
from actors.strategy import Prompt, Role, Strategy
from actors.work import Task
from orchestration.allocation.first_come import WITHOUT_BUDGET, FirstCome
from orchestration.flops import ModelCost
from orchestration.problems.datasets.arithmetic import SHIPPED
from orchestration.problems.datasets.generated import Generated
from orchestration.problems.graders.number import NumberGrader
from orchestration.problems.prompting import PromptFormat
from orchestration.strategies.parse import parse
from orchestration.training.batches import Labelled, StepBatches
from orchestration.training.measures import step_logits
from tests.support.places import MODELS

MAX_TOKENS = 320
SAMPLES = 8
WAVES = (2, 4, 8, 16, 32, 64, 128, 256)
PROBE = 256
"""Requests on which the best batch size of the waves is found, before all are timed with it."""


def prompts(count: int, policy: Path = MODELS / "policy") -> list[Prompt]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(policy)
    form = PromptFormat()
    problems = Generated(SHIPPED, "test", count, 0)
    return [Prompt(p.id, tuple(form.prompt_ids(tokenizer, p.question))) for p in problems]


def reader_plan() -> ReaderPlan:
    return ReaderPlan(MODELS / "policy", "\n", NumberGrader())


async def on_engine(items: list[Prompt], strategy: Strategy) -> tuple[int, float]:
    """Solve all prompts in this process; return sampled tokens and seconds."""
    engine = LocalEngine.load(MODELS / "policy")
    scorer = ScoringEngine.load(MODELS / "prm") if strategy.uses_verifier else None
    reader = TokenReader(reader_plan(), engine.info.eos_ids)
    cost = ModelCost.from_folder(MODELS / "policy")
    run = Bench(reader_plan(), {"policy": cost, "verifier": cost}, "paper", MAX_TOKENS)

    async def solve(prompt: Prompt) -> None:
        bench = TaskBench(run, prompt, 0, engine, scorer, reader, Purse(WITHOUT_BUDGET))
        await strategy.solve(prompt, TaskModels.of(bench, Meter()))

    started = time.perf_counter()
    await asyncio.gather(*(solve(prompt) for prompt in items))
    seconds = time.perf_counter() - started
    tokens = engine.counters().tokens_out
    await engine.close()
    return tokens, seconds


class Waves:
    """`generate` of transformers on batches that start and end together."""

    def __init__(self, batch: int) -> None:
        from transformers import AutoModelForCausalLM

        self.batch = batch
        self.policy = AutoModelForCausalLM.from_pretrained(MODELS / "policy", dtype=torch.float32).eval()
        self.pad = int(self.policy.config.pad_token_id)
        self.eos = int(self.policy.config.eos_token_id)

    @torch.inference_mode()
    def generate(
        self, contexts: list[tuple[int, ...]], limit: int, stops: tuple[int, ...] = ()
    ) -> list[tuple[int, ...]]:
        """Continue every context to its end token, one of `stops` or the limit; batches in the order given."""
        results: list[tuple[int, ...]] = []
        ends = {self.eos, *stops}
        for first in range(0, len(contexts), self.batch):
            wave = contexts[first : first + self.batch]
            width = max(map(len, wave))
            ids = torch.tensor([[self.pad] * (width - len(c)) + list(c) for c in wave])
            mask = torch.tensor([[0] * (width - len(c)) + [1] * len(c) for c in wave])
            output = self.policy.generate(
                input_ids=ids,
                attention_mask=mask,
                do_sample=True,
                top_k=0,
                max_new_tokens=limit,
                eos_token_id=sorted(ends),
                pad_token_id=self.pad,
                cache_implementation="static",
                disable_compile=True,
            )
            for row in output[:, width:].tolist():
                length = next((i + 1 for i, token in enumerate(row) if token in ends), len(row))
                results.append(tuple(row[:length]))
        return results


def sampling_by_waves(items: list[Prompt], batch: int) -> tuple[int, float]:
    waves = Waves(batch)
    torch.manual_seed(0)
    contexts = [p.token_ids for p in items for _ in range(SAMPLES)]
    waves.generate(contexts[:batch], 4)
    started = time.perf_counter()
    tokens = sum(map(len, waves.generate(contexts, MAX_TOKENS)))
    return tokens, time.perf_counter() - started


def beam_by_waves(items: list[Prompt], n: int, width: int, batch: int) -> tuple[int, float]:
    """Beam search over all prompts in lock-step, as it is commonly written: generate a step, score whole prefixes, prune."""
    from transformers import AutoModelForCausalLM

    waves = Waves(batch)
    verifier: Any = AutoModelForCausalLM.from_pretrained(MODELS / "prm", dtype=torch.float32).eval()
    verifier.value_head = ValueHead.load(MODELS / "prm")
    reader = TokenReader(reader_plan(), (waves.eos,))
    torch.manual_seed(0)
    waves.generate([items[0].token_ids] * batch, 4)
    started = time.perf_counter()
    tokens = 0
    pools: list[list[tuple[int, ...]]] = [[()] * n for _ in items]
    live: list[list[bool]] = [[True] * n for _ in items]
    for _ in range(40):
        going = [(p, b) for p, pool in enumerate(pools) for b in range(len(pool)) if live[p][b]]
        if not going:
            break
        contexts = [items[p].token_ids + pools[p][b] for p, b in going]
        steps = waves.generate(contexts, MAX_TOKENS // 4, reader.stop_ids)
        for (p, b), step in zip(going, steps, strict=True):
            tokens += len(step)
            pools[p][b] += step
            live[p][b] = step[-1] != waves.eos and len(pools[p][b]) < MAX_TOKENS
        values = _score(verifier, reader, [(items[p], pools[p][b]) for p, b in going], batch)
        ranked: dict[int, list[tuple[float, int]]] = {}
        for (p, b), value in zip(going, values, strict=True):
            ranked.setdefault(p, []).append((-value, b))
        for p, order in ranked.items():
            finished = [pool for b, pool in enumerate(pools[p]) if not live[p][b]]
            best = [pools[p][b] for _, b in sorted(order) if live[p][b]][: max(1, n // width)]
            children = [pool for pool in best for _ in range(width)]
            pools[p] = finished + children
            live[p] = [False] * len(finished) + [True] * len(children)
            if len(finished) >= n:
                live[p] = [False] * len(pools[p])
    return tokens, time.perf_counter() - started


@torch.inference_mode()
def _score(
    verifier: Any, reader: TokenReader, items: list[tuple[Prompt, tuple[int, ...]]], batch: int
) -> list[float]:
    rows = []
    for number, (prompt, solution) in enumerate(items):
        start = len(prompt.token_ids)
        ends = tuple(start + e for e in reader.step_ends(solution)) or (start + len(solution),)
        labels = (0.0,) * len(ends)
        rows.append(Labelled(prompt.token_ids + solution, start, ends, labels, True, str(number)))
    values = [0.0] * len(rows)
    batches = StepBatches(rows, 4096, 0, seed=0)
    for index in range(len(batches)):
        logits, _ = step_logits(verifier, batches[index])
        for row, one in enumerate(batches.members(index)):
            values[int(one.problem_id)] = float(logits[row, len(one.ends)])
    return values


def through_ray(items: list[Prompt], strategy: Strategy) -> tuple[int, float]:
    """The same job through scheduler, one policy replica and the run writer; seconds from first lease to last commit."""
    cost = ModelCost.from_folder(MODELS / "policy")
    bench = Bench(reader_plan(), {"policy": cost}, "paper", MAX_TOKENS)

    def tasks() -> Iterator[tuple[Task, str | None]]:
        for prompt in items:
            yield Task(prompt.id, prompt, (strategy,), (prompt.id,), 0), None

    with tempfile.TemporaryDirectory() as folder:
        models: dict[Role, ModelPlan] = {"policy": ModelPlan(MODELS / "policy")}
        plan = RunPlan(Path(folder), models, bench, FirstCome(None), NumberGrader())
        with Cluster(plan) as cluster:
            cluster.infos()
            started = time.perf_counter()
            progress = cluster.run(tasks())
            return progress.of("policy").tokens, time.perf_counter() - started


def _rate(run: tuple[int, float]) -> float:
    return run[0] / run[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=1024, help="seeded requests of the sampling pair")
    parser.add_argument("--beams", type=int, default=64, help="prompts of the beam-search pair")
    options = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    items = prompts(max(options.requests // SAMPLES, options.beams))
    sampled, searched = items[: options.requests // SAMPLES], items[: options.beams]
    table = Table("pair", "ours", "theirs", "ratio", title="one thread, float32")

    majority = parse(f"majority(n={SAMPLES})")
    ours = _rate(asyncio.run(on_engine(sampled, majority)))
    best = max(WAVES, key=lambda batch: _rate(sampling_by_waves(sampled[: max(1, PROBE // SAMPLES)], batch)))
    theirs = _rate(sampling_by_waves(sampled, best))
    table.add_row(
        f"sampling, useful tokens/s ({options.requests} requests; waves of {best})",
        f"{ours:,.0f}",
        f"{theirs:,.0f}",
        f"{ours / theirs:.2f}",
    )

    tokens, seconds = asyncio.run(on_engine(searched, parse("beam(n=16,width=4)")))
    wave_tokens, wave_seconds = beam_by_waves(searched, 16, 4, best)
    ours_minute, theirs_minute = 60 * len(searched) / seconds, 60 * len(searched) / wave_seconds
    table.add_row(
        f"beam(n=16,width=4), problems/minute ({tokens:,} against {wave_tokens:,} tokens)",
        f"{ours_minute:,.1f}",
        f"{theirs_minute:,.1f}",
        f"{ours_minute / theirs_minute:.2f}",
    )

    through = _rate(through_ray(sampled, majority))
    table.add_row(
        "sampling through Ray against the engine alone, tokens/s",
        f"{through:,.0f}",
        f"{ours:,.0f}",
        f"{through / ours:.2f}",
    )
    Console().print(table)


if __name__ == "__main__":
    main()
