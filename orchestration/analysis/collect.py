"""From a run's tables to arrays over its problems: how each strategy did, and what it took.

It knows columns and what strategies say of themselves, nothing of statistics or of single candidates. Tables come in batches
and are read column by column, so that of a million outcomes some numbers each are in memory and no text. Invariant: every
array has one row a problem and, where it has a second axis, one column a run seed, in the same order of problems and seeds;
of an outcome that was made again the newest row counts; what did not run has no number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from actors.strategy import Grouping, Sampling, asked_by
from actors.work import UNPAID, State, Tally
from orchestration.analysis.cells import Batches, Cells
from orchestration.analysis.columns import Column, read_columns
from orchestration.analysis.places import Places
from orchestration.analysis.statistics import problem_means
from orchestration.strategies.call import grouping_in
from orchestration.strategies.choice import Choice, Chooser, chooser_of
from orchestration.strategies.parse import registered

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]

COSTS = ("attributed_tokens", "kept_tokens", "attributed_flops", "attributed_flops_exact", "wall_seconds")

_TALLIES = ("ended", "unreadable", "truncated", "single_step")
"""The columns of a `Tally`, in its order."""

_STATES: tuple[State, ...] = get_args(State)

_LONGEST = 10**6
"""No problem is as long."""


@dataclass(frozen=True, slots=True)
class Named:
    """A strategy as a report knows it, by its text: the `family` that orders it, its budget `n` in generations (`told`: it is
    known beforehand), the `series` of all budgets that it belongs to, and itself where it chooses among samples.

    `known` is one of the registry; it draws nothing but whole samples with the sampling `whole`, where that is given, and
    no whole sample of the policy where it `searches`, and so many of the first ones, beside others, where it `begins` so.
    """

    text: str
    family: str
    series: str
    n: int
    told: bool = True
    chooser: Chooser | None = None
    known: bool = False
    whole: Sampling | None = None
    begins: tuple[Sampling, int] | None = None
    searches: bool = False

    @classmethod
    def of(cls, text: str, declared: Grouping | None = None) -> Named:
        """Ask the strategy, where the registry has it; one of the user's own is never imported: what it `declared` counts, or
        else what its text says."""
        strategy = registered(text)
        found = strategy.grouping if strategy is not None else declared or grouping_in(text)
        forecast = strategy.forecast(1, 1) if strategy is not None else None
        return cls(
            text=text,
            family=found.family,
            series=found.series,
            n=found.n or 1,
            told=found.n is not None,
            chooser=chooser_of(strategy),
            known=strategy is not None,
            whole=None if forecast is None else forecast.shared,
            begins=None if forecast is None else forecast.begins,
            searches=strategy is not None
            and (getattr(strategy, "by_steps", False) or "policy" not in asked_by(strategy)),
        )

    @property
    def choice(self) -> Choice | None:
        """How its answer follows from independent samples; None where it does not."""
        return None if self.chooser is None else self.chooser.choice

    def reads(self, sampling: Sampling) -> int | None:
        """How many of a problem's whole samples with this sampling, from the first on, its answer may depend on; None where
        nobody can say.

        A search draws steps, and a reviser revisions, whose seeds are of their own. One of the user's own is taken to draw
        what its budget allows; what one with a plan draws, its plan says.
        """
        if self.known and self.whole is not None:
            return self.n if self.whole == sampling else 0
        if self.known and self.begins is not None:
            return self.begins[1] if self.begins[0] == sampling else 0
        if not self.told or (self.known and not self.searches):
            return None
        return 0 if self.known else self.n


@dataclass(frozen=True, slots=True)
class Measured:
    """One strategy over the problems (P) and run seeds (S): `asked` (P, S), `ran` (P, S; there is an answer), `correct`
    (P, S; NaN: no label, or it did not run), costs by column, a problem's being the mean of its seeds.

    `tally` and `generations` are sums, and like the costs over what ran; of a run of an earlier version `tally.ended` is 0.
    `ended` counts the other outcomes by state.
    `whole` says on how many labelled outcomes it drew as many samples as its budget is; `made` (P, S) how often an answer was
    made, where it chooses among samples.
    """

    name: Named
    asked: Flags
    ran: Flags
    correct: Array
    costs: dict[str, float]
    tally: Tally
    generations: int
    ended: dict[str, int]
    whole: int
    made: NDArray[np.uint8] | None

    @property
    def failed(self) -> Flags:
        """Where it was asked and has no answer."""
        return self.asked & ~self.ran


@dataclass(frozen=True, slots=True)
class Collected:
    """A run as arrays, over `places` problems and run `seeds`.

    `lengths` are those of the problems and `panels` their families (a place in `families`), where every one has a length.
    `columns` are those of the problems' metadata that were asked for.
    `states` counts the outcomes by how they ended, `short` those that the budget cut short; `newest` says of each row of
    outcomes whether it counts, or the outcome was made again. `candidates` reads those of one strategy.
    """

    places: Places
    seeds: list[int]
    labelled: Flags
    lengths: NDArray[np.int64] | None
    panels: NDArray[np.int64]
    families: list[str]
    columns: list[Column]
    strategies: list[Measured]
    states: dict[str, int]
    short: int
    newest: Flags
    candidates: Callable[[str], Batches]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.places), len(self.seeds)


def collect(
    outcomes: Batches,
    candidates: Callable[[str], Batches],
    problems: Batches,
    declared: Mapping[str, Grouping] = MappingProxyType({}),
    by: Sequence[str] = (),
) -> Collected:
    """Read a run's outcomes and problems; `candidates` gives those of one strategy. `declared` is by text what strategies of
    the user's own said of themselves when they ran; `by` names columns of the problems' metadata.

    A problem that has a label and an answer that cannot be read counts as wrong: leaving it out would flatter the strategy.
    One whose outcome was quarantined, or not paid for, has no number.
    """
    cells = Cells(outcomes)
    labelled, lengths, panels, families = _problems(problems, cells.places)
    columns = read_columns(problems, cells.places, by) if by else []
    # A grade says that there was a label, also where the problems' table has none.
    graded = cells.values(["correct"], lambda batch: pc.is_valid(batch["correct"]), absent=False)
    labelled |= graded.any(axis=(0, 2))
    state = cells.values(["state"], _state, absent=np.int8(-1))
    ran = state == _STATES.index("answered")
    right = cells.values(["correct"], lambda batch: pc.fill_null(batch["correct"], False), absent=False)
    short = cells.values(["reason"], _cut_short, absent=False)
    named = [Named.of(text, declared.get(text)) for text in cells.strategies]
    generated = cells.values(["generations"], lambda batch: batch["generations"], absent=np.int32(0))
    tallies = [cells.values([name], _filled(name), absent=np.int32(0)) for name in _TALLIES]
    costs = {name: _means(cells, name, ran) for name in COSTS}
    made = cells.counts(["state"], lambda batch: pc.equal(batch["state"], "answered"))
    strategies = []
    for place, name in enumerate(named):
        mine, generations = ran[place], generated[place]
        drawn = int(generations[mine].sum())
        if not name.told and mine.any():
            name = replace(name, n=max(1, round(drawn / int(mine.sum()))))
        strategies.append(
            Measured(
                name=name,
                asked=state[place] >= 0,
                ran=mine,
                correct=np.where(mine & labelled[:, None], right[place], np.nan),
                costs={column: means[place] for column, means in costs.items()},
                tally=Tally(*(int(counts[place][mine].sum()) for counts in tallies)),
                generations=drawn,
                ended=_counts(state[place], but="answered"),
                whole=int((mine & (generations == name.n) & ~short[place] & labelled[:, None]).sum()),
                made=made[place].copy() if name.chooser is not None else None,
            )
        )
    return Collected(
        places=cells.places,
        seeds=cells.seeds,
        labelled=labelled,
        lengths=lengths,
        panels=panels,
        families=families,
        columns=columns,
        strategies=strategies,
        states=_counts(state),
        short=int(short.sum()),
        newest=cells.newest,
        candidates=candidates,
    )


def _state(batch: Any) -> Any:
    # What only another version knows is no answer either.
    known = pc.index_in(batch["state"], pa.array(_STATES))
    return pc.fill_null(known, _STATES.index("quarantined"))


def _filled(name: str) -> Callable[[Any], Any]:
    # Parts of an earlier version lack the column.
    return lambda batch: pc.fill_null(batch[name], 0)


def _cut_short(batch: Any) -> Any:
    return pc.starts_with(pc.fill_null(batch["reason"], ""), UNPAID)


def _counts(state: NDArray[np.int8], but: str = "") -> dict[str, int]:
    """How many outcomes ended in each state, without states that none ended in."""
    counts = {name: int((state == code).sum()) for code, name in enumerate(_STATES) if name != but}
    return {name: count for name, count in counts.items() if count}


def _means(cells: Cells, column: str, ran: Flags) -> list[float]:
    """Of each strategy the mean over its problems of their seeds' mean, over what ran; NaN where nothing did."""
    values = cells.values([column], lambda batch: pc.cast(batch[column], "float64"), absent=np.nan)
    means = [problem_means(np.where(mine, each, np.nan)) for mine, each in zip(ran, values, strict=True)]
    return [float(np.nanmean(each)) if not np.isnan(each).all() else float("nan") for each in means]


