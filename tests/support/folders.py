"""What run writers are fed in tests, what is read back from their folders, and how a writer dies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from actors.ledger import Entry
from actors.messages import Commit, Hold, Loss, Record, Row, Settlement
from actors.store.library import sample_key, sample_row, score_key, score_row
from actors.store.log import live_records, parts
from actors.store.rows import decision_rows
from actors.store.writer import RunWriter
from actors.strategy import Decision, Sample
from actors.work import Cost, Judge, Outcome, State


def outcome(
    task: str, strategy: str = "greedy", state: State = "answered", answer: str | None = "4"
) -> Outcome:
    return Outcome(
        key=f"{task}/{strategy}",
        problem_id=task,
        strategy=strategy,
        seed=0,
        state=state,
        reason="",
        answer=answer,
        generations=1,
        truncated=0,
        kept_tokens=3,
        spent=Cost({"policy": 3, "verifier": 2}, 30, 20),
        attributed=Cost({"policy": 3, "verifier": 2}, 33, 22),
        wall_seconds=0.5,
    )


def rows(one: Outcome, answers: tuple[str | None, ...] = ("4",)) -> list[Row]:
    """Rows of `candidates`, one for each answer."""
    return [
        {
            "key": one.key,
            "problem_id": one.problem_id,
            "strategy": one.strategy,
            "seed": 0,
            "index": index,
            "parent": -1,
            "depth": 0,
            "steps": ["2 + 2\n", f"#### {answer}"],
            "step_tokens": [3, 6],
            "token_ids": [5, 6, 7, 8, 9, 1],
            "logprobs": [-0.5, -math.inf],
            "scores": [0.25, 0.75],
            "finish_reason": "eos",
            "answer": answer,
            "tokens": 6,
            "kept": True,
        }
        for index, answer in enumerate(answers)
    ]


def record(task: str, *strategies: str) -> Record:
    """What a task leaves: an outcome and a candidate a strategy, one sample, one score and one decision of its own."""
    outcomes = tuple(outcome(task, strategy) for strategy in strategies or ("greedy", "majority"))
    drawn = Sample((5, 6, 1), (-0.5, -0.25, -math.inf), "eos")
    context = tuple(task.encode())
    return Record(
        outcomes,
        [row for one in outcomes for row in rows(one)],
        [sample_row(sample_key("policy", 7, context, 9), task, 0, (0,), 0, drawn)],
        [score_row(score_key("verifier", context), task, 0.1)],
        decisions=decision_rows(replace(outcomes[0], decisions=(Decision("0", 0, 0.0, 0.5, None, 0.0),))),
    )


def stage(writer: RunWriter, task: str, lease: int = 1, *strategies: str) -> None:
    writer.stage(lease, task, record(task, *strategies))


def hold(lease: int, task: str, flops: int = 5, attempt: int = 1) -> Hold:
    return Hold(lease, task, attempt, "policy-0", flops)


def settled(task: str, flops: int = 1, attempt: int = 1, lease: int | None = None) -> Settlement:
    """Of the lease that has the attempt's number, where none is named."""
    return Settlement(lease or attempt, task, attempt, (Entry("policy", "kept", flops),))


def lost(
    task: str,
    flops: int,
    attempt: int = 1,
    reason: str = "died",
    lease: int | None = None,
    *,
    blamed: bool = True,
) -> Loss:
    return Loss(lease or attempt, task, attempt, (Entry("unknown", "lost", flops),), reason, blamed)


def settle(writer: RunWriter, *tasks: str, flops: int = 1) -> list[str]:
    """Stage and commit first attempts together."""
    for task in tasks:
        stage(writer, task)
    return writer.commit(Commit(settled=tuple(settled(task, flops) for task in tasks)))


@contextmanager
def opened(folder: Path, judge: Judge | None = None) -> Iterator[RunWriter]:
    writer = RunWriter(folder, judge)
    yield writer
    writer.close()


def done_keys(folder: Path) -> dict[str, str]:
    """Keys of the outcomes that a folder holds, each with the reason of its newest row: read plainly, all at once."""
    done: dict[str, str] = {}
    for part in parts(folder, "outcomes"):
        rows = pq.read_table(part)
        done.update(zip(rows["key"].to_pylist(), rows["reason"].to_pylist(), strict=True))
    for logged in live_records(folder):
        done.update((row["key"], row["reason"]) for row in logged.get("outcomes", ()))
    return done


def table(folder: Path, name: str) -> list[dict[str, Any]]:
    """All rows of a table's parts, whether they count or not."""
    parts = sorted((folder / name).glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def column(folder: Path, name: str, key: str) -> list[Any]:
    return [row[key] for row in table(folder, name)]


def die(writer: RunWriter) -> None:
    """Leave the files as a killed process does; the lock goes with its file."""
    writer._log.close()
    writer._lock._file.close()
