"""A run on disk as its readers see it, finished or not: outcomes, candidates, problems, books.

It knows columns and files, nothing of how outcomes are made. Invariant: what stands in the log and in no part yet is read
too, and of each outcome the newest row.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import yaml

from actors.errors import UserError, counted, nearest
from actors.ledger import Entry
from actors.messages import Hold
from actors.store.done import read_states
from actors.store.log import live_records, live_segments, parts, read_holds, read_ledger, reading
from actors.store.rows import newest_decisions, rows_of
from actors.store.schema import CANDIDATES, DECISIONS, OUTCOMES, TABLES
from actors.strategy import Decision, Grouping
from orchestration.problems import Problem
from orchestration.runs.folder import read_record
from orchestration.runs.problem_store import PROBLEMS, problem_parts, stored_problem, stored_prompt
from orchestration.runs.status import read_status, standing
from orchestration.runs.stored import Stored

T = TypeVar("T")

NO_OUTCOME = "it has no outcome yet: flopwise status shows the command that goes on with it"
"""What there is to say where outcomes are to be shown."""


@dataclass(frozen=True, slots=True)
class Result:
    """One outcome as an object: a row of `outcomes` and its candidates' rows, by column name."""

    outcome: dict[str, Any]
    candidates: tuple[dict[str, Any], ...]

    @property
    def answer(self) -> str | None:
        answer: str | None = self.outcome["answer"]
        return answer

    @property
    def correct(self) -> bool | None:
        """Whether the answer is right; None where nobody knows, and where it did not run."""
        correct: bool | None = self.outcome["correct"] if self.outcome["state"] == "answered" else None
        return correct


@dataclass(frozen=True, slots=True)
class InHand:
    """Tasks that a run had in hand when it was cut off, and the FLOPs that they are charged."""

    tasks: int = 0
    flops: int = 0

    @classmethod
    def of(cls, holds: Collection[Hold]) -> InHand:
        return cls(len(holds), sum(hold.flops for hold in holds))


