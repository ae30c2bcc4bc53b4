"""The rows of a report's table: each strategy at each budget, with what it got right and what it cost.

It knows arrays over problems and what strategies say of their budgets, nothing of tables or figures. Invariant: a number is
told over the problems where it is defined, and their count stands with it; what did not run has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from orchestration.analysis.collect import Array, Collected, Flags, Measured, Named
from orchestration.analysis.estimates import Estimates, Vote
from orchestration.analysis.pairs import LIKELIHOOD, MAJORITY, PASS, baseline, ladder
from orchestration.analysis.statistics import (
    Estimate,
    mean_interval,
    paired_difference,
    problem_means,
    seed_means,
)

BASELINES = {
    MAJORITY: Vote("majority"),
    LIKELIHOOD: Vote("weighted", "likelihood"),
    PASS: Vote("pass"),
}
"""What else the samples could give at no cost: votes, votes by likelihood, any right one."""


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy at one budget `n`. Costs are means over its problems, as if it had run alone (attributed).

    It has a number on `problems` of the `asked` ones, and of `due` outcomes, one a problem and run seed, `outcomes` are
    there; `if_wrong` is what its accuracy would be if the others counted as wrong
    (NaN where there are none). `samples` is the size of the set that its accuracy was estimated from (0: it is what the
    strategy answered). Where this n was not `ran`, tokens and FLOPs are what its series' largest n tells; NaN: not known.
    `wasted` is the share of tokens drawn that stand in no kept candidate, `truncated` the share of its candidates
    that the token limit cut off, dropped ones too, `unreadable` the share in which no answer was read (NaN: an earlier
    version did not count them). `correct` has a value for each of its problems and run seeds (P, S); `by_seed` is the
    accuracy of each seed that was asked all of the row's problems and has any answer, over those on which all of these seeds
    have one.
    """

    strategy: str
    family: str
    series: str
    n: int
    problems: int
    asked: int
    seeds: int
    outcomes: int
    due: int
    accuracy: Estimate
    if_wrong: float
    by_seed: Array
    samples: int
    ran: bool
    tokens: float
    flops: float
    flops_exact: float
    wasted: float
    truncated: float
    unreadable: float
    seconds: float
    correct: Array = field(repr=False)

    @property
    def seed_range(self) -> tuple[float, float]:
        """Smallest and largest accuracy of a run seed; NaN with fewer than two."""
        return (self.by_seed.min(), self.by_seed.max()) if len(self.by_seed) > 1 else (np.nan, np.nan)

    @property
    def seed_deviation(self) -> float:
        """Standard deviation of accuracy over run seeds, told from them as a sample; NaN with fewer than two."""
        return float(self.by_seed.std(ddof=1)) if len(self.by_seed) > 1 else float("nan")


@dataclass(frozen=True, slots=True)
class Intervals:
    """How intervals are made."""

    level: float = 0.95

    def mean(self, values: Array) -> Estimate:
        return mean_interval(values, level=self.level)

    def difference(self, a: Array, b: Array) -> Estimate:
        return paired_difference(a, b, level=self.level)


def vote_of(name: Named) -> Vote:
    """How a strategy chooses among independent samples."""
    choice = name.choice
    assert choice is not None
    return Vote(choice.rule, choice.aggregation if choice.scored else "nothing")


def estimable(run: Collected, source: Measured) -> dict[str, dict[int, Measured]]:
    """The strategies whose answers are a function of subsets of the samples of `source`, by series and N."""
    choice = source.name.choice
    assert choice is not None
    found: dict[str, dict[int, Measured]] = {}
    for one in run.strategies:
        mine = one.name.choice
        if (
            mine is not None
            and mine.sampling == choice.sampling
            and one.name.n <= source.name.n
            and (choice.scored or not mine.scored)
            and one.ran.any()
        ):
            found.setdefault(one.name.series, {})[one.name.n] = one
    return found


