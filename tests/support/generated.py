"""Finished run folders of any size, made of columns at once: problems of known difficulty, samples with scores, and searches.

What they hold is drawn at random, in the run's own schema and as the run writer lays it out: strategies of one problem stand
together, parts have some thousand outcomes and row groups the writer's rows. Invariant: a sample is right with its problem's
ability and nothing else, so what a report says of the folder is known.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from actors.store.schema import CANDIDATES, LEDGER, OUTCOMES, RUN_FORMAT
from actors.store.writer import write_part
from orchestration.runs.problem_store import PROBLEMS
from orchestration.strategies.parse import parse

_STEPS = 4
_STEP_TOKENS = 12
_TEXTS = [
    "so that is 12 and 7 more, which makes 19\n",
    "the other half has 4 legs each, 28 in all\n",
    "half of them go away again, and 9 stay\n",
]


def strategies_of(samples: int) -> list[str]:
    """Texts of the strategies that a generated run has."""
    written = ["greedy", f"majority(n={samples})", f"best_of_n(n={samples})", f"beam(n={samples},width=4)"]
    return [parse(text).text for text in written]


def generate(
    folder: Path,
    ability: NDArray[np.float64],
    *,
    samples: int = 4,
    seed: int = 0,
    informed: float = 0.15,
    part: int = 5_000,
) -> Path:
    """Write a run in which a sample of problem i is right with the chance `ability[i]`; four outcomes a problem.

    Right samples are scored higher by `informed`, on average. A part has the outcomes of `part` problems.
    """
    random = np.random.default_rng(seed)
    for number, start in enumerate(range(0, len(ability), part), start=1):
        some = ability[start : start + part]
        ids = [f"problem-{start + i:07d}" for i in range(len(some))]
        tables = _part(random, ids, some, samples, informed)
        for name, table in tables.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_part(table, folder / name / f"part-{number:06d}.parquet")
    (folder / "run.json").write_text(json.dumps({"format": RUN_FORMAT, "state": "finished"}))
    (folder / "config.yaml").write_text(yaml.safe_dump({"folder": str(folder)}))
    return folder


def _part(
    random: np.random.Generator, ids: list[str], ability: NDArray[np.float64], samples: int, informed: float
) -> dict[str, pa.Table]:
    count, texts = len(ids), strategies_of(samples)
    right = random.random((count, samples)) < ability[:, None]
    scores = np.clip(random.normal(0.5 + informed * right, 0.2), 0.001, 0.999)
    answers = np.where(right, 42, random.integers(0, 4, right.shape))
    alone = random.random((count, 2)) < ability[:, None]
    found = np.where(alone, 42, 1)
    voted = np.array([_vote(row) for row in answers])
    weighed = np.array([_vote(row, weights) for row, weights in zip(answers, scores, strict=True)])
    chosen = np.column_stack([found[:, 0], voted, weighed, found[:, 1]])
    kept = np.array([1, samples, samples, 1])
    drawn = np.array([1, samples, samples, samples])
    # Row by row: a problem, its strategies, their candidates.
    problem = np.repeat(np.arange(count), len(texts))
    strategy = np.tile(np.arange(len(texts)), count)
    tokens = drawn[strategy] * _STEPS * _STEP_TOKENS
    outcomes = {
        "key": _texts([f"{i:024d}{s:08d}" for i, s in zip(problem, strategy, strict=True)]),
        "problem_id": _texts(ids).take(pa.array(problem)),
        "strategy": _texts(texts).take(pa.array(strategy)),
        "seed": np.zeros(len(problem), dtype=np.int64),
        "state": _texts(["answered"]).take(pa.array(np.zeros(len(problem), dtype=np.int64))),
        "reason": _texts([""]).take(pa.array(np.zeros(len(problem), dtype=np.int64))),
        "answer": pa.array(chosen.ravel()).cast("string"),
        "correct": chosen.ravel() == 42,
        "generations": drawn[strategy],
        "policy_tokens": tokens,
        "verifier_tokens": np.where(strategy > 1, tokens, 0),
        "kept_tokens": kept[strategy] * _STEPS * _STEP_TOKENS,
        "attributed_tokens": tokens,
        "spent_flops": tokens * 2_000_000,
        "attributed_flops": tokens * 2_000_000,
        "spent_flops_exact": tokens * 2_200_000,
        "attributed_flops_exact": tokens * 2_200_000,
        "wall_seconds": random.random(len(problem)),
    }
    of = np.repeat(np.arange(len(problem)), kept[strategy])
    index = np.concatenate([np.arange(n) for n in np.tile(kept, count)])
    drawn_by = strategy[of]
    sampled = (drawn_by == 1) | (drawn_by == 2)
    answer = np.where(sampled, answers[problem[of], index], found[problem[of], (drawn_by == 3).astype(int)])
    steps = random.integers(0, len(_TEXTS), (len(of), _STEPS - 1))
    last = np.array([f"#### {one}" for one in answer])
    lines = np.column_stack([np.array(_TEXTS)[steps], last])
    told = np.where(sampled, scores[problem[of], index], 0.5)
    scored = np.where(drawn_by >= 2, _STEPS, 0)
    candidates = {
        "key": outcomes["key"].take(pa.array(of)),
        "problem_id": outcomes["problem_id"].take(pa.array(of)),
        "strategy": outcomes["strategy"].take(pa.array(of)),
        "seed": np.zeros(len(of), dtype=np.int64),
        "index": index,
        "parent": np.full(len(of), -1),
        "depth": np.zeros(len(of), dtype=np.int64),
        "steps": _lists(np.full(len(of), _STEPS), pa.array(lines.ravel())),
        "step_tokens": _lists(
            np.full(len(of), _STEPS), np.tile(_STEP_TOKENS * np.arange(1, _STEPS + 1), len(of))
        ),
        "token_ids": _lists(
            np.full(len(of), _STEPS * _STEP_TOKENS),
            random.integers(0, 500, len(of) * _STEPS * _STEP_TOKENS),
        ),
        "logprobs": _lists(np.full(len(of), _STEPS), -random.random(len(of) * _STEPS)),
        "scores": _lists(scored, np.repeat(told, scored)),
        "finish_reason": _texts(["eos"]).take(pa.array(np.zeros(len(of), dtype=np.int64))),
        "answer": pa.array(answer).cast("string"),
        "correct": answer == 42,
        "tokens": np.full(len(of), _STEPS * _STEP_TOKENS),
        "kept": np.ones(len(of), dtype=bool),
    }
    problems = {
        "problem_id": ids,
        "question": [f"how many legs are there in the end, in case {one}?" for one in ids],
        "answer": ["42"] * count,
        "metadata": ["{}"] * count,
        "prompt_tokens": [30] * count,
    }
    ledger = {
        "task_id": ids,
        "attempt": [1] * count,
        "lease": np.arange(count),
        "purpose": ["policy"] * count,
        "kind": ["kept"] * count,
        "flops": np.full(count, int(tokens.sum()) * 2_000_000 // count),
        "reason": [""] * count,
    }
    made = (
        ("candidates", candidates, CANDIDATES),
        ("ledger", ledger, LEDGER),
        ("outcomes", outcomes, OUTCOMES),
        ("problems", problems, PROBLEMS),
    )
    return {name: _table(columns, schema) for name, columns, schema in made}


def _vote(answers: NDArray[np.int64], weights: NDArray[np.float64] | None = None) -> int:
    return int(np.bincount(answers, weights=weights).argmax())


def _texts(values: list[str]) -> pa.Array:
    return pa.array(values, pa.string())


def _lists(sizes: NDArray[np.int64], values: Any) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def _table(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    rows = len(next(iter(columns.values())))
    arrays = []
    for field in schema:
        values = columns.get(field.name)
        array = pa.nulls(rows, field.type) if values is None else pa.array(values).cast(field.type)
        arrays.append(array)
    table = pa.Table.from_arrays(arrays, schema=schema)
    # Nothing is null that the run writer always fills.
    for name in ("truncated", "reviser_tokens"):
        if name in schema.names:
            place = schema.get_field_index(name)
            table = table.set_column(
                place, schema.field(place), pa.array(np.zeros(rows), schema.field(place).type)
            )
    return table
