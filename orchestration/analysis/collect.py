"""From a run's tables to arrays over its problems: how each strategy did, what it took, and the samples it
drew.

It knows columns and what strategies say of themselves, nothing of statistics. Invariant: every array has one row a
problem and, where it has a second axis, one column a run seed, in the same order of problems and seeds, NaN where
nothing is known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from actors.strategy import Grouping, Sampling
from orchestration.analysis.subsets import SampleSet, pass_at
from orchestration.strategies.call import grouping_in
from orchestration.strategies.choice import Choice, Chooser, chooser_of
from orchestration.strategies.parse import registered
from orchestration.strategies.selection import Aggregation, aggregate, likelihood_weight

Array = NDArray[np.float64]

COSTS = ("attributed_tokens", "kept_tokens", "attributed_flops", "attributed_flops_exact", "wall_seconds")


@dataclass(frozen=True, slots=True)
class Named:
    """A strategy as a report knows it, by its text: the `family` that orders it, its budget `n` in generations (`told`: it is
    known beforehand), the `series` of all budgets that it belongs to, and itself where it chooses among samples."""

    text: str
    family: str
    series: str
    n: int
    told: bool = True
    chooser: Chooser | None = None

    @classmethod
    def of(cls, text: str, declared: Grouping | None = None) -> Named:
        """Ask the strategy, where the registry has it; one of the user's own is never imported: what it `declared` counts, or
        else what its text says."""
        strategy = registered(text)
        found = strategy.grouping if strategy is not None else declared or grouping_in(text)
        return cls(text, found.family, found.series, found.n or 1, found.n is not None, chooser_of(strategy))

    @property
    def choice(self) -> Choice | None:
        """How its answer follows from independent samples; None where it does not."""
        return None if self.chooser is None else self.chooser.choice

    @property
    def plain(self) -> bool:
        """Whether it chooses among independent samples as the policy draws them: at temperature 1, from all tokens."""
        return self.choice is not None and self.choice.sampling == Sampling()


@dataclass(frozen=True, slots=True)
class Measured:
    """One strategy over the problems (P) and run seeds (S): `ran` (P, S), `correct` (P, S; NaN: no label or not run),
    costs by column (P,), a problem's being the mean of its seeds.

    `truncated` and `generations` are sums over all of them.
    """

    name: Named
    ran: NDArray[np.bool_]
    correct: Array
    costs: dict[str, Array]
    truncated: float
    generations: float


@dataclass(frozen=True, slots=True)
class Samples:
    """The largest sets of independent samples of a run: K of each of R pairs of a problem and a run seed.

    `ids` are the pairs' problems, `rows` and `columns` (R,) the places of problem and seed in `Collected.ids` and `seeds`.
    `likelihoods` (R, K) are `selection.likelihood_weight`, None where any of the samples, `bare` in number, was drawn without
    the likelihoods of its tokens. `prefixes` has for each pair how many of its samples begin with each distinct prefix of
    steps, and how many tokens that prefix's last step has; None where steps were not kept.
    """

    strategy: str
    size: int
    ids: list[str]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    answers: list[list[str | None]]
    correct: NDArray[np.bool_]
    finished: NDArray[np.bool_]
    step_scores: list[list[tuple[float, ...]]]
    likelihoods: Array | None
    bare: int
    prefixes: list[list[tuple[int, int]]] | None

    def sets(self, values: Array | None = None) -> list[SampleSet]:
        """Sample sets whose votes weigh `values` (R, K), or each the same."""
        if values is None:
            values = np.ones((len(self.ids), self.size))
        return [
            SampleSet(one, answers, right.tolist(), ended.tolist(), weights.tolist())
            for one, answers, right, ended, weights in zip(
                self.ids, self.answers, self.correct, self.finished, values, strict=True
            )
        ]

    def distinct_tokens(self, n: int) -> float:
        """Tokens of distinct step prefixes that n of the samples have on average: what a verifier has to
        read.

        NaN where steps were not kept. At n samples a prefix that m of K share is there with the chance that
        one of n is among the m.
        """
        if self.prefixes is None:
            return float("nan")
        total = sum(tokens * pass_at(self.size, count, n) for each in self.prefixes for count, tokens in each)
        return total / len(self.prefixes)

    @property
    def scored(self) -> bool:
        """Whether a verifier has judged any of them."""
        return any(steps for row in self.step_scores for steps in row)

    def scores(self, how: Aggregation = "last") -> Array:
        """The verifier's value of each sample (R, K), NaN where it has none."""
        return np.array(
            [[aggregate(steps, how) if steps else np.nan for steps in row] for row in self.step_scores],
            dtype=np.float64,
        ).reshape(len(self.ids), self.size)


