"""What a policy replica does beside its verifiers' work: books of scores, and who scores which problem.

    python -m tests.benchmarks.verifier_books [--steps 50]

Books: microseconds that one more score takes at depth 1, 10 and 40, over a verifier that answers at once, where the strategy
asks as a search does (`orchestration.strategies.search.growth`): the scores, then twice where the steps end. Time is that of
this process on its core. Load: the busiest of 128 verifiers as a multiple of the mean, and how many have nothing to do, for
ten thousand problems of one seed, with ids as data sets give them.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actors.engines.base import EngineCounters, EngineInfo, GenerateRequest, Generation, ScoreRequest, Scores
from actors.ledger import Purse
from actors.replicas.bench import Bench, TaskBench
from actors.replicas.clients import TaskModels
from actors.replicas.meter import Meter
from actors.replicas.peers import rendezvous
from actors.replicas.reader import ReaderPlan, TokenReader
from actors.store.library import score_key, score_row
from actors.strategy import Prompt
from actors.work import Cost
from orchestration.flops import ModelCost

SHIPPED = Path(__file__).parents[2] / "models" / "arithmetic"
DEPTHS = (1, 10, 40)
TREES = 20
PROMPT = tuple(range(3, 103))

VERIFIERS, PROBLEMS = 128, 10_000

IDS: dict[str, Callable[[int], str]] = {
    "arithmetic-17": lambda i: f"arithmetic-{i}",
    "test/algebra/17.json": lambda i: f"test/algebra/{i}.json",
    "hash (16 hex digits)": lambda i: hashlib.blake2b(b"%d" % i, digest_size=8).hexdigest(),
}


class Nobody:
    """A policy engine that is never asked."""

    slots = 1
    info = EngineInfo("policy", "", "", "local", "float32", 1 << 20, 0, ())

    async def generate(self, request: GenerateRequest) -> Generation:
        raise AssertionError

    def counters(self) -> EngineCounters:
        return EngineCounters(0, 0, 0.0, 0)

    async def close(self) -> None:
        return


class AtOnce:
    """A verifier that takes no time."""

    async def score(self, request: ScoreRequest) -> Scores:
        return Scores((0.5,) * len(request.step_ends), 1)


class Anew:
    """The old way of a task's books: each score reads and hashes all steps before it again."""

    def __init__(self, bench: TaskBench) -> None:
        self._bench = bench
        self._scores: dict[tuple[int, ...], asyncio.Future[tuple[float, ...]]] = {}
        self._scored: set[tuple[int, ...]] = set()
        self._mine: set[tuple[int, ...]] = set()
        self._attributed = Cost()

    def step_ends(self, solution: tuple[int, ...]) -> tuple[int, ...]:
        return self._bench.reader.step_ends(solution)

    async def score(self, solution: tuple[int, ...]) -> tuple[float, ...]:
        ends, cost = self.step_ends(solution), self._bench.run.costs["verifier"]
        steps = solution[: ends[-1]]
        if steps not in self._scores:
            self._scores[steps] = asyncio.ensure_future(self._ask(steps, ends))
        values = await asyncio.shield(self._scores[steps])
        new = _new_length(steps, ends, self._mine)
        self._mine.update(steps[:end] for end in ends)
        self._attributed += Cost({"verifier": new}, cost.paper(new), cost.exact(len(steps) - new, new, new))
        return values

    async def _ask(self, solution: tuple[int, ...], ends: tuple[int, ...]) -> tuple[float, ...]:
        bench, cost = self._bench, self._bench.run.costs["verifier"]
        assert bench.scorer is not None
        start, ids = len(PROMPT), PROMPT + solution
        keys = [score_key("", ids[: start + end]) for end in ends]
        known = [bench.prior.scores.get(key) for key in keys]
        self._scored.update(solution[:end] for end, v in zip(ends, known, strict=True) if v is not None)
        new = _new_length(solution, ends, self._scored)
        worst = bench.run.price(Cost(paper=cost.paper(new)))
        await bench.purse.reserve(worst)
        scores = await bench.scorer.score(ScoreRequest(ids, start, tuple(start + end for end in ends)))
        bench.purse.settle(worst, worst, "verifier")
        for end, key, value in zip(ends, keys, scores.values, strict=True):
            if solution[:end] not in self._scored:
                bench.score_rows.append(score_row(key, bench.prompt.id, value))
                self._scored.add(solution[:end])
        return scores.values


