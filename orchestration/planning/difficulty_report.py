"""How difficult a run's problems are, as predicted and as they are: told from samples, from the prompt alone, and by people.

It knows a run's tables, nothing of commands. Invariant: what is predicted and what it is held against are told from different
samples, so that no luck is in both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actors.errors import UserError, nearest
from orchestration.planning.difficulty import (
    BINS,
    Agreement,
    agreement,
    halves,
    pass_rate,
    predicted,
)
from orchestration.planning.pools import Pool
from orchestration.planning.sources import Source
from orchestration.runs.run import Run

Array = NDArray[np.float64]

HUMAN = ("level", "difficulty", "length")
"""Columns of the problems' metadata that say how difficult people, or the maker, find them: the higher, the harder."""


ORACLE = "oracle"

UNLIKE_PEOPLE = 0.2
"""A rank correlation with people's labels below which a warning says that these are about something else."""


@dataclass(frozen=True, slots=True)
class Told:
    """One way to tell difficulty: its `name`, what it is `held` against, and how well the two agree."""

    name: str
    held: str
    agreement: Agreement

    @property
    def warning(self) -> str:
        """What a user is told where the two disagree."""
        if self.held == ORACLE:
            return self.agreement.warning
        rank = self.agreement.rank
        if self.name != ORACLE or rank is None or rank >= UNLIKE_PEOPLE:
            return ""
        return (
            f"the policy finds other problems hard than {self.held} says (rank correlation {rank:.2f}): bins by {self.held} "
            "would tell little of it"
        )


@dataclass(frozen=True, slots=True)
class DifficultyReport:
    """`ways` to tell it, each held against another, over so many `problems`; `notes` on what could not be told, and why."""

    ways: tuple[Told, ...]
    problems: int
    notes: tuple[str, ...]


def report_difficulty(
    run: Run,
    source: Source,
    samples: int,
    by: Sequence[str] = (),
    prompts: Mapping[str, float] | None = None,
) -> DifficultyReport:
    """Hold predicted difficulty against the oracle's, and both against people's labels (columns `by`; none named: those of
    the usual names). `prompts` are the verifier's values at the prompts' ends, by problem."""
    pools = source.pools
    first, second = halves(source.size)
    if not first.stop:
        mend = "it takes two samples of each problem: one that tells, and one that is held against it"
        raise UserError.of("run", str(run.folder), mend)
    oracle = np.array([pass_rate([one.correct for one in pool.samples[first]]) for pool in pools])
    ways, notes = [], []
    count = min(samples, source.size - second.start)
    told = f"{count} sample{'' if count == 1 else 's'}"
    guess = None
    if source.counting.rule == "majority":
        notes.append("No predicted difficulty: no verifier scored these samples.")
    else:
        guess = np.array([_predicted(pool, second.start, count, source) for pool in pools])
        ways.append(Told(f"predicted, {told}", ORACLE, agreement(guess, oracle)))
    if prompts:
        alone = np.array([prompts.get(pool.problem, np.nan) for pool in pools])
        if (known := int((~np.isnan(alone)).sum())) < BINS:
            notes.append(
                f"Of {known:,} prompts alone a value is known, too few for bins: prompt=true tells the others."
            )
        else:
            ways.append(Told("predicted, the prompt alone", ORACLE, agreement(alone, oracle)))
    for name, labels in _human(run, pools, by).items():
        ways.append(Told(ORACLE, name, agreement(oracle, -labels)))
        if guess is not None:
            ways.append(Told(f"predicted, {told}", name, agreement(guess, -labels)))
    return DifficultyReport(tuple(ways), len(pools), tuple(notes))


def _predicted(pool: Pool, start: int, count: int, source: Source) -> float:
    some = pool.samples[start : start + count]
    return predicted([source.counting.value(one.candidate) for one in some])


def _human(run: Run, pools: Sequence[Pool], by: Sequence[str]) -> dict[str, Array]:
    """By column what people say of each problem (P), NaN where they say nothing; columns that tell no two apart are left out.
    Raises UserError for a column named that no problem has, or that is no number."""
    rows = run.problems(["problem_id", "metadata"]).to_pylist()
    told = {row["problem_id"]: json.loads(row["metadata"]) for row in rows}
    known = sorted({name for one in told.values() for name in one})
    for name in by:
        if name not in known:
            mend = (
                f"no problem has such a column; they have {', '.join(known) or 'none'}{nearest(name, known)}"
            )
            raise UserError.of("by", name, mend)
    found = {}
    for name in by or [one for one in HUMAN if one in known]:
        values = np.array([_number(told.get(pool.problem, {}).get(name)) for pool in pools])
        there = values[~np.isnan(values)]
        if len(there) >= BINS and np.ptp(there) > 0:
            found[name] = values
        elif name in by:
            raise UserError.of("by", name, "its values are no numbers that differ, as level 1 to 5 are")
    return found


def _number(value: object) -> float:
    """A number as it is, or the only one in a text, as in "Level 3"; else NaN."""
    if isinstance(value, bool):
        return float("nan")
    if isinstance(value, int | float):
        return float(value)
    numbers = re.findall(r"-?\d+(?:\.\d+)?", value) if isinstance(value, str) else []
    return float(numbers[0]) if len(numbers) == 1 else float("nan")