@dataclass(frozen=True, slots=True)
class Collected:
    """A run as arrays: `ids` is the order of problems, `seeds` that of run seeds, `metadata` what is known of each
    problem."""

    ids: list[str]
    seeds: list[int]
    metadata: list[dict[str, Any]]
    labelled: NDArray[np.bool_]
    strategies: list[Measured]
    samples: Samples | None


def collect(
    outcomes: pa.Table,
    candidates_of: Callable[[str], pa.Table],
    problems: pa.Table,
    declared: Mapping[str, Grouping] = MappingProxyType({}),
) -> Collected:
    """Read a run's tables; `candidates_of` gives those of one strategy, which are read of one only. `declared` is by text
    what strategies of the user's own said of themselves when they ran.

    A problem that has a label counts as wrong where a strategy gave no answer at all (the budget ended, or it
    was quarantined): leaving it out would flatter the strategy.
    """
    ids: list[str] = pc.unique(outcomes["problem_id"]).to_pylist()
    place = {one: row for row, one in enumerate(ids)}
    seeds: list[int] = sorted(pc.unique(outcomes["seed"]).to_pylist())
    known = {row["problem_id"]: row for row in problems.to_pylist()}
    metadata = [json.loads(known[one]["metadata"]) if one in known else {} for one in ids]
    answered = set(pc.unique(outcomes.filter(pc.is_valid(outcomes["correct"]))["problem_id"]).to_pylist())
    labelled = np.array(
        [one in answered or (one in known and known[one]["answer"] is not None) for one in ids], dtype=bool
    )
    strategies = []
    for text in pc.unique(outcomes["strategy"]).to_pylist():
        rows = outcomes.filter(pc.equal(outcomes["strategy"], text))
        strategies.append(_measured(Named.of(text, declared.get(text)), rows, place, seeds, labelled))
    samples = _samples(strategies, place, seeds, labelled, candidates_of)
    return Collected(ids, seeds, metadata, labelled, strategies, samples)


def _measured(
    name: Named, rows: pa.Table, place: dict[str, int], seeds: list[int], labelled: NDArray[np.bool_]
) -> Measured:
    at = np.array([place[one] for one in rows["problem_id"].to_pylist()])
    column = np.searchsorted(seeds, rows["seed"].to_numpy())
    ran = np.zeros((len(place), len(seeds)), dtype=bool)
    ran[at, column] = True
    correct = np.full(ran.shape, np.nan)
    correct[at, column] = pc.fill_null(rows["correct"], False).to_numpy()
    correct[~labelled] = np.nan
    costs = {name: _mean_at(at, rows[name].to_numpy().astype(np.float64), len(place)) for name in COSTS}
    if not name.told:
        name = replace(name, n=max(1, round(pc.mean(rows["generations"]).as_py() or 0)))
    return Measured(
        name,
        ran,
        correct,
        costs,
        float(pc.sum(rows["truncated"]).as_py() or 0),
        float(pc.sum(rows["generations"]).as_py() or 0),
    )


