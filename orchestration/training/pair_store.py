"""Pairs of attempts and answers as Parquet: what a reviser was trained on, for people to read and for a start that goes on.

It knows columns and files, nothing of how pairs are chosen. Invariants: a part is whole or not there; parts that were
made from other samples or by other rules are made again, never mixed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from orchestration.training.revision_data import Pair

T = TypeVar("T")

PAIRS = pa.schema(
    [
        ("problem_id", pa.string()),
        ("index", pa.int32()),
        ("attempts", pa.list_(pa.list_(pa.int32()))),
        ("answer", pa.list_(pa.int32())),
        ("attempt_texts", pa.list_(pa.string())),
        ("answer_text", pa.string()),
        ("wrong", pa.int32()),
        ("distance", pa.int32()),
    ]
)
"""A row is a right answer (`index`: the sample's number) with the attempts before it, oldest first: token ids as drawn, and
texts. All are wrong, but that the last of a kept answer is that answer. `wrong`: distinct wrong answers that there were to
choose among, of a chain those that stand there; `distance`: of the last attempt to the answer, in characters."""

POOLS = 1000
"""Problems (of chains, outcomes) whose pairs make a part."""

_NOTE = "made_from.json"


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a training row is made of, in token ids."""

    problem_id: str
    attempts: tuple[tuple[int, ...], ...]
    answer: tuple[int, ...]


def write_pairs(
    folder: Path, pools: Iterable[T], choose: Callable[[T], list[Pair]], made_from: Mapping[str, Any]
) -> None:
    """Write what is chosen of the pools, a part for each thousand of them; parts that an earlier start wrote stand.

    `made_from` names all that decides the pairs, as JSON values.
    """
    _claim(folder, made_from)
    left, number = iter(pools), -1
    while some := list(islice(left, POOLS)):
        number += 1
        part = folder / f"part-{number:05}.parquet"
        if part.exists():
            continue
        rows = [_row(pair) for pool in some for pair in choose(pool)]
        temporary = folder / f".{part.name}.tmp"
        pq.write_table(pa.Table.from_pylist(rows, schema=PAIRS), temporary)
        temporary.replace(part)


def read_pairs(folder: Path) -> Iterator[Learnt]:
    """All pairs, in the order in which they were written, a part in memory at a time."""
    for part in sorted(folder.glob("part-*.parquet")):
        table = pq.read_table(part, columns=["problem_id", "attempts", "answer"])
        for batch in table.to_batches(max_chunksize=4096):
            for row in batch.to_pylist():
                attempts = tuple(tuple(one) for one in row["attempts"])
                yield Learnt(row["problem_id"], attempts, tuple(row["answer"]))


def counted_pairs(folder: Path) -> dict[str, Any]:
    """How many pairs have how many attempts, in how many the last is the answer itself, and how far it is from the answer on
    average in the others, in characters."""
    attempts: Counter[int] = Counter()
    distance = pairs = kept = 0
    for part in sorted(folder.glob("part-*.parquet")):
        for row in pq.read_table(part, columns=["attempt_texts", "distance"]).to_pylist():
            attempts[len(row["attempt_texts"])] += 1
            kept += bool(row["attempt_texts"]) and row["distance"] is None
            distance += row["distance"] or 0
            pairs += row["distance"] is not None
    return {
        "pairs": attempts.total(),
        "by_attempts": {str(number): attempts[number] for number in sorted(attempts)},
        "kept": kept,
        "mean_distance": distance / pairs if pairs else None,
    }


def _claim(folder: Path, made_from: Mapping[str, Any]) -> None:
    note, mine = folder / _NOTE, json.loads(json.dumps(made_from))
    if note.is_file() and json.loads(note.read_text()) != mine:
        # Only what this module wrote there: it carries our note.
        for part in folder.glob("part-*.parquet"):
            part.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(mine, indent=2) + "\n")


def _row(pair: Pair) -> dict[str, Any]:
    return {
        "problem_id": pair.problem_id,
        "index": pair.answer.index,
        "attempts": [list(one.token_ids) for one in pair.attempts],
        "answer": list(pair.answer.token_ids),
        "attempt_texts": [one.text for one in pair.attempts],
        "answer_text": pair.answer.text,
        "wrong": pair.wrong,
        "distance": pair.distance,
    }
