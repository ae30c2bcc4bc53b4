"""Samples and scores that exist already: their keys, and a library that finds them in run folders by problem.

A key is a hash of all that decides a draw (models' files, engine, tokens before it, limits, seed) or a score, so what is
found under it is what would be made again. It knows nothing of strategies. Invariant: nothing is found for a draw that
differs in anything that could change it.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.messages import Row
from actors.store.log import parts, reading
from actors.store.rows import newest_decisions
from actors.strategy import Decision, Sample

GROUPS = 64
"""Row groups that a library keeps decoded: a run asks for neighbours together."""


def sample_key(salt: str, seed: int, context: Sequence[int], most: int) -> bytes:
    """Key of a draw of at most `most` tokens after `context` (token ids, prompt included). `seed` is the draw's own, which
    place, sampling parameters and kind go into; `salt` stands for the policy and whatever else decides its tokens."""
    return _hash(f"{salt}/{seed}/{most}", context).digest()


def score_key(salt: str, context: Sequence[int]) -> bytes:
    """Key of the score of the step that ends `context` (token ids, prompt included)."""
    return score_hash(salt, context).digest()


def prompt_key(salt: str, prompt: Sequence[int]) -> bytes:
    """Key of the value of a prompt alone, before any step (token ids)."""
    return _hash(f"{salt}/prompt", prompt).digest()


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
    """What exists of one problem, by key: that of a draw or a score; of decisions, of the outcome. `written` has the tokens
    that a judge wrote for a score, chain by chain, and `left` the ids of those that the next step's reads."""

    samples: dict[bytes, Sample] = field(default_factory=dict)
    scores: dict[bytes, float] = field(default_factory=dict)
    decisions: dict[str, tuple[Decision, ...]] = field(default_factory=dict)
    written: dict[bytes, tuple[int, ...]] = field(default_factory=dict)
    left: dict[bytes, tuple[int, ...]] = field(default_factory=dict)


NOTHING = Prior()


def sample_row(
    key: bytes, problem_id: str, seed: int, place: tuple[int, ...], start: int, sample: Sample
) -> Row:
    """A row of `samples`; numbers travel as bytes."""
    row: Row = {
        "key": key,
        "problem_id": problem_id,
        "seed": seed,
        "place": list(place),
        "start": start,
        "token_ids": array("i", sample.token_ids).tobytes(),
        "logprobs": array("f", sample.logprobs).tobytes(),
        "finish_reason": sample.finish,
    }
    if not sample.certainties:
        return row
    return row | {"certainties": array("f", sample.certainties).tobytes()}


def score_row(
    key: bytes,
    problem_id: str,
    value: float,
    written: tuple[int, ...] = (),
    left: tuple[int, ...] = (),
) -> Row:
    """A row of `scores`; `written` are the tokens of each chain of a judge that wrote, and `left` the ids of those that the
    next step's judgement reads: none of another."""
    row: Row = {"key": key, "problem_id": problem_id, "value": value}
    if written:
        row["written"] = list(written)
    if left:
        row["left"] = array("i", left).tobytes()
    return row


def anything(folders: Iterable[Path], own: Path) -> bool:
    """Whether folders hold a sample that a run in `own` could use, or what it decided: that is repeated also where no sample
    was kept."""
    return any(parts(folder, "samples") for folder in folders) or bool(parts(own, "decisions"))


class SampleLibrary:
    """Reads samples and scores of several run folders, and of `own` the decisions, for another run's were made under another
    budget; memory: 12 bytes for each row group that a problem stands in, and some row groups."""

    def __init__(self, folders: Iterable[Path], own: Path | None = None) -> None:
        # Every row group, and where problems stand: digests of their ids, sorted, and beside each a place in `_places`.
        self._places: list[tuple[str, Path, int]] = []
        self._groups: OrderedDict[tuple[Path, int], dict[str, pa.Table]] = OrderedDict()
        ids, places = array("Q"), array("I")
        for folder in folders:
            for table in ("samples", "scores", *(("decisions",) if folder == own else ())):
                for part in parts(folder, table):
                    for found in self._look(table, part):
                        ids.extend(found)
                        places.extend([len(self._places) - 1] * len(found))
        digests = np.frombuffer(ids, np.uint64)
        # Stably: what a later folder or part says of a problem comes after the rest.
        order = digests.argsort(kind="stable")
        self._ids, self._at = digests[order], np.frombuffer(places, np.uint32)[order]

    def __len__(self) -> int:
        """Problems of which something is there."""
        return len(np.unique(self._ids))

    def prior(self, problem_id: str) -> Prior:
        """All that is there of a problem."""
        found, decided = Prior(), list[Row]()
        digest = np.uint64(_id_digest(problem_id))
        first, end = (int(self._ids.searchsorted(digest, side)) for side in ("left", "right"))
        for table, part, group in (self._places[place] for place in self._at[first:end]):
            rows = self._group(part, group).get(problem_id)
            if rows is None:
                continue
            if table == "scores":
                keys = rows["key"].to_pylist()
                found.scores.update(zip(keys, rows["value"].to_pylist(), strict=True))
                found.written.update(_lists("written", keys, rows))
                found.left.update(_lists("left", keys, rows))
            elif table == "decisions":
                decided += rows.to_pylist()
            else:
                for sampled, sample in _samples(rows):
                    known = found.samples.get(sampled)
                    found.samples[sampled] = sample if known is None else _richer(known, sample)
        # One outcome's may stand in two row groups.
        found.decisions.update(newest_decisions(decided))
        return found

    def _look(self, table: str, part: Path) -> Iterator[list[int]]:
        """Note a part's row groups; yield for each the digests of the problems that stand there."""
        with reading(part):
            file = pq.ParquetFile(part)
            for group in range(file.num_row_groups):
                ids = file.read_row_group(group, columns=["problem_id"])["problem_id"]
                self._places.append((table, part, group))
                yield [_id_digest(problem_id) for problem_id in pc.unique(ids).to_pylist()]

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


def _lists(column: str, keys: list[bytes], rows: pa.Table) -> dict[bytes, tuple[int, ...]]:
    """What a column says of what a judge wrote for these scores; parts of earlier versions do not have it."""
    if column not in rows.column_names or rows[column].null_count == len(keys):
        return {}
    each = zip(keys, rows[column].to_pylist(), strict=True)
    return {key: tuple(numbers) for key, numbers in each if numbers is not None}


def _id_digest(problem_id: str) -> int:
    """64 bits of an id. Two that share them cost a look into a row group that has only the other."""
    return int.from_bytes(hashlib.blake2b(problem_id.encode(), digest_size=8).digest(), "little")


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
    # Parts of earlier versions do not have the column.
    measured = "certainties" in rows.column_names and rows["certainties"].null_count < len(rows)
    columns.append(rows["certainties"].to_pylist() if measured else [None] * len(rows))
    for key, ids, logprobs, finish, certain in zip(*columns, strict=True):
        yield key, Sample(tuple(ids), tuple(logprobs), finish, tuple(certain or ()))


def _richer(known: Sample, later: Sample) -> Sample:
    """Of one draw that stands there twice what says the most: one of them may have been drawn without likelihoods, or with
    nothing measured. Where their tokens differ, as rounding may have it, the one that was found first stands."""
    if known.token_ids != later.token_ids:
        return known
    return replace(
        later if later.logprobs else known,
        certainties=later.certainties or known.certainties,
    )
