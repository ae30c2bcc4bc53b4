"""Samples and scores that exist already: their keys, and a library that finds them in run folders by problem.

A key is a hash of all that decides a draw (models' files, engine, tokens before it, limits, seed) or a score, so what is
found under it is what would be made again. It knows nothing of strategies. Invariant: nothing is found for a draw that
differs in anything that could change it.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.messages import Row
from actors.store.log import parts, reading
from actors.strategy import Sample

GROUPS = 64
"""Row groups that a library keeps decoded: a run asks for neighbours together."""


def sample_key(salt: str, seed: int, context: Sequence[int], most: int) -> bytes:
    """Key of a draw of at most `most` tokens after `context` (token ids, prompt included). `seed` is the draw's own, which
    place, sampling parameters and kind go into; `salt` stands for the policy and whatever else decides its tokens."""
    return _hash(f"{salt}/{seed}/{most}", context).digest()


def score_key(salt: str, context: Sequence[int]) -> bytes:
    """Key of the score of the step that ends `context` (token ids, prompt included)."""
    return score_hash(salt, context).digest()


def score_hash(salt: str, context: Sequence[int]) -> hashlib.blake2b:
    """The hash whose digest is `score_key`; a copy may be fed with the tokens that follow."""
    return _hash(salt, context)


def feed(running: hashlib.blake2b, ids: Sequence[int]) -> None:
    """Go on with a hash of tokens."""
    running.update(array("i", ids).tobytes())


def _hash(text: str, ids: Sequence[int]) -> hashlib.blake2b:
    # The text has an end of its own: else its last characters could be taken for the first token's bytes.
    running = hashlib.blake2b(f"{text}\n".encode(), digest_size=16)
    feed(running, ids)
    return running


@dataclass(frozen=True, slots=True)
class Prior:
    """What exists of one problem, by key."""

    samples: dict[bytes, Sample] = field(default_factory=dict)
    scores: dict[bytes, float] = field(default_factory=dict)


NOTHING = Prior()


def sample_row(
    key: bytes, problem_id: str, seed: int, place: tuple[int, ...], start: int, sample: Sample
) -> Row:
    """A row of `samples`; numbers travel as bytes."""
    return {
        "key": key,
        "problem_id": problem_id,
        "seed": seed,
        "place": list(place),
        "start": start,
        "token_ids": array("i", sample.token_ids).tobytes(),
        "logprobs": array("f", sample.logprobs).tobytes(),
        "finish_reason": sample.finish,
    }


def score_row(key: bytes, problem_id: str, value: float) -> Row:
    """A row of `scores`."""
    return {"key": key, "problem_id": problem_id, "value": value}


class SampleLibrary:
    """Reads samples and scores of several run folders; memory: an index of their problems, and some row groups."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._index: dict[str, list[tuple[str, Path, int]]] = {}
        self._groups: OrderedDict[tuple[Path, int], dict[str, pa.Table]] = OrderedDict()
        for folder in folders:
            for table in ("samples", "scores"):
                for part in parts(folder, table):
                    self._note(table, part)

    def __len__(self) -> int:
        """Problems of which something is there."""
        return len(self._index)

    def prior(self, problem_id: str) -> Prior:
        """All that is there of a problem."""
        found = Prior()
        for table, part, group in self._index.get(problem_id, ()):
            rows = self._group(part, group).get(problem_id)
            if rows is None:
                continue
            if table == "scores":
                found.scores.update(zip(rows["key"].to_pylist(), rows["value"].to_pylist(), strict=True))
            else:
                for sampled, sample in _samples(rows):
                    # One that a run without likelihoods drew says less.
                    if sample.logprobs or sampled not in found.samples:
                        found.samples[sampled] = sample
        return found

    def _note(self, table: str, part: Path) -> None:
        with reading(part):
            file = pq.ParquetFile(part)
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["problem_id"])["problem_id"]
                for problem_id in pc.unique(ids).to_pylist():
                    self._index.setdefault(problem_id, []).append((table, part, group))

    def _group(self, part: Path, group: int) -> dict[str, pa.Table]:
        """A row group's rows by problem."""
        key = (part, group)
        if key not in self._groups:
            with reading(part):
                self._groups[key] = _by_problem(pq.ParquetFile(part).read_row_group(group))
            if len(self._groups) > GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end(key)
        return self._groups[key]


def _by_problem(rows: pa.Table) -> dict[str, pa.Table]:
    order = rows.sort_by("problem_id")
    ids: list[str] = order["problem_id"].to_pylist()
    found: dict[str, pa.Table] = {}
    start = 0
    for place in range(1, len(ids) + 1):
        if place == len(ids) or ids[place] != ids[start]:
            found[ids[start]] = order.slice(start, place - start)
            start = place
    return found


def _samples(rows: pa.Table) -> Iterable[tuple[bytes, Sample]]:
    columns: list[list[Any]] = [
        rows[n].to_pylist() for n in ("key", "token_ids", "logprobs", "finish_reason")
    ]
    for key, ids, logprobs, finish in zip(*columns, strict=True):
        yield key, Sample(tuple(ids), tuple(logprobs), finish)