def _new_length(solution: tuple[int, ...], ends: tuple[int, ...], scored: set[tuple[int, ...]]) -> int:
    for end in reversed(ends):
        if solution[:end] in scored:
            return ends[-1] - end
    return ends[-1]


Score = Callable[[tuple[int, ...]], Awaitable[tuple[float, ...]]]
Ends = Callable[[tuple[int, ...]], tuple[int, ...]]


async def chain(score: Score, ends: Ends, step: tuple[int, ...]) -> list[float]:
    """Seconds that each score of a growing solution took."""
    seconds: list[float] = []
    solution: tuple[int, ...] = ()
    for _ in range(max(DEPTHS)):
        solution += step
        started = time.process_time()
        await score(solution)
        ends(solution)
        ends(solution)
        seconds.append(time.process_time() - started)
    return seconds


async def books(console: Console, tokens: int) -> None:
    plan = ReaderPlan(SHIPPED / "policy", "\n", _NoAnswers())
    reader = TokenReader(plan, ())
    word = next(i for i in range(3, 10_000) if i not in reader.stop_ids and reader.step_ends((i,)))
    costs = {
        "policy": ModelCost.from_folder(SHIPPED / "policy"),
        "verifier": ModelCost.from_folder(SHIPPED / "prm"),
    }
    bench = Bench(plan, costs, "paper", 1 << 19)  # type: ignore[arg-type]

    def task() -> TaskBench:
        return TaskBench(bench, Prompt("p", PROMPT), 0, Nobody(), AtOnce(), reader, Purse(1 << 80))

    old: list[list[float]] = []
    new: list[list[float]] = []
    for tree in range(TREES):
        step = (*(word,) * (tokens - 1 - tree % 2), reader.stop_ids[0])
        anew = Anew(task())
        old.append(await chain(anew.score, anew.step_ends, step))
        models = TaskModels.of(task(), Meter())
        new.append(await chain(models.verifier.score, models.reader.step_ends, step))
    table = Table("depth", "before", "after", "ratio")
    for depth in DEPTHS:
        before, after = (statistics.median(one[depth - 1] for one in way) * 1e6 for way in (old, new))
        table.add_row(f"{depth}", f"{before:,.0f} us", f"{after:,.0f} us", f"{before / after:.1f}")
    before, after = (64 * statistics.median(sum(one) for one in way) for way in (old, new))
    table.add_row("64 x 40 steps", f"{before:.2f} s", f"{after:.2f} s", f"{before / after:.1f}")
    console.print(f"bookkeeping one score, steps of {tokens} tokens", table)


class _NoAnswers:
    def extract(self, text: str) -> str | None:
        return None


def by_sum(problem_id: str) -> int:
    """The old way."""
    return sum(problem_id.encode()) % VERIFIERS


def by_hash(problem_id: str) -> int:
    return rendezvous(f"0/{problem_id}", VERIFIERS)[0]


def load(console: Console) -> None:
    table = Table("ids", "idle, before", "busiest, before", "idle, after", "busiest, after", "busiest, ratio")
    for name, make in IDS.items():
        told, shares = [name], []
        for home in (by_sum, by_hash):
            counts = Counter(home(make(i)) for i in range(PROBLEMS))
            shares.append(max(counts.values()) * VERIFIERS / PROBLEMS)
            told += [f"{VERIFIERS - len(counts)}", f"{shares[-1]:.2f} x mean"]
        table.add_row(*told, f"{shares[0] / shares[1]:.1f}")
    console.print(f"{PROBLEMS:,} problems on {VERIFIERS} verifiers", table)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=50, help="tokens of a step")
    arguments = parser.parse_args()
    console = Console()
    asyncio.run(books(console, arguments.steps))
    load(console)


if __name__ == "__main__":
    main()
