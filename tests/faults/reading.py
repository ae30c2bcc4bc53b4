"""What two runs of one job say, row by row, and the first token in which a problem differs.

It knows the tables of a run, nothing of faults. Invariant: two runs agree where nothing is said to differ: states, answers,
verdicts, generations, every candidate's tokens and scores.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from actors.store.log import parts
from tests.faults.job import WASTE

SCORE = 1e-4
"""Scores that differ by less are equal: float32 sums in another order."""

Row = dict[str, Any]


def rows(folder: Path, table: str) -> list[Row]:
    return [row for part in parts(folder, table) for row in pq.read_table(part).to_pylist()]


def drawn(row: Mapping[str, Any]) -> int:
    """Tokens that were drawn for an outcome, or in a session, by whichever model."""
    return int(row["policy_tokens"] + row["reviser_tokens"])


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of a run that has ended: outcomes by key, their candidates in order, and the ledger."""

    outcomes: dict[str, Row]
    candidates: dict[str, list[Row]]
    ledger: list[Row]

    @classmethod
    def of(cls, folder: Path) -> Tables:
        outcomes = rows(folder, "outcomes")
        assert len({row["key"] for row in outcomes}) == len(outcomes), "an outcome stands there twice"
        candidates: dict[str, list[Row]] = defaultdict(list)
        for row in rows(folder, "candidates"):
            candidates[row["key"]].append(row)
        for some in candidates.values():
            some.sort(key=lambda row: row["index"])
            assert [row["index"] for row in some] == list(range(len(some))), "a candidate stands there twice"
        return cls({row["key"]: row for row in outcomes}, dict(candidates), rows(folder, "ledger"))

    @property
    def drawn(self) -> int:
        return sum(map(drawn, self.outcomes.values()))

    @property
    def spent(self) -> int:
        """FLOPs on the books that something came of."""
        return sum(row["flops"] for row in self.ledger if row["kind"] in ("kept", "pruned"))

    @property
    def wasted(self) -> int:
        return sum(row["flops"] for row in self.ledger if row["kind"] in WASTE)

    def lost(self) -> list[Row]:
        """What leases were charged that were lost with their holder."""
        return [row for row in self.ledger if (row["purpose"], row["kind"]) == ("unknown", "lost")]


@dataclass(frozen=True, slots=True)
class Flip:
    """The first token in which a problem differs between two runs."""

    problem: str
    strategy: str
    candidate: int
    position: int
    was: int | None
    became: int | None

    def __str__(self) -> str:
        return (
            f"{self.problem}, {self.strategy}, candidate {self.candidate}, token {self.position}: "
            f"{self.was} became {self.became}"
        )


def flips(before: Tables, after: Tables) -> list[Flip]:
    """The problems that differ, each traced to its first flipped token. Fails where one differs and no token does."""
    assert after.outcomes.keys() == before.outcomes.keys()
    keys: dict[str, list[str]] = defaultdict(list)
    for key, row in before.outcomes.items():
        keys[row["problem_id"]].append(key)
    found = []
    for problem, mine in keys.items():
        if all(_same(before, after, key) for key in mine):
            continue
        traced = [flip for key in mine if (flip := _first(before, after, key)) is not None]
        assert traced, f"{problem} differs, and none of its tokens does: {[_said(after, k) for k in mine]}"
        found.append(min(traced, key=lambda flip: flip.position))
    return found


def _said(tables: Tables, key: str) -> tuple[Any, ...]:
    row = tables.outcomes[key]
    return tuple(row[name] for name in ("strategy", "state", "answer", "correct", "generations"))


def _same(before: Tables, after: Tables, key: str) -> bool:
    old, new = before.candidates.get(key, []), after.candidates.get(key, [])
    return (
        _said(before, key) == _said(after, key)
        and len(old) == len(new)
        and all(_alike(a, b) for a, b in zip(old, new, strict=True))
    )


def _alike(old: Row, new: Row) -> bool:
    names = ("token_ids", "answer", "correct", "kept", "parent", "depth", "finish_reason", "step_tokens")
    return (
        all(old[name] == new[name] for name in names)
        and len(old["scores"]) == len(new["scores"])
        and all(abs(a - b) <= SCORE for a, b in zip(old["scores"], new["scores"], strict=True))
    )


def _first(before: Tables, after: Tables, key: str) -> Flip | None:
    row = before.outcomes[key]
    found = []
    for old, new in zip(before.candidates.get(key, []), after.candidates.get(key, []), strict=False):
        a, b = old["token_ids"], new["token_ids"]
        if a == b:
            continue
        place = next((p for p, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        found.append(
            Flip(
                row["problem_id"],
                row["strategy"],
                old["index"],
                place,
                a[place] if place < len(a) else None,
                b[place] if place < len(b) else None,
            )
        )
    return min(found, key=lambda flip: flip.position, default=None)
