"""Grading beside the store: tasks a second through the run writer with the math grader, and how long a commit waits.

    python -m tests.benchmarks.grading [--tasks 6] [--candidates 64] [--tokens 1000]

Each task has so many candidates, no two of which give the same answer, and samples of as many tokens. All tasks are staged at
once, as by a cluster whose tasks end together, and settled as they are graded; beside them another task commits, again and
again. Before: the writer's actor has one thread and the grader one process, so that whatever comes waits behind what is
graded. After: as runs have them. The last row is the latter without a grader, which is what the store itself takes.

A second table says where the writer's own time goes, a task, and what record batches would take in place of lines.
"""

from __future__ import annotations

import argparse
import pickle
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from rich.console import Console
from rich.table import Table

from actors.cluster.driver import get
from actors.cluster.ray_start import start_ray
from actors.cluster.shells import WriterActor, staging
from actors.ledger import Entry
from actors.messages import Commit, Hold, Record, Settlement
from actors.store.schema import CANDIDATES, SAMPLES
from actors.store.writer import RunWriter, write_part
from actors.work import Cost, Judge, Outcome
from orchestration.problems import MathGrader, judge_of

PAUSE_S = 0.01
"""Between two commits of the task beside."""

FORMS = (
    r"{a}",
    r"\frac{{{a}}}{{{b}}}",
    r"{a} \sqrt{{{b}}}",
    r"x^{{2}} + {a} x + {b}",
    r"\left({a}, {b}\right)",
    r"\left\{{{a}, {b}\right\}}",
    r"\frac{{{a} \pi}}{{{b}}}",
    r"{a} + {b} i",
)
"""What answers to competition mathematics look like, in the grader's canonical form."""


def answers(task: int, count: int) -> list[str]:
    rng = random.Random(task)
    found: dict[str, None] = {}
    while len(found) < count:
        a, b = rng.randrange(2, 900), rng.randrange(3, 97, 2)
        found[FORMS[len(found) % len(FORMS)].format(a=a, b=b)] = None
    return list(found)


