"""Search on vLLM against vLLM alone and against a loop in lock-step, in one run on the same models, requests and seeds.

    python -m tests.benchmarks.vllm_search [--problems 192] [--n 16] [--policy FOLDER --verifier FOLDER] [--gpus 0.3]

Needs vLLM; runs on a CPU and on a GPU. Sampling: `LLM.generate` on all requests of best-of-N at once against the same
requests through scheduler, replica and run writer. Search: beam search and DVTS through the same, against the loop of
`lock_step.py`. A second loop scores new steps alone, so that what reuse of the verifier's work gains and what overlap gains
are told apart. Both sides have all cores: the loop gives them to the model that works just then, the runtime has a replica
of the policy on each, but for one where it scores as well. A loop on one thread is timed too. The loop is warm; the
runtime's processes are fresh each time, and grow as they go. Neither side has vLLM tell likelihoods, but where a row says so
or with --likelihoods; both have a seed for each request. All sides take turns, and ratios are those of one round: a machine's
speed drifts. Figures depend on the machine; the ratios are what is claimed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from actors.cluster.driver import get
from actors.cluster.placement import Cluster, RunPlan
from actors.engines.base import EngineName, ScoreRequest
from actors.engines.loading import load_verifier
from actors.engines.plan import ModelPlan, ReplicaShare
from actors.engines.vllm.start import prepare_process
from actors.memory import keep_freed_memory
from actors.strategy import Prompt, Role, Strategy
from actors.work import Progress, Task
from orchestration.allocation.first_come import FirstCome
from orchestration.problems.graders.number import NumberGrader
from orchestration.strategies.parse import parse
from tests.benchmarks.local_engine import MODELS, prompts
from tests.benchmarks.lock_step import Loop, LoopProcess, Result, Setup

Runs = dict[str, list[Result]]


def ours(setup: Setup, items: list[Prompt], strategy: Strategy) -> Result:
    """Solve all problems through the whole runtime; seconds from the first lease to the last commit."""
    scored = strategy.uses_verifier
    models: dict[Role, ModelPlan] = {"policy": setup.policy} | (
        {"verifier": setup.verifier} if scored else {}
    )
    bench = setup.bench(models)

    def tasks() -> Iterator[tuple[Task, str | None]]:
        for prompt in items:
            yield Task(prompt.id, prompt, (strategy,), (prompt.id,), 0), None

    with tempfile.TemporaryDirectory() as folder:
        plan = RunPlan(Path(folder), models, bench, FirstCome(None), NumberGrader())
        started = time.perf_counter()
        with Cluster(plan) as cluster:
            cluster.infos()
            begun = time.perf_counter()
            progress = cluster.run(tasks())
            seconds = time.perf_counter() - begun
            computed = sum(
                get(one.pulse.remote()).counters.tokens_computed
                for one in cluster.replicas["verifier"].values()
            )
        parts = (Path(folder) / "outcomes").glob("*.parquet")
        columns = ["key", "answer", "state"]
        rows = [row for part in parts for row in pq.read_table(part, columns=columns).to_pylist()]
    assert [row["state"] for row in rows] == ["answered"] * len(items)
    note = f"start {begun - started:.0f} s; busy: policy {progress.of('policy').busy / seconds:.0%}"
    if scored:
        note += f", verifier {progress.of('verifier').busy / seconds:.0%}; "
        note += f"verifier tokens computed a token needed {computed / _needed(progress, items):.2f}"
    return Result(progress.of("policy").tokens, seconds, {row["key"]: row["answer"] for row in rows}, note)


def _needed(progress: Progress, items: list[Prompt]) -> int:
    """Tokens that the verifier has to see once: the new ones of each step, and each prompt."""
    return progress.of("verifier").tokens + sum(len(prompt.token_ids) for prompt in items)


def long_steps(setup: Setup, length: int = 100, sequences: int = 32) -> float:
    """Verifier tokens computed a token needed, where each step has `length` tokens: branches of the same prompts, a step at a
    time, as a search asks them."""

    async def scored() -> tuple[int, int]:
        engine = load_verifier(setup.verifier)
        rng, context = random.Random(0), engine.info.context
        texts = [tuple(rng.randrange(3, engine.info.vocabulary) for _ in range(64)) for _ in range(sequences)]
        needed = sum(map(len, texts))
        for count in range(1, (context - 64) // length + 1):
            new = [tuple(rng.randrange(3, engine.info.vocabulary) for _ in range(length)) for _ in texts]
            texts = [old + step for old, step in zip(texts, new, strict=True)]
            needed += length * sequences
            ends = tuple(64 + length * (i + 1) for i in range(count))
            await asyncio.gather(*(engine.score(ScoreRequest(ids, 64, ends)) for ids in texts))
        computed = engine.counters().tokens_computed
        await engine.close()
        return computed, needed

    computed, needed = asyncio.run(scored())
    return computed / needed


class Page:
    """What is told, line by line and in the end as one table."""

    def __init__(self, title: str) -> None:
        self.console = Console()
        self._table = Table("what", "figure", "against", "ratio", "from", "to", title=title)

    def row(self, what: str, mine: list[Result], theirs: list[Result], *, minute: bool = False) -> None:
        """Medians, and the ratios of each round's two."""
        pairs = [
            (a.per_minute(), b.per_minute()) if minute else (a.rate, b.rate)
            for a, b in zip(mine, theirs, strict=True)
        ]
        one, other = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratios = sorted(a / b for a, b in pairs)
        ratio, low, high = statistics.median(ratios), ratios[0], ratios[-1]
        cells = f"{one:,.0f}", f"{other:,.0f}", f"{ratio:.2f}", f"{low:.2f}", f"{high:.2f}"
        self._table.add_row(f"{what}, {'problems/min' if minute else 'tokens/s'}", *cells)
        self.console.print(
            what,
            *cells,
            f"({mine[-1].note}; {theirs[-1].note}; {_same(mine[-1], theirs[-1])})",
            soft_wrap=True,
        )

    def end(self) -> None:
        self.console.print(self._table)