def _mean_at(at: NDArray[np.int64], values: Array, size: int) -> Array:
    """Mean of the values that share a place; NaN at places without one."""
    total = np.bincount(at, weights=values, minlength=size)
    count = np.bincount(at, minlength=size)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _samples(
    strategies: list[Measured],
    place: dict[str, int],
    seeds: list[int],
    labelled: NDArray[np.bool_],
    candidates_of: Callable[[str], pa.Table],
) -> Samples | None:
    """The sets of the strategy that drew most independent samples at temperature 1, scored ones before others.

    None where there is none, or where a labelled problem lacks some of the samples of a seed that it was solved with (a
    budget that ended) or all of them (it was quarantined): subsets of what is left would not be a fair draw.
    """
    drawn = [one for one in strategies if one.name.plain]
    if not drawn:
        return None
    most = max(drawn, key=lambda one: (one.name.n, one.name.choice is not None and one.name.choice.scored))
    best = most.name
    rows = candidates_of(best.text)
    # A run that goes on may have candidates by now whose outcomes were not there yet.
    told = pc.and_(
        pc.is_in(rows["problem_id"], pa.array(list(place))), pc.is_in(rows["seed"], pa.array(seeds))
    )
    rows = rows.filter(pc.and_(pc.is_valid(rows["correct"]), told))
    if not len(rows):
        return None
    rows = rows.sort_by([(name, "ascending") for name in ("problem_id", "seed", "index")])
    row_of = np.array([place[one] for one in rows["problem_id"].to_pylist()])
    column_of = np.searchsorted(seeds, rows["seed"].to_numpy())
    counts = np.zeros(most.ran.shape, dtype=np.int64)
    np.add.at(counts, (row_of, column_of), 1)
    if np.any((counts != best.n) & ((counts > 0) | (most.ran & labelled[:, None]))):
        return None
    shape = (len(rows) // best.n, best.n)
    likelihoods, bare = _likelihoods(rows)
    answers = rows["answer"].to_pylist()
    scores = [tuple(steps or ()) for steps in rows["scores"].to_pylist()]
    return Samples(
        strategy=best.text,
        size=best.n,
        ids=rows["problem_id"].to_pylist()[:: best.n],
        rows=row_of[:: best.n],
        columns=column_of[:: best.n],
        answers=[answers[i : i + best.n] for i in range(0, len(answers), best.n)],
        correct=pc.fill_null(rows["correct"], False).to_numpy().astype(bool).reshape(shape),
        finished=pc.equal(rows["finish_reason"], "eos").to_numpy().astype(bool).reshape(shape),
        step_scores=[scores[i : i + best.n] for i in range(0, len(scores), best.n)],
        likelihoods=None if likelihoods is None else likelihoods.reshape(shape),
        bare=bare,
        prefixes=_prefixes(rows, best.n),
    )


def _likelihoods(rows: pa.Table) -> tuple[Array | None, int]:
    """The samples' likelihoods, and how many have steps and none of them: one is enough, and no vote can be weighed."""
    samples = [
        (sums or (), ends or ())
        for sums, ends in zip(rows["logprobs"].to_pylist(), rows["step_tokens"].to_pylist(), strict=True)
    ]
    bare = sum(bool(ends) and not sums for sums, ends in samples)
    return None if bare else np.array([likelihood_weight(*one) for one in samples]), bare


def _prefixes(rows: pa.Table, size: int) -> list[list[tuple[int, int]]] | None:
    """(samples that share it, tokens of its last step) of each distinct prefix of steps, set by set."""
    if rows["steps"].null_count:
        return None
    found: list[list[tuple[int, int]]] = []
    steps, ends = rows["steps"].to_pylist(), rows["step_tokens"].to_pylist()
    for start in range(0, len(steps), size):
        counts: dict[str, tuple[int, int]] = {}
        for texts, offsets in zip(steps[start : start + size], ends[start : start + size], strict=True):
            prefix = ""
            for text, tokens in zip(texts, np.diff([0, *offsets]).tolist(), strict=True):
                prefix += f"{text}\0"
                counts[prefix] = (counts.get(prefix, (0, 0))[0] + 1, tokens)
        found.append(list(counts.values()))
    return found