def record(task: int, candidates: int, tokens: int) -> Record:
    """What a task of `candidates` solutions leaves on disk."""
    rng = np.random.default_rng(task)
    name = f"problem-{task}"
    cost = Cost({"policy": candidates * tokens}, 10**13, 10**13)
    strategy = f"majority(n={candidates})"
    found = answers(task, candidates)
    whole = Outcome(name, name, strategy, 0, "answered", "", found[0], candidates, 0, tokens, cost, cost, 9.0)
    rows, samples = [], []
    steps = max(1, tokens // 50)
    for index, answer in enumerate(found):
        ids = rng.integers(0, 150_000, tokens, dtype="<i4")
        logprobs = -rng.random(tokens, dtype="<f4")
        rows.append(
            {
                "key": name,
                "problem_id": name,
                "strategy": strategy,
                "seed": 0,
                "index": index,
                "parent": -1,
                "depth": 0,
                "steps": [
                    "so that we have $x^2 + 3x = 7$, and from this it follows that $x$ is at most 2.\n\n" * 2
                ]
                * steps,
                "step_tokens": [50 * (one + 1) for one in range(steps)],
                "token_ids": ids.tolist(),
                "logprobs": logprobs.tolist()[::50],
                "scores": [0.5] * steps,
                "finish_reason": "eos",
                "answer": answer,
                "tokens": tokens,
                "kept": True,
            }
        )
        samples.append(
            {
                "key": index.to_bytes(16, "big"),
                "problem_id": name,
                "seed": 0,
                "place": [index],
                "start": 0,
                "token_ids": ids.tobytes(),
                "logprobs": logprobs.tobytes(),
                "finish_reason": "eos",
            }
        )
    return Record((whole,), rows, samples)


def settlement(lease: int) -> Settlement:
    return Settlement(lease, f"problem-{lease}", 1, (Entry("policy", "kept", 10**13),))


@dataclass(frozen=True, slots=True)
class Through:
    """Tasks a second, and the seconds that the commits beside them waited."""

    rate: float
    waits: list[float]


def through_ray(kind: Any, judge: Judge | None, records: list[Record]) -> Through:
    """All records through a writer's actor, in a folder of its own."""
    numbers = range(1, len(records) + 1)
    with tempfile.TemporaryDirectory() as folder:
        writer = kind.options(num_cpus=0).remote(Path(folder), judge)
        get(writer.label.remote({"warm": "5"} | {f"problem-{lease}": r"\frac{1}{7}" for lease in numbers}))
        holds = tuple(Hold(lease, f"problem-{lease}", 1, "policy-0", 10**13) for lease in numbers)
        get(writer.commit.remote(Commit(holds=holds)))
        # The grader's first process starts with the first answer.
        get(writer.stage.remote(len(records) + 2, "warm", record(0, 1, 1)))
        started = time.perf_counter()
        staged = {
            writer.stage.remote(lease, f"problem-{lease}", one): lease for lease, one in enumerate(records, 1)
        }
        beside = len(records) + 1
        waits = []
        while staged:
            ready, _ = ray.wait(list(staged), num_returns=len(staged), timeout=PAUSE_S)
            get(ready)
            done = tuple(settlement(staged.pop(one)) for one in ready)
            asked = time.perf_counter()
            hold = Hold(beside, "beside", 1, "policy-0", 10**13)
            assert get(writer.commit.remote(Commit(holds=(hold,), settled=done))) == []
            waits.append(time.perf_counter() - asked)
        seconds = time.perf_counter() - started
        ray.kill(writer)
    return Through(len(records) / seconds, waits)


def milliseconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Of a core, and what came of them."""
    started = time.process_time()
    result = work()
    return 1e3 * (time.process_time() - started), result


def as_batches(one: Record) -> bytes:
    """A record's candidates and samples as Arrow's stream of record batches."""
    rows = [row | {"correct": True} for row in one.candidates]
    samples = [
        row
        | {
            "token_ids": np.frombuffer(row["token_ids"], "<i4"),
            "logprobs": np.frombuffer(row["logprobs"], "<f4"),
        }
        for row in one.samples
    ]
    sink = pa.BufferOutputStream()
    for each, schema in ((rows, CANDIDATES), (samples, SAMPLES)):
        arrays = [pa.array([row[name] for row in each], schema.field(name).type) for name in schema.names]
        batch = pa.record_batch(arrays, schema=schema)
        with pa.ipc.new_stream(sink, schema) as stream:
            stream.write_batch(batch)
    return bytes(sink.getvalue())


def parts_of(logged: list[bytes], folder: Path) -> None:
    """The parts that such records make."""
    tables: dict[str, list[pa.Table]] = {"candidates": [], "samples": []}
    for text in logged:
        source = pa.BufferReader(text)
        for name in tables:
            with pa.ipc.open_stream(source) as stream:
                tables[name].append(stream.read_all())
    for name, found in tables.items():
        write_part(pa.concat_tables(found), folder / f"{name}.parquet")


def shares(records: list[Record]) -> list[tuple[str, float, float | None]]:
    """Milliseconds of a core that each part of the store's work takes for a task, with lines and with batches."""
    count = len(records)
    arrived = [pickle.dumps(one, 5) for one in records]
    unpack, _ = milliseconds(lambda: [pickle.loads(one) for one in arrived])
    with tempfile.TemporaryDirectory() as folder:
        writer = RunWriter(Path(folder), None)
        text, _ = milliseconds(
            lambda: [writer.stage(n, f"problem-{n}", one) for n, one in enumerate(records, 1)]
        )
        append, _ = milliseconds(
            lambda: [writer.commit(Commit(settled=(settlement(n),))) for n in range(1, count + 1)]
        )
        compact, _ = milliseconds(writer.close)
    batched, logged = milliseconds(lambda: [as_batches(one) for one in records])
    with tempfile.TemporaryDirectory() as folder:
        whole, _ = milliseconds(lambda: parts_of(logged, Path(folder)))
    rows = [
        ("unpacking what arrived", unpack, None),
        ("making text, or batches", text, batched),
        ("appending", append, None),
        ("making parts", compact, whole),
    ]
    return [(what, one / count, None if other is None else other / count) for what, one, other in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tasks", type=int, default=6)
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=1_000)
    options = parser.parse_args()
    console = Console()
    records = [record(task, options.candidates, options.tokens) for task in range(1, options.tasks + 1)]

    start_ray()
    math = MathGrader()
    runs = {
        "before: graded between two commits": through_ray(ray.remote(RunWriter), math, records),
        "after: graded beside them": through_ray(staging(WriterActor), judge_of(math), records),
        "after, without a grader": through_ray(staging(WriterActor), None, records),
    }
    ray.shutdown()
    before, *_ = runs.values()
    title = (
        f"{options.tasks} tasks of {options.candidates} x {options.tokens:,} tokens through the run writer"
    )
    table = Table("", "tasks/s", "longest wait of a commit", "median", "commits", title=title)
    for what, one in runs.items():
        table.add_row(
            what,
            f"{one.rate:.2f} ({one.rate / before.rate:.1f}x)",
            f"{1e3 * max(one.waits):,.0f} ms (1/{max(before.waits) / max(one.waits):.0f})",
            f"{1e3 * statistics.median(one.waits):,.1f} ms",
            str(len(one.waits)),
        )
    console.print(table)

    table = Table("", "lines", "batches", title="ms of the writer's core a task, without a grader")
    for what, lines, batches in shares(records):
        table.add_row(what, f"{lines:.1f}", "-" if batches is None else f"{batches:.1f}")
    console.print(table)


if __name__ == "__main__":
    main()