def _same(one: Result, other: Result) -> str:
    equal = sum(one.answers[p] == a for p, a in other.answers.items())
    return f"{equal} of {len(one.answers)} answers equal, {one.tokens:,} and {other.tokens:,} tokens"


def take_turns(sides: Mapping[str, Callable[[], Result]], rounds: int) -> Runs:
    """Run all sides one after another, so many times."""
    runs: Runs = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            runs[name].append(side())
    return runs


def _spread(setup: Setup, replicas: int) -> Setup:
    """The same sequences on several replicas of the policy."""
    if replicas <= 1:
        return setup
    share = setup.policy.share
    most = max(1, share.max_sequences // replicas)
    # Half a core asked for each: what else runs asks for some too.
    share = replace(share, replicas=replicas, cpus=0.5, max_sequences=most)
    return replace(setup, policy=replace(setup.policy, share=share))


def _scored_by(engine: EngineName, setup: Setup) -> Setup:
    return replace(setup, verifier=replace(setup.verifier, engine=engine))


def time_sampling(
    page: Page, setup: Setup, loops: dict[int, LoopProcess], items: list[Prompt], n: int, rounds: int
) -> None:
    majority, best = parse(f"majority(n={n})"), parse(f"best_of_n(n={n})")
    cores = max(loops)
    all_cores = _spread(setup, cores)
    sides: dict[str, Callable[[], Result]] = {
        "raw": lambda: loops[cores].ask(Loop.sample, items, majority, setup.likelihoods),
        "ours": lambda: ours(all_cores, items, majority),
        "raw, told": lambda: loops[cores].ask(Loop.sample, items, majority, True),
        "ours, told": lambda: ours(replace(all_cores, likelihoods=True), items, majority),
        "best": lambda: ours(_scored_by("local", _spread(setup, cores - 1)), items, best),
    }
    if cores > 1:
        sides["ours, one"] = lambda: ours(setup, items, majority)
        sides["raw, one"] = lambda: loops[1].ask(Loop.sample, items, majority, setup.likelihoods)
    runs = take_turns(sides, rounds)
    page.row("samples against LLM.generate", runs["ours"], runs["raw"])
    page.row("the same, with likelihoods", runs["ours, told"], runs["raw, told"])
    page.row("best-of-N, scored as well, against LLM.generate", runs["best"], runs["raw"])
    if cores > 1:
        what = "samples, one replica on one thread, against LLM.generate on one thread"
        page.row(what, runs["ours, one"], runs["raw, one"])


def time_search(
    page: Page,
    setup: Setup,
    loops: dict[int, LoopProcess],
    items: list[Prompt],
    strategy: Strategy,
    rounds: int,
) -> None:
    cores = max(loops)
    spread = _spread(setup, cores - 1)
    sides: dict[str, Callable[[], Result]] = {
        "loop": lambda: loops[cores].ask(Loop.search, items, strategy),
        "ours": lambda: ours(_scored_by("local", spread), items, strategy),
        "reuse": lambda: loops[cores].ask(Loop.reuse, items, strategy),
        "vllm": lambda: ours(_scored_by("vllm", spread), items, strategy),
    }
    if cores > 1:
        sides["loop, one"] = lambda: loops[1].ask(Loop.search, items, strategy)
    runs = take_turns(sides, rounds)
    name = strategy.text
    page.row(f"{name} against lock-step", runs["ours"], runs["loop"], minute=True)
    page.row(f"{name}: reuse alone", runs["reuse"], runs["loop"], minute=True)
    page.row(f"{name}: overlap alone", runs["ours"], runs["reuse"], minute=True)
    page.row(f"{name}, verifier on vLLM, against lock-step", runs["vllm"], runs["loop"], minute=True)
    if cores > 1:
        page.row(f"{name} against lock-step on one thread", runs["ours"], runs["loop, one"], minute=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--problems", type=int, default=192, help="problems, which the loop steps together")
    parser.add_argument("--n", type=int, default=16, help="samples or beams of a problem")
    parser.add_argument("--rounds", type=int, default=2, help="times that all sides take turns")
    parser.add_argument("--policy", type=Path, default=MODELS / "policy", help="the policy's folder")
    parser.add_argument("--verifier", type=Path, default=MODELS / "prm", help="the verifier's folder")
    parser.add_argument("--delimiter", default="\n", help="text that ends a step")
    parser.add_argument("--max-tokens", type=int, default=256, help="tokens of a solution")
    parser.add_argument("--sequences", type=int, default=256, help="sequences that run at once")
    parser.add_argument(
        "--gpus", type=float, default=0.0, help="share of a GPU of the loop and of each model"
    )
    parser.add_argument("--likelihoods", action="store_true", help="have vLLM tell likelihoods everywhere")
    parser.add_argument("--strategies", nargs="+", default=["beam", "dvts"], help="searches to time")
    given = parser.parse_args()
    keep_freed_memory()
    device, dtype = ("cuda", "bfloat16") if given.gpus else ("cpu", "float32")
    cores = 1 if given.gpus else os.cpu_count() or 1

    def plan(path: Path) -> ModelPlan:
        share = ReplicaShare(gpus=given.gpus, max_sequences=given.sequences, device=device)
        return ModelPlan(path, share, dtype=dtype, engine="vllm")

    setup = Setup(
        plan(given.policy), plan(given.verifier), given.delimiter, given.max_tokens, given.likelihoods
    )
    prepare_process(setup.policy)
    items = prompts(given.problems, given.policy)
    searches = [parse(f"{name}(n={given.n},width=4)") for name in given.strategies]
    page = Page(f"{device}, {dtype}, {given.problems} problems, N = {given.n}, {given.rounds} rounds")
    loops = {threads: LoopProcess(setup, threads) for threads in {1, cores}}
    try:
        for threads, loop in loops.items():
            for likelihoods in (False, True):
                loop.ask(Loop.sample, items[:4], parse("majority(n=4)"), likelihoods)
            batch = loop.ask(Loop.choose_batch, items[:64], searches[0])
            page.console.print(f"the loop on {threads} threads scores in batches of {batch} tokens")
        time_sampling(page, setup, loops, items, given.n, given.rounds)
        for strategy in searches:
            time_search(page, setup, loops, items, strategy, given.rounds)
    finally:
        for loop in loops.values():
            loop.close()
        page.end()
    engines: tuple[EngineName, ...] = ("local", "vllm")
    for engine in engines:
        ratio = long_steps(_scored_by(engine, setup))
        what = f"verifier tokens computed a token needed, steps of 100 tokens, {engine} engine"
        page.console.print(f"{what}: {ratio:.3f}")


if __name__ == "__main__":
    main()
