"""From a finished run of sampled solutions to labelled steps: what a process reward model is trained on.

It reads the run's tables alone and knows nothing of models. Invariant: a solution without a readable answer, or cut off,
labels nothing (paper section 5.1), and no problem is in both parts of a split.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from actors.seeds import derive


@dataclass(frozen=True, slots=True)
class Solved:
    """A sampled solution: token ids (after the prompt), exclusive step ends, a soft label in [0, 1] a step (the share of
    correct continuations), and whether its own answer is right."""

    problem_id: str
    token_ids: tuple[int, ...]
    step_ends: tuple[int, ...]
    labels: tuple[float, ...]
    correct: bool


def labelled_solutions(candidates: pa.Table) -> Iterator[Solved]:
    """Yield every labelled sample of a run's candidates, problem by problem, identical samples of one problem once each.

    A step's label is the share of correct rollouts from it (Math-Shepherd); where none was drawn, and at the last step,
    the correctness of the samples that go through it. Rollouts are the rows with a `parent`, from `depth` of its steps.
    """
    by_problem: dict[str, list[dict[str, Any]]] = defaultdict(list)
    columns = [
        "problem_id",
        "index",
        "parent",
        "depth",
        "token_ids",
        "step_tokens",
        "finish_reason",
        "answer",
    ]
    table = candidates.select([*columns, "correct", "kept"])
    for batch in table.to_batches():
        for row in batch.to_pylist():
            by_problem[row["problem_id"]].append(row)
    for rows in by_problem.values():
        yield from _labelled(rows)


def _labelled(rows: list[dict[str, Any]]) -> Iterator[Solved]:
    samples = [r for r in rows if r["kept"] and r["answer"] is not None and r["finish_reason"] == "eos"]
    named = {r["index"]: r for r in rows if r["kept"]}
    rollouts: dict[tuple[int, ...], list[bool]] = defaultdict(list)
    outcomes: dict[tuple[int, ...], list[bool]] = defaultdict(list)
    for row in rows:
        if not row["kept"] and row["parent"] in named:
            parent = named[row["parent"]]
            prefix = tuple(parent["token_ids"][: parent["step_tokens"][row["depth"] - 1]])
            rollouts[prefix].append(bool(row["correct"]))
    for row in samples:
        for end in row["step_tokens"]:
            outcomes[tuple(row["token_ids"][:end])].append(bool(row["correct"]))
    seen: set[tuple[int, ...]] = set()
    for row in samples:
        ids = tuple(row["token_ids"])
        if ids in seen or not row["step_tokens"]:
            continue
        seen.add(ids)
        labels = []
        for number, end in enumerate(row["step_tokens"], start=1):
            prefix = ids[:end]
            own = outcomes[prefix]
            drawn = own if number == len(row["step_tokens"]) else rollouts.get(prefix, own)
            labels.append(sum(drawn) / len(drawn))
        yield Solved(row["problem_id"], ids, tuple(row["step_tokens"]), tuple(labels), bool(row["correct"]))


def held_out(problem_id: str, share: float, seed: int) -> bool:
    """Whether a problem belongs to the held-out part: by a hash of its id, so that it never changes sides."""
    return derive("held-out", seed, problem_id) < share * (1 << 63)