def _problems(
    problems: Batches, places: Places
) -> tuple[Flags, NDArray[np.int64] | None, NDArray[np.int64], list[str]]:
    """Which problems have an answer; the length of each, None where one has none; its family, as a place in the list of
    them."""
    labelled = np.zeros(len(places), dtype=bool)
    lengths, panels = np.full(len(places), -1), np.zeros(len(places), dtype=np.int64)
    families: dict[str, int] = {}
    for batch in problems(["problem_id", "answer"]):
        at = places.of(batch["problem_id"])
        labelled[at[(at >= 0) & pc.is_valid(batch["answer"]).to_numpy(zero_copy_only=False)]] = True
    for batch in problems(["problem_id", "metadata"]):
        for place, text in zip(places.of(batch["problem_id"]), batch["metadata"].to_pylist(), strict=True):
            told = json.loads(text) if place >= 0 else {}
            length = told.get("length")
            # A table's column of this name may hold anything.
            if place >= 0 and (type(length) is not int or not 0 <= length < _LONGEST):
                return labelled, None, panels, []
            if place >= 0:
                lengths[place] = length
                panels[place] = families.setdefault(str(told.get("family", "")), len(families))
    whole = len(places) > 0 and bool((lengths >= 0).all())
    return labelled, lengths if whole else None, panels, list(families)
