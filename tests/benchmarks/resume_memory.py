"""Memory of a resume by the number of outcomes: run folders of ten thousand and a million are made, and gone on with.

A process of its own each: up to the first task as a driver comes to it, and the run writer's start. Beside them, in the same
way, what a resume held before: every key with its reason, and every problem's hash, in Python dicts.

    python -m tests.benchmarks.resume_memory [--outcomes 10000,1000000] [--folder DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.store.digests import DigestMap
from actors.store.log import number_of, parts
from actors.store.schema import LEDGER, OUTCOMES
from actors.store.writer import ROW_GROUP, RunWriter
from actors.strategy import asked_by
from orchestration.api import settings_of
from orchestration.problems import Problem
from orchestration.runs.identity import KeyMaker
from orchestration.runs.problem_store import ProblemStore, problem_parts
from orchestration.runs.record import write_record
from orchestration.runs.session import opened, survey, tasks
from orchestration.setup.prepare import Prepared, prepare

PART = 60_000
"""Outcomes of one part: what a log segment of 64 MiB holds of them without candidates."""

STORED = 20_000
"""Problems of one part of theirs: more than a run puts there, for the making of the folder."""


def prepared_for(folder: Path) -> Prepared:
    words = ["dataset=table", f"dataset.path={folder / 'problems.jsonl'}", "dataset.grader=number"]
    words += ["strategies=[greedy]", "verifier=none", "keep=answers", f"folder={folder / 'run'}"]
    return prepare(settings_of(words))


def question(number: int) -> str:
    return f"{number} + {number % 977} - {number % 31} = ?"


def make(folder: Path, outcomes: int) -> None:
    """A run of so many problems by one strategy, all ended but for one problem more."""
    with (folder / "problems.jsonl").open("w") as table:
        for number in range(outcomes + 1):
            table.write(json.dumps({"question": question(number), "answer": str(number)}) + "\n")
    prepared = prepared_for(folder)
    start = opened(prepared)
    run = folder / "run"
    run.mkdir()
    write_record(run, prepared, start.record | {"budget_flops": None})
    store = ProblemStore(run, DigestMap())
    session = survey(prepared, start)
    maker = KeyMaker(prepared.strategies, start.identity)
    assert asked_by(prepared.strategies[0])
    for name in ("outcomes", "ledger", "log"):
        (run / name).mkdir()
    problems = iter(prepared.dataset)
    keys: list[tuple[str, str]] = []
    number = 1
    for _ in range(0, outcomes, STORED):
        batch = [next(problems) for _ in range(min(STORED, outcomes - (len(keys) + (number - 1) * PART)))]
        prompted: list[tuple[Problem, tuple[int, ...]]] = [
            (one, session.prompts.ids(one.question)) for one in batch
        ]
        for one, content in zip(batch, store.store(prompted), strict=True):
            keys += [(one.id, key) for _, key in maker.keys(one.id, content, 0)]
        if len(keys) >= PART:
            write_parts(run, number, keys)
            keys, number = [], number + 1
    if keys:
        write_parts(run, number, keys)


def write_parts(run: Path, number: int, keys: list[tuple[str, str]]) -> None:
    values: dict[str, Any] = {
        "strategy": "greedy",
        "seed": 0,
        "state": "answered",
        "reason": "",
        "answer": "42",
        "correct": True,
        "wall_seconds": 0.5,
        "attempt": 1,
        "lease": number,
        "purpose": "policy",
        "kind": "kept",
        "flops": 100,
    }
    columns = {
        "key": [key for _, key in keys],
        "problem_id": [name for name, _ in keys],
        "task_id": [f"{name}/0" for name, _ in keys],
    }
    for name, schema in (("ledger", LEDGER), ("outcomes", OUTCOMES)):
        table = pa.Table.from_arrays(
            [
                pa.array(columns.get(one.name, [values.get(one.name, 7)] * len(keys)), one.type)
                for one in schema
            ],
            schema=schema,
        )
        file = run / name / f"part-{number:06d}.parquet"
        pq.write_table(table, file, compression="zstd", row_group_size=ROW_GROUP)


def resume(folder: Path) -> None:
    """A driver up to its first task."""
    prepared = prepared_for(folder)
    start = opened(prepared)
    session = survey(prepared, start)
    assert session.outcomes_left == 1
    store = ProblemStore(folder / "run", session.stored)
    stream = tasks(prepared, start.identity, session.done, store, session.prompts)
    task, _ = next(stream)
    assert len(task.keys) == 1
    # For the next one that looks, it was never stored.
    max(problem_parts(folder / "run" / "problems"), key=number_of).unlink()


def writer(folder: Path) -> None:
    """The run writer's start."""
    run = RunWriter(folder / "run", None)
    run.take_over()
    run.close()


def resume_before(folder: Path) -> None:
    """What a driver held before, beside the same libraries: all keys with their reasons, all problems' hashes, and the
    questions of the table that were seen."""
    prepared = prepared_for(folder)
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(prepared.policy.tokenizer, local_files_only=True)
    stored: dict[str, str] = {}
    for part in problem_parts(folder / "run" / "problems"):
        rows = pq.read_table(part, columns=["problem_id", "question", "answer"])
        for name, *said in zip(*(column.to_pylist() for column in rows.columns), strict=True):
            stored[name] = hashlib.blake2b(json.dumps(said).encode(), digest_size=16).hexdigest()
    reasons: dict[str, str] = {}
    for part in parts(folder / "run", "outcomes"):
        rows = pq.read_table(part, columns=["key", "reason"])
        reasons.update(zip(rows["key"].to_pylist(), rows["reason"].to_pylist(), strict=True))
    done, known = set(reasons), set(stored)
    seen: dict[int, int] = {}
    with (folder / "problems.jsonl").open() as table:
        for number, line in enumerate(table):
            seen[hash(json.loads(line)["question"])] = number
    assert len(done) == len(known) == len(seen) - 1


WAYS: dict[str, Callable[[Path], None]] = {
    "resume, before": resume_before,
    "resume": resume,
    "run writer": writer,
}


def peak() -> int:
    """Largest resident memory of this process so far, in KiB. What getrusage says has its parent's in it."""
    [line] = [one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM")]
    return int(line.split()[1])


def measured(way: str, folder: Path) -> tuple[float, float]:
    """Peak of resident memory in MiB, and seconds, of a process that does this alone."""
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.benchmarks.resume_memory", "--way", way, "--folder", str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1]) / 1024, time.monotonic() - began


def rows(sizes: list[int], folder: Path) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    folders = []
    for size in sizes:
        one = folder / str(size)
        one.mkdir(parents=True)
        make(one, size)
        folders.append(one)
    for way in WAYS:
        yield way, [measured(way, one) for one in folders]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outcomes", default="10000,1000000")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--way", choices=WAYS)
    given = parser.parse_args()
    if given.way:
        WAYS[given.way](given.folder)
        print(peak())
        return
    sizes = [int(size) for size in given.outcomes.split(",")]
    heads = [f"{size:,} outcomes" for size in sizes]
    print(f"{'peak of resident memory':24}" + "".join(f"{head:>26}" for head in heads) + f"{'ratio':>8}")
    with tempfile.TemporaryDirectory() as temporary:
        for way, found in rows(sizes, given.folder or Path(temporary)):
            cells = "".join(f"{f'{memory:,.0f} MiB ({seconds:.0f} s)':>26}" for memory, seconds in found)
            print(f"{way:24}{cells}{found[-1][0] / found[0][0]:8.2f}", flush=True)


if __name__ == "__main__":
    main()