class Run:
    """A run folder, finished or not, read lazily; what stands in its log and in no part yet is read too."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(os.path.expanduser(folder))
        self.info: dict[str, Any] = read_record(self.folder, "run")

    def __repr__(self) -> str:
        """Its folder, how it stands, how its outcomes ended and what it has cost."""
        parts = [f"Run({str(self.folder)!r}"]
        # It is looked at where something else went wrong, too.
        with suppress(UserError, OSError):
            state: str = standing(self.folder, read_status(self.folder), time.time())
            ended = self.states()
            each = ", ".join(f"{count:,} {how}" for how, count in ended.items())
            outcomes = counted(sum(ended.values()), "outcome") + (f" ({each})" if len(ended) > 1 else "")
            spent = sum(entry.flops for entry in self.books())
            unit = self.info.get("settings", {}).get("budget.unit", "paper")
            parts += [state, outcomes, f"{spent:.2e} FLOPs ({unit}) spent"]
        return ", ".join(parts) + ")"

    @property
    def config(self) -> dict[str, Any]:
        """The settings it was last given."""
        config: dict[str, Any] = yaml.safe_load((self.folder / "config.yaml").read_text())
        return config

    def groupings(self) -> dict[str, Grouping]:
        """Where strategies of the user's own said, by their texts, that a report puts them; earlier versions kept none."""
        kept = self.info.get("grouping", {})
        return {text: Grouping(one["family"], one["series"], one["n"]) for text, one in kept.items()}

    def stored(self, name: Literal["outcomes", "candidates", "problems"]) -> Stored:
        """One of its tables as it stands now, for reading in batches; an outcome that was made again has every row that it
        ever had, the newest last."""
        if name == "problems":
            return Stored(PROBLEMS, tuple(problem_parts(self.folder / name)), PROBLEMS.empty_table())
        schema = TABLES[name]

        def look(folder: Path) -> Stored:
            logged = [row for record in live_records(folder) for row in record.get(name, ())]
            return Stored(schema, tuple(parts(folder, name)), pa.Table.from_pylist(logged, schema=schema))

        return self._steadily(look)

    def outcomes(self) -> pa.Table:
        """All outcomes, a row each. Where a larger budget, or a retry, made one again, the later row counts."""
        table = self._table("outcomes", OUTCOMES, None, None)
        if not _repeated(table):
            return table
        # Rows come in the order of parts, and so of time.
        last = {key: row for row, key in enumerate(table["key"].to_pylist())}
        return table.take(sorted(last.values()))

    def states(self) -> dict[str, int]:
        """How many outcomes ended in each state."""
        return self._steadily(read_states)

    def books(self) -> tuple[Entry, ...]:
        """What it has cost so far, in the budget's accounting, summed by purpose and kind."""
        return self._steadily(read_ledger)

    def holds(self) -> dict[int, Hold]:
        """The leases that are open, by number. Those of a run that does not go on died with it; its next start charges
        them."""
        return self._steadily(read_holds)

    def _steadily(self, read: Callable[[Path], T]) -> T:
        """Read parts and log while a run may write them."""
        while True:
            before = live_segments(self.folder)
            try:
                found = read(self.folder)
            except FileNotFoundError:
                continue
            # Else a segment became a part meanwhile, and may have been read as neither.
            if live_segments(self.folder) == before:
                return found

    def candidates(
        self, *, strategy: str | None = None, problem: str | None = None, columns: list[str] | None = None
    ) -> pa.Table:
        """Candidates, a row each, of one strategy or problem only where that is named."""
        wanted = {"strategy": strategy, "problem_id": problem}
        conditions = [pc.field(name) == value for name, value in wanted.items() if value is not None]
        condition = None
        for one in conditions:
            condition = one if condition is None else condition & one
        outcomes = self._table("outcomes", OUTCOMES, None, ["key", "state"])
        repeated = _repeated(outcomes)
        if not repeated:
            return self._table("candidates", CANDIDATES, condition, columns)
        last = dict(zip(outcomes["key"].to_pylist(), outcomes["state"].to_pylist(), strict=True))
        names = columns or CANDIDATES.names
        table = self._table("candidates", CANDIDATES, condition, list({*names, "key", "index"}))
        newest = _last_blocks(table, set(repeated))
        # One that ended without an answer in the end has none, whatever an earlier start had.
        keys = table["key"].to_pylist()
        kept = [row for row in newest if keys[row] not in repeated or last[keys[row]] == "answered"]
        # Typed: of an empty list Arrow makes a type that it cannot take by.
        return table.take(pa.array(kept, pa.int64())).select(names)

    def decisions(self, *, problem: str | None = None) -> dict[str, tuple[Decision, ...]]:
        """By outcome's key what strategies with a plan decided, of one problem only where that is named. Of an outcome that
        was made again the newest: those that it repeated, and those after them."""
        condition = None if problem is None else pc.field("problem_id") == problem
        return newest_decisions(rows_of(self._table("decisions", DECISIONS, condition, None)))

    def problems(self, columns: list[str] | None = None) -> pa.Table:
        """Its problems, with all columns or those named: `problem_id`, `question`, `answer`, `metadata` (JSON),
        `prompt_tokens`, `prompt` (its text)."""
        folder = self.folder / "problems"
        with reading(folder):
            return ds.dataset(problem_parts(folder), schema=PROBLEMS, format="parquet").to_table(
                columns=columns
            )

    def problem(self, problem_id: str) -> Problem:
        """One of its problems; UserError where there is none of this id."""
        found = stored_problem(self.folder, problem_id)
        if found is None:
            ids = self.problems(["problem_id"])["problem_id"].to_pylist()
            mend = f"{self.folder} has no such problem{nearest(problem_id, ids)}"
            raise UserError.of("problem", problem_id, mend)
        return found

    def problem_id(self, given: str) -> str:
        """The id that is given, or the one that begins so; UserError where there is none, or more than one."""
        ids = self.problems(["problem_id"])["problem_id"].to_pylist()
        if given in ids:
            return given
        found = [one for one in ids if one.startswith(given)]
        if len(found) == 1:
            return str(found[0])
        if found:
            some = ", ".join(sorted(found)[:3]) + (", ..." if len(found) > 3 else "")
            mend = f"{len(found):,} problems of {self.folder} begin so ({some}); give more of it"
            raise UserError.of("problem", given, mend)
        mend = (
            f"{self.folder} has no such problem{nearest(given, ids)}; flopwise show {self.folder} lists them"
        )
        raise UserError.of("problem", given, mend)

    def prompt(self, problem_id: str) -> tuple[int, str | None]:
        """How many tokens the prompt of one of its problems has, and its text; None where an earlier version stored it."""
        return stored_prompt(self.folder, problem_id)

    def results(self) -> Iterator[Result]:
        """Outcomes with their candidates as objects, a part of the run in memory at a time."""
        earlier = {
            key: count - 1
            for key, count in _repeated(self._table("outcomes", OUTCOMES, None, ["key"])).items()
        }
        for result in self._all_results():
            key = result.outcome["key"]
            if earlier.get(key, 0):
                earlier[key] -= 1
            else:
                yield result

    def _all_results(self) -> Iterator[Result]:
        live = self._live()
        for part in parts(self.folder, "outcomes"):
            with reading(part):
                outcomes = rows_of(pq.read_table(part, schema=OUTCOMES))
            beside = self.folder / "candidates" / part.name
            with reading(beside):
                candidates = pq.read_table(beside, schema=CANDIDATES).to_pylist() if beside.is_file() else []
            yield from _joined(outcomes, candidates)
        for record in live:
            yield from _joined(record.get("outcomes", []), record.get("candidates", []))

    def _table(self, name: str, schema: pa.Schema, condition: Any, columns: list[str] | None) -> pa.Table:
        # The log first: a segment that becomes a part meanwhile is then read twice, never missed.
        logged = [row for record in self._live() for row in record.get(name, ())]
        with reading(self.folder / name):
            whole = ds.dataset(parts(self.folder, name), schema=schema, format="parquet")
            table = whole.to_table(filter=condition, columns=columns)
        if not logged:
            return table
        rows = ds.dataset(pa.Table.from_pylist(logged, schema=schema))
        return pa.concat_tables([table, rows.to_table(filter=condition, columns=columns)])

    def _live(self) -> list[dict[str, Any]]:
        """Records of the log that are in no part yet."""
        while True:
            try:
                return list(live_records(self.folder))
            except FileNotFoundError:
                continue  # A segment has become a part since the folder was listed.