def questions(
    series: Mapping[str, Mapping[int, Measured]], size: int
) -> tuple[dict[Vote, list[int]], dict[Vote, list[int]]]:
    """The votes that rows and baselines need, each with its N, from all of `size` samples, and from half of them."""
    votes: dict[Vote, set[int]] = {vote: set(ladder(size)) for vote in BASELINES.values()}
    halves: dict[Vote, list[int]] = {}
    for members in series.values():
        ns = ladder(max(members), list(members))
        vote = vote_of(next(iter(members.values())).name)
        votes.setdefault(vote, set()).update(ns)
        if size > 1:
            halves[vote] = sorted({*halves.get(vote, ()), max(n for n in ns if n <= size // 2)})
    return {vote: sorted(ns) for vote, ns in votes.items()}, halves


def answered_row(run: Collected, one: Measured, intervals: Intervals) -> Row:
    """A strategy by what it answered."""
    return _row(run, one.name, one.correct, one.asked, one, intervals)


def estimated_rows(
    run: Collected,
    told: Estimates,
    series: Mapping[str, Mapping[int, Measured]],
    intervals: Intervals,
    token_price: float,
) -> list[Row]:
    """Rows of every series that chooses among the independent samples, at each N up to its largest.

    Where a set is not whole, a strategy counts as it answered: that is the same accuracy, told with more noise.
    """
    rows = []
    asked = {one.name.text for one in run.strategies}
    for members in series.values():
        largest = members[max(members)]
        chooser = largest.name.chooser
        assert chooser is not None
        tables = told.tables[vote_of(largest.name)]
        for n in ladder(largest.name.n, list(members)):
            name = Named.of(chooser.at(n).text)
            own = members.get(n)
            if own is None and name.text in asked:
                continue  # It ran on nothing, and is told so.
            if own is not None:
                row = _row(run, name, _with_answers(tables[n], own), own.asked, own, intervals)
            else:
                row = _row(run, name, tables[n], largest.asked, None, intervals)
                row = _told_costs(row, largest, told, token_price)
            rows.append(replace(row, samples=told.size))
    return rows


def _with_answers(estimates: Array, own: Measured) -> Array:
    """Estimates, with what a strategy answered where there are none, and without what it failed on."""
    lacking = np.isnan(estimates) & ~np.isnan(own.correct)
    # A million numbers are copied where one of them changes, and not else.
    if not lacking.any() and not own.failed.any():
        return estimates
    return np.where(own.failed, np.nan, np.where(lacking, own.correct, estimates))


def baselines(run: Collected, told: Estimates, rows: Sequence[Row], intervals: Intervals) -> list[Row]:
    """What else the same samples could give at no cost."""
    choice = told.source.name.choice
    assert choice is not None
    shown = {row.strategy for row in rows}
    found = []
    for rule, vote in BASELINES.items():
        names = {n: baseline(rule, n, choice.sampling) for n in ladder(told.size)}
        if rule == MAJORITY and names[1].text in shown:
            continue
        for n, name in names.items():
            correct = told.tables[vote][n]
            if not np.isnan(correct).all():
                row = _row(run, name, correct, told.source.asked, None, intervals)
                found.append(replace(row, samples=told.size))
    return found


def _row(
    run: Collected, name: Named, correct: Array, asked: Flags, one: Measured | None, intervals: Intervals
) -> Row:
    """A row whose costs are those of `one`, NaN without it; `asked` says which outcomes it should have."""
    known = ~np.isnan(correct)
    # Where there is no label it is not for the strategy that no number can be told.
    has = known | (one.ran if one is not None else asked & ~run.labelled[:, None])
    lacking = asked & ~has & run.labelled[:, None]
    costs = one.costs if one is not None else {}
    drawn = costs.get("attributed_tokens", np.nan)
    # Of what was not run nothing is dropped; of what ran on nothing it is not known.
    wasted = truncated = 0.0 if one is None or one.ran.any() else float("nan")
    if drawn > 0:
        wasted = 1 - costs["kept_tokens"] / drawn
    if one is not None and one.generations:
        truncated = _cut_off(one)
    unreadable = float("nan") if one is None else _share(one.tally.unreadable, one)
    exact = costs.get("attributed_flops_exact", np.nan)
    if exact == 0 and drawn > 0:
        # Every token costs something: it was not known.
        exact = float("nan")
    if_wrong = float("nan")
    if lacking.any() and known.any():
        if_wrong = float(np.nanmean(problem_means(np.where(lacking, 0.0, correct))))
    return Row(
        strategy=name.text,
        family=name.family,
        series=name.series,
        n=name.n,
        problems=int(has.any(axis=1).sum()),
        asked=int((asked | has).any(axis=1).sum()),
        seeds=int(has.any(axis=0).sum()),
        outcomes=int(has.sum()),
        due=int((asked | has).sum()),
        accuracy=intervals.mean(correct),
        if_wrong=if_wrong,
        by_seed=_by_seed(correct, (asked | known) & run.labelled[:, None]),
        samples=0,
        ran=one is not None,
        tokens=drawn,
        flops=costs.get("attributed_flops", np.nan),
        flops_exact=exact,
        wasted=wasted,
        truncated=truncated,
        unreadable=unreadable,
        seconds=costs.get("wall_seconds", np.nan),
        correct=correct,
    )


def _by_seed(correct: Array, asked: Flags) -> Array:
    """The accuracy of each seed, of those that were asked all problems of the row: means over other problems would differ by
    these too. So it is over the problems where all of these seeds have an answer. A seed that has none at all would leave
    none of them."""
    full = asked[asked.any(axis=1)].all(axis=0) & ~np.isnan(correct).all(axis=0)
    values = correct[:, full]
    return seed_means(values[~np.isnan(values).any(axis=1)])


def _told_costs(row: Row, largest: Measured, told: Estimates, token_price: float) -> Row:
    """A row of an N that was not run, with what its series' largest N tells of its costs.

    Samples are exchangeable, so tokens go with N; a verifier reads what is distinct among them, which grows
    slower. How much of the exact FLOPs is the prompt's cannot be told.
    """
    share = row.n / largest.name.n
    tokens, flops = largest.costs["attributed_tokens"], largest.costs["attributed_flops"]
    choice = largest.name.choice
    assert choice is not None
    if choice.scored:
        drawn = tokens * token_price
        # Where no sample has a step, nothing is read.
        whole = told.distinct[largest.name.n]
        read = told.distinct[row.n] / whole if whole else share
        flops = drawn * share + (flops - drawn) * read
    else:
        flops *= share
    return replace(
        row,
        tokens=tokens * share,
        flops=flops,
        truncated=_cut_off(largest),
        unreadable=_share(largest.tally.unreadable, largest),
    )


def _cut_off(one: Measured) -> float:
    # Of none it is known whoever counted the others.
    return _share(one.tally.truncated, one) if one.tally.truncated else 0.0


def _share(part: int, of: Measured) -> float:
    """The share of a strategy's candidates; NaN where they were not counted."""
    return part / of.tally.ended if of.tally.ended else float("nan")
