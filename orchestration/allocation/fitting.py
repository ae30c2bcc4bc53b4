"""Fits a value table to what was seen of problems whose answers are known.

A trace is one problem in one order of its samples: what each move on offer showed, whether the answer was then right,
and what it took. It knows numbers, nothing of texts or models. Invariant: every problem weighs the same, in however
many orders it is seen; what is written down has few digits, and is what is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actors.seeds import derive
from orchestration.allocation.evidence import OF_SAMPLES, OF_SEARCH, Evidence, logit
from orchestration.allocation.logistic import Logistic, fit, rounded
from orchestration.allocation.value_table import (
    JUDGED,
    PROMPT,
    START,
    UNDRAWN,
    Move,
    Offer,
    Stage,
    ValueTable,
    work_of,
)

Array = NDArray[np.float64]

CELLS = 6
"""Cells of a stage, where there are problems enough."""

PROBLEMS_A_CELL = 8

GROUPS = 3
"""Groups of prompts by the verifier's value of them, where there are problems enough."""

_PROBLEMS_A_GROUP = 3 * PROBLEMS_A_CELL
_PENALTY = 2.0
# How many problems' worth of doubt pull a cell's numbers: its chance to what the score says, its moves to those of all cells.
_DOUBT_RIGHT = 4.0
_DOUBT_MOVE = 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a move showed: the evidence after it, whether the answer is then right, and the FLOPs it took."""

    evidence: Evidence
    right: bool
    flops: int


@dataclass(frozen=True, slots=True)
class Trace:
    """One problem in one order of its samples: what every move, by source and target, showed. After the prompt was judged
    they are what they are without, and stand here once."""

    problem: str
    moves: Mapping[tuple[str, str], Seen]


@dataclass(slots=True)
class _Rows:
    """All arrivals (R) at one stage, by the `sources` they come from: which trace, whether right, FLOPs, what each
    weighs, its features (R, names), and the cell in which it is. Of a search, too, the log odds of the answer that `stood`
    before (-inf: none did), and whether that one was right."""

    trace: NDArray[np.int64]
    sources: list[str]
    right: Array
    flops: Array
    weight: Array
    names: tuple[str, ...]
    features: Array
    stood: Array
    stood_right: Array
    cell: NDArray[np.int64]
    group: NDArray[np.int64]


def fit_table(offer: Offer, traces: Sequence[Trace], *, cells: int = CELLS) -> ValueTable:
    """The value table of an offer. Raises ValueError for no traces, KeyError for one that lacks a move."""
    if not traces:
        raise ValueError("a value table needs traces")
    orders = Counter(trace.problem for trace in traces)
    weights = np.array([1.0 / orders[trace.problem] for trace in traces])
    thresholds, group = _groups(offer, traces, len(orders) // _PROBLEMS_A_GROUP)
    stages: dict[str, Stage] = {}
    rows: dict[str, _Rows] = {}
    for name in offer.stages:
        if name == START:
            rows[name] = _beginnings(traces, weights)
        else:
            rows[name] = _arrivals(name, offer, traces, stages, rows)
        if name == PROMPT or name.startswith(JUDGED):
            rows[name].group = group[rows[name].trace]
        stages[name], rows[name].cell = _stage(name, rows[name], cells)
    moves = [_move(source, target, stages, rows) for source, target in offer.moves]
    return ValueTable(tuple(stages.values()), tuple(moves), thresholds)


def _groups(offer: Offer, traces: Sequence[Trace], most: int) -> tuple[tuple[float, ...], NDArray[np.int64]]:
    """Thresholds of the prompts' values that make groups of about the same size, and the group of each trace; one group where
    prompts are not judged."""
    if not offer.prompt:
        return (), np.zeros(len(traces), np.int64)
    each = np.array([trace.moves[START, PROMPT].evidence.prompt for trace in traces], dtype=np.float64)
    values = np.array(
        list(dict(zip([trace.problem for trace in traces], each.tolist(), strict=True)).values())
    )
    thresholds = _cuts(values, np.ones(len(values)), max(1, min(GROUPS, most)))
    return tuple(thresholds), np.searchsorted(thresholds, each, side="right")


def _beginnings(traces: Sequence[Trace], weights: Array) -> _Rows:
    nothing = np.zeros(len(traces))
    return _Rows(
        trace=np.arange(len(traces)),
        sources=[],
        right=nothing,
        flops=nothing,
        weight=weights,
        names=(),
        features=np.zeros((len(traces), 0)),
        stood=np.full(len(traces), -np.inf),
        stood_right=np.zeros(len(traces)),
        cell=np.empty(0, np.int64),
        group=np.zeros(len(traces), np.int64),
    )


def _arrivals(
    name: str,
    offer: Offer,
    traces: Sequence[Trace],
    stages: Mapping[str, Stage],
    rows: Mapping[str, _Rows],
) -> _Rows:
    search = work_of(name) in offer.searches
    names: tuple[str, ...] = OF_SEARCH if search else OF_SAMPLES
    if name == PROMPT:
        # There is no answer yet, and the value itself makes the groups.
        names = ()
    sources = [source for source, target in offer.moves if target == name]
    parts = []
    for source in sources:
        plain = START if source == PROMPT else work_of(source)
        seen = [trace.moves[plain, work_of(name)] for trace in traces]
        before = rows[source]
        told = np.array([one.evidence.vector(names) for one in seen])[before.trace]
        stood = np.full(len(told), -np.inf)
        if search and source not in UNDRAWN:
            chances = np.array([logit(chance) for chance in stages[source].right])
            told[:, names.index("before")] = chances[before.cell]
            answered = np.array([one.evidence.same is not None for one in seen])[before.trace]
            stood = np.where(answered, chances[before.cell], -np.inf)
        right = np.array([float(one.right) for one in seen])[before.trace]
        flops = np.array([float(one.flops) for one in seen])[before.trace]
        # Who comes from where at a price is not known: all ways count the same.
        parts.append((before.trace, right, flops, before.weight / len(sources), told, stood, before.right))
    trace, right, flops, weight, features, stood, stood_right = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    return _Rows(
        trace=trace,
        sources=sources,
        right=right,
        flops=flops,
        weight=weight,
        names=names,
        features=features,
        stood=stood,
        stood_right=stood_right,
        cell=np.empty(0, np.int64),
        group=np.zeros(len(trace), np.int64),
    )


def _stage(name: str, rows: _Rows, cells: int) -> tuple[Stage, NDArray[np.int64]]:
    """The stage, and the cell of each of its rows, which are right from then on as the likelier of their answers is."""
    weights, right = rows.weight, rows.right
    score = Logistic((), (), 0.0)
    if rows.names:
        score = fit(rows.names, rows.features, right, weights, penalty=_PENALTY)
    found = score.scores(rows.features)
    scores = np.maximum(found, rows.stood)
    right = rows.right = np.where(rows.stood > found, rows.stood_right, right)
    cell = np.zeros(len(scores), np.int64)
    cuts: list[tuple[float, ...]] = []
    for group in range(int(rows.group.max()) + 1):
        mine = rows.group == group
        most = max(1, min(cells, int(weights[mine].sum() + 0.5) // PROBLEMS_A_CELL))
        some = _cuts(scores[mine], weights[mine], most) if rows.names else []
        cell[mine] = sum(len(one) + 1 for one in cuts) + np.searchsorted(some, scores[mine], side="right")
        cuts.append(tuple(some))
    expected = 1.0 / (1.0 + np.exp(-scores))
    chances, problems = [], []
    for each in range(sum(len(one) + 1 for one in cuts)):
        mine = cell == each
        worth = float(weights[mine].sum())
        told = float(weights[mine] @ right[mine])
        prior = float(np.average(expected[mine], weights=weights[mine]))
        chance = 0.0 if name in UNDRAWN else (told + _DOUBT_RIGHT * prior) / (worth + _DOUBT_RIGHT)
        chances.append(rounded(chance, 4))
        problems.append(rounded(worth, 4))
    return Stage(name, score, tuple(cuts), tuple(chances), tuple(problems)), cell


def _cuts(scores: Array, weights: Array, cells: int) -> list[float]:
    """Quantiles of the scores, each halfway to the next score above; those that would leave a cell empty are left out."""
    order = np.argsort(scores, kind="stable")
    sorted_scores, total = scores[order], np.cumsum(weights[order])
    kept: list[float] = []
    for at in np.searchsorted(total, np.arange(1, cells) / cells * total[-1]):
        above = int(np.searchsorted(sorted_scores, sorted_scores[min(at, len(scores) - 1)], side="right"))
        if above == len(scores):
            break
        cut = rounded(float((sorted_scores[above - 1] + sorted_scores[above]) / 2))
        lowest = kept[-1] if kept else -np.inf
        if np.any((scores >= lowest) & (scores < cut)) and np.any(scores >= cut):
            kept.append(cut)
    return kept


def _move(source: str, target: str, stages: Mapping[str, Stage], rows: Mapping[str, _Rows]) -> Move:
    mine, there = rows[source], rows[target]
    # Arrivals stand source by source, each in the order of its rows.
    before = sum(len(rows[name].trace) for name in there.sources[: there.sources.index(source)])
    arrived = slice(before, before + len(mine.trace))
    shape = stages[source].cells, stages[target].cells
    leads, flops = np.zeros(shape), np.zeros(shape[0])
    np.add.at(leads, (mine.cell, there.cell[arrived]), mine.weight)
    np.add.at(flops, mine.cell, mine.weight * there.flops[arrived])
    worth = leads.sum(axis=1)
    usual, cost = np.zeros(shape), np.zeros(shape[0])
    for cells in stages[source].groups:
        # In doubt it is as for the whole group: no prompt leaves its own.
        some = slice(cells.start, cells.stop)
        usual[some] = leads[some].sum(axis=0) / worth[some].sum()
        cost[some] = flops[some].sum() / worth[some].sum()
    chances = (leads + _DOUBT_MOVE * usual) / (worth + _DOUBT_MOVE)[:, None]
    costs = (flops + _DOUBT_MOVE * cost) / (worth + _DOUBT_MOVE)
    return Move(
        source,
        target,
        tuple(rounded(cost) for cost in costs.tolist()),
        tuple(tuple(rounded(chance) for chance in row) for row in chances.tolist()),
    )


@dataclass(frozen=True, slots=True)
class Calibration:
    """Of states with about the same chance: the mean chance `told`, the share that was `right`, and by how many
    problems."""

    told: float
    right: float
    problems: float


def folds(problems: Sequence[str], count: int, seed: int) -> list[int]:
    """A fold for each problem, by a hash of its name: problems that come later change none."""
    return [derive(seed, "fold", problem) % count for problem in problems]


def calibrate(
    offer: Offer, traces: Sequence[Trace], *, seed: int, cells: int = CELLS, bands: int = 10
) -> list[Calibration]:
    """The calibration curve over all sampled stages: each half of the problems is judged by a table fitted on the other."""
    fold = folds([trace.problem for trace in traces], 2, seed)
    orders = Counter(trace.problem for trace in traces)
    told, right, weights = [], [], []
    sampled = [move for move in offer.moves if work_of(move[1]).isdigit()]
    for judged in (0, 1):
        others = [trace for trace, one in zip(traces, fold, strict=True) if one != judged]
        mine = [trace for trace, one in zip(traces, fold, strict=True) if one == judged]
        if not others or not mine:
            continue
        table = fit_table(offer, others, cells=cells)
        for trace in mine:
            for source, target in sampled:
                seen = trace.moves[START if source == PROMPT else work_of(source), work_of(target)]
                told.append(table.chance(table.state(target, seen.evidence)))
                right.append(float(seen.right))
                weights.append(1.0 / orders[trace.problem] / len(sampled))
    return _banded(np.array(told), np.array(right), np.array(weights), bands)


def _banded(told: Array, right: Array, weights: Array, bands: int) -> list[Calibration]:
    found = []
    band = np.minimum((told * bands).astype(int), bands - 1)
    for each in range(bands):
        mine = band == each
        if mine.any():
            worth = weights[mine]
            found.append(
                Calibration(
                    rounded(float(np.average(told[mine], weights=worth)), 4),
                    rounded(float(np.average(right[mine], weights=worth)), 4),
                    rounded(float(worth.sum()), 4),
                )
            )
    return found