def _repeated(outcomes: pa.Table) -> dict[str, int]:
    """Keys that occur more than once, with their counts."""
    if pc.count_distinct(outcomes["key"]).as_py() == len(outcomes):
        return {}
    counts = pc.value_counts(outcomes["key"])
    return {row["values"]: row["counts"] for row in counts.to_pylist() if row["counts"] > 1}


def _last_blocks(candidates: pa.Table, repeated: set[str]) -> list[int]:
    """Rows of the newest outcome of every key: an outcome's candidates stand together, by rising index."""
    rows: dict[str, list[int]] = {}
    newest: dict[str, int] = {}
    keys, indices = candidates["key"].to_pylist(), candidates["index"].to_pylist()
    for row, (key, index) in enumerate(zip(keys, indices, strict=True)):
        if key in repeated and index <= newest.get(key, -1):
            rows[key] = []
        newest[key] = index
        rows.setdefault(key, []).append(row)
    return sorted(row for block in rows.values() for row in block)


def _joined(outcomes: list[dict[str, Any]], candidates: list[dict[str, Any]]) -> Iterator[Result]:
    by_key: dict[str, list[dict[str, Any]]] = {}
    for row in candidates:
        by_key.setdefault(row["key"], []).append(row)
    for outcome in outcomes:
        yield Result(outcome, tuple(by_key.get(outcome["key"], ())))
