"""What a run says: accuracy and cost by strategy and budget, paired differences, the verifier's worth,
difficulty, groups of problems.

It knows nothing of tables, figures or files. Invariant: whatever is compared is compared on the same
problems, and the intervals are over problems, each with all its run seeds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestration.analysis.chains import Chains, chains_of
from orchestration.analysis.collect import Collected
from orchestration.analysis.difficulty import DifficultyPoint, by_difficulty
from orchestration.analysis.estimates import Estimates, VerifierQuality, estimate
from orchestration.analysis.groups import Group, by_columns
from orchestration.analysis.notes import notes_of
from orchestration.analysis.pairs import MAJORITY, baseline, check_pairs, read_pair
from orchestration.analysis.ratios import Ratios, ratios_of
from orchestration.analysis.rows import (
    Intervals,
    Row,
    answered_row,
    baselines,
    estimable,
    estimated_rows,
    questions,
)
from orchestration.analysis.samples import largest_set
from orchestration.analysis.spread import Spread, spread_of
from orchestration.analysis.statistics import Estimate
from orchestration.strategies.registry import STRATEGIES


@dataclass(frozen=True, slots=True)
class Difference:
    """Accuracy of `a` less that of `b`, over the problems that both answered."""

    a: str
    b: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Measures:
    """Everything that a report shows."""

    problems: int
    seeds: list[int]
    labelled: int
    rows: list[Row]
    baselines: list[Row]
    differences: list[Difference]
    verifier: VerifierQuality | None
    difficulty: list[DifficultyPoint]
    difficulty_axis: str
    spread: Spread | None
    groups: list[Group]
    chains: list[Chains]
    ratios: list[Ratios]
    notes: list[str]


def measure(
    run: Collected, intervals: Intervals, pairs: Sequence[str] = (), token_price: float = float("nan")
) -> Measures:
    """Measure a run. `pairs` are further comparisons, "A vs B" by strategies' texts; `token_price` is what
    the policy's tokens cost in FLOPs (paper accounting), NaN where that is not known.

    Raises UserError for a pair that is not written so, or names a strategy that the run does not have.
    """
    texts = [one.name.text for one in run.strategies]
    check_pairs(pairs, texts)
    asked = {pair: read_pair(pair, texts) for pair in pairs}
    labelled = bool(run.labelled.any())
    source = largest_set(run.strategies, run.labelled) if labelled else None
    series = estimable(run, source) if source is not None else {}
    told = estimate(run, source, *questions(series, source.name.n)) if source is not None else None
    if told is not None and not told.samples:
        told, series = None, {}
    members = {one.name.text for each in series.values() for one in each.values()}
    rows = [answered_row(run, one, intervals) for one in run.strategies if one.name.text not in members]
    rows += estimated_rows(run, told, series, intervals, token_price) if told is not None else []
    rows.sort(key=lambda row: (_rank(row.family), row.series, row.n))
    others = baselines(run, told, rows, intervals) if told is not None else []
    shown = {row.strategy for row in [*rows, *others]}
    untold = [pair for pair, names in asked.items() if labelled and not shown.issuperset(names)]
    difficulty = by_difficulty(run, told, rows, intervals) if labelled else None
    return Measures(
        problems=len(run.places),
        seeds=run.seeds,
        labelled=int(run.labelled.sum()),
        rows=rows,
        baselines=others,
        differences=_differences(rows, others, told, asked.values(), intervals) if labelled else [],
        verifier=told.verifier if told is not None else None,
        difficulty=difficulty.points if difficulty is not None else [],
        difficulty_axis=difficulty.axis if difficulty is not None else "",
        spread=spread_of(told),
        groups=by_columns(run, rows, intervals) if labelled else [],
        chains=chains_of(run, intervals.mean, difficulty.bins if difficulty is not None else ()),
        ratios=ratios_of(rows, difficulty, intervals),
        notes=notes_of(run, told, series, rows, untold)
        + (difficulty.notes if difficulty is not None else []),
    )


def _rank(family: str) -> int:
    """The order of strategies in every table and figure: the registry's, in which plain ones are first; then all others."""
    order = list(STRATEGIES)
    return order.index(family) if family in order else len(order)


def _differences(
    rows: list[Row],
    others: list[Row],
    told: Estimates | None,
    pairs: Iterable[tuple[str, str]],
    intervals: Intervals,
) -> list[Difference]:
    """Each strategy that ran less majority at its N, then less one sample, then the pairs asked for."""
    by_text = {row.strategy: row for row in [*others, *rows]}

    def vote(n: int) -> Row | None:
        """The plain vote over n samples: of the set that estimates are told from, or else at temperature 1."""
        choice = told.source.name.choice if told is not None else None
        mine = by_text.get(baseline(MAJORITY, n, choice.sampling).text) if choice is not None else None
        return mine or by_text.get(f"{MAJORITY}(n={n})")

    one = vote(1) or by_text.get("best_of_n(n=1)") or by_text.get("greedy")
    asked = []
    ran = [row for row in rows if row.ran and row.problems]
    for row in ran:
        if row.family != MAJORITY and (same := vote(row.n)):
            asked.append((row, same))
    asked += [(row, one) for row in ran if one and row.n > 1]
    for first, second in pairs:
        if first in by_text and second in by_text:
            asked.append((by_text[first], by_text[second]))
    return [Difference(a.strategy, b.strategy, intervals.difference(a.correct, b.correct)) for a, b in asked]
