"""What a run says: accuracy and cost by strategy and budget, paired differences, the verifier's worth,
difficulty.

It knows nothing of tables, figures or files. Invariant: whatever is compared is compared on the same
problems, and the intervals are over problems, each with all its run seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from orchestration.analysis.collect import Array, Collected, Measured, Named, Samples
from orchestration.analysis.pairs import LIKELIHOOD, PASS, check_pairs, ladder, read_pair
from orchestration.analysis.statistics import (
    Estimate,
    auroc,
    auroc_within,
    mean_interval,
    paired_difference,
    problem_means,
    quintiles,
    seed_means,
)
from orchestration.analysis.subsets import Rule, accuracy_at
from orchestration.strategies.registry import STRATEGIES

_MOST_LENGTHS = 12
_LEAST_FOR_QUINTILES = 25


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy at one budget `n`. Costs are means over its problems, as if it had run alone (attributed).

    `samples` is the size of the set that its accuracy was estimated from (0: it is what the strategy
    answered). Where this n was not `ran`, tokens and FLOPs are what its series' largest n tells; NaN: not
    known. `wasted` is the share of tokens drawn that stand in no kept candidate, `truncated` the candidates cut off by the
    token limit for each generation. `correct` has a value for each of its problems and run seeds (P, S); `by_seed` is the
    accuracy of each seed, of those that have all of the row's problems.
    """

    strategy: str
    family: str
    series: str
    n: int
    problems: int
    seeds: int
    accuracy: Estimate
    by_seed: Array
    samples: int
    ran: bool
    tokens: float
    flops: float
    flops_exact: float
    wasted: float
    truncated: float
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
class Difference:
    """Accuracy of `a` less that of `b`, over the problems that both answered."""

    a: str
    b: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class VerifierQuality:
    """How well final step scores, and the policy's own likelihood, tell right samples from wrong ones."""

    samples: int
    questions: int
    within: float
    overall: float
    likelihood_within: float | None
    likelihood_overall: float | None


@dataclass(frozen=True, slots=True)
class DifficultyPoint:
    """Accuracy of a row on problems of one difficulty `x` within a `panel`."""

    panel: str
    x: int
    strategy: str
    accuracy: Estimate


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
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Intervals:
    """How intervals are made."""

    level: float = 0.95
    resamples: int = 2000
    seed: int = 0

    def mean(self, values: Array) -> Estimate:
        return mean_interval(values, resamples=self.resamples, level=self.level, seed=self.seed)

    def difference(self, a: Array, b: Array) -> Estimate:
        return paired_difference(a, b, resamples=self.resamples, level=self.level, seed=self.seed)


def measure(
    run: Collected, intervals: Intervals, pairs: Sequence[str] = (), token_price: float = float("nan")
) -> Measures:
    """Measure a run. `pairs` are further comparisons, "A vs B" by strategies' texts; `token_price` is what
    the policy's tokens cost in FLOPs (paper accounting), NaN where that is not known.

    Raises UserError for a pair that is not written so, or names a strategy that the run does not have.
    """
    check_pairs(pairs, [one.name.text for one in run.strategies])
    labelled = bool(run.labelled.any())
    samples = run.samples if labelled else None
    chosen = [one for one in run.strategies if not (samples and _estimable(run, one, samples))]
    rows = [_row(one.name, one.correct, 0, one, intervals) for one in chosen]
    rows += _estimated(run, samples, intervals, token_price) if samples else []
    rows.sort(key=lambda row: (_rank(row.family), row.series, row.n))
    baselines = _baselines(run, samples, rows, intervals) if samples else []
    shown = {row.strategy for row in [*rows, *baselines]}
    untold = [pair for pair in pairs if labelled and not shown.issuperset(read_pair(pair))]
    points, axis = _difficulty(run, samples, rows, intervals) if labelled else ([], "")
    return Measures(
        problems=len(run.ids),
        seeds=run.seeds,
        labelled=int(run.labelled.sum()),
        rows=rows,
        baselines=baselines,
        differences=_differences(rows, baselines, pairs, intervals) if labelled else [],
        verifier=_verifier(samples) if samples else None,
        difficulty=points,
        difficulty_axis=axis,
        notes=_notes(run, samples, labelled)
        + _unfinished_seeds(run)
        + [f"{pair}: cannot be told without {_missing(pair, samples)}." for pair in untold],
    )


def _notes(run: Collected, samples: Samples | None, labelled: bool) -> list[str]:
    if not labelled:
        return ["The problems have no answers: no accuracy can be told."]
    independent = [one for one in run.strategies if one.name.choice]
    if samples:
        told = [one.name.series for one in independent if _estimable(run, one, samples)]
        notes = (
            []
            if not told
            else [
                f"Accuracies of {_listed(told)} are unbiased estimates over subsets of the "
                f"{samples.size} samples that {samples.strategy} drew of each problem"
                f"{' with each seed' if len(run.seeds) > 1 else ''}. "
                "~ marks an N that was not run: its costs are told from the largest."
            ]
        )
        others = [one.name.text for one in independent if not _estimable(run, one, samples)]
        if others:
            notes.append(
                f"Not so {_listed(others)}: sampled otherwise, or on problems that these samples do not cover, each "
                "shows what it answered."
            )
        if samples.bare:
            notes.append(
                f"{samples.bare:,} of {len(samples.ids) * samples.size:,} samples were drawn without likelihoods "
                "(policy.likelihoods=false): no vote is weighed by them."
            )
        return notes
    if independent:
        return [
            "Every row is what its strategy answered: estimates over subsets need all samples at temperature 1 of every "
            "problem, and some are missing."
        ]
    return []


def _missing(pair: str, samples: Samples | None) -> str:
    """What a comparison would need."""
    if samples and samples.bare and any(one.startswith(f"{LIKELIHOOD}(") for one in read_pair(pair)):
        return "the likelihoods of all samples"
    return "the estimates over subsets"


def _unfinished_seeds(run: Collected) -> list[str]:
    """Which run seeds lack problems that another one has."""
    parts = []
    for column, seed in enumerate(run.seeds):
        counts = [int(one.ran[:, column].sum()) for one in run.strategies]
        least, most = min(counts), max(counts)
        if least < len(run.ids):
            each = f"{most:,}" if least == most else f"{least:,} to {most:,}"
            parts.append(
                f"seed {seed} is done on {each} of {len(run.ids):,}{'' if least == most else ', by strategy'}"
            )
    if len(run.seeds) == 1 or not parts:
        return []
    return [
        f"Not every problem has every seed ({'; '.join(parts)}): accuracies are means over the seeds that a problem has, "
        "and a range over seeds takes those alone that have all problems of their row."
    ]


def _listed(names: Sequence[str]) -> str:
    *first, last = dict.fromkeys(names)
    return f"{', '.join(first)} and {last}" if first else last


def _rank(family: str) -> int:
    """The order of strategies in every table and figure: the registry's, in which plain ones are first; then all others."""
    order = list(STRATEGIES)
    return order.index(family) if family in order else len(order)


def _estimable(run: Collected, one: Measured, samples: Samples) -> bool:
    """Whether a strategy's answers are a function of subsets of these samples, on every problem and with every seed
    that it ran on.
    """
    choice = one.name.choice
    if choice is None or not one.name.plain or one.name.n > samples.size:
        return False
    covered = ~np.isnan(_aligned(run, samples, np.ones(len(samples.ids))))
    if np.any(one.ran & run.labelled[:, None] & ~covered):
        return False
    return samples.scored or not choice.scored


def _row(name: Named, correct: Array, samples: int, costs: Measured | None, intervals: Intervals) -> Row:
    """A row whose costs are those of `costs`, NaN without them."""
    mean = {key: float(np.nanmean(values)) for key, values in costs.costs.items()} if costs else {}
    drawn = mean.get("attributed_tokens", np.nan)
    known = ~np.isnan(correct)
    ran = costs.ran if costs else known
    return Row(
        strategy=name.text,
        family=name.family,
        series=name.series,
        n=name.n,
        problems=int(ran.any(axis=1).sum()),
        seeds=int((known if samples else ran).any(axis=0).sum()),
        accuracy=intervals.mean(correct),
        by_seed=seed_means(correct),
        samples=samples,
        ran=costs is not None,
        tokens=drawn,
        flops=mean.get("attributed_flops", np.nan),
        flops_exact=mean.get("attributed_flops_exact", np.nan),
        wasted=1 - mean["kept_tokens"] / drawn if drawn > 0 else 0.0,
        truncated=costs.truncated / costs.generations if costs and costs.generations else 0.0,
        seconds=mean.get("wall_seconds", np.nan),
        correct=correct,
    )


def _told(row: Row, largest: Row, samples: Samples, verifies: bool, token_price: float) -> Row:
    """A row of an N that was not run, with what its series' largest N tells of its costs.

    Samples are exchangeable, so tokens go with N; a verifier reads what is distinct among them, which grows
    slower. How much of the exact FLOPs is the prompt's cannot be told.
    """
    share = row.n / largest.n
    flops = largest.flops * share
    if verifies:
        drawn = largest.tokens * token_price
        read = samples.distinct_tokens(row.n) / samples.distinct_tokens(largest.n)
        flops = drawn * share + (largest.flops - drawn) * read
    return replace(
        row,
        problems=largest.problems,
        tokens=largest.tokens * share,
        flops=flops,
        truncated=largest.truncated,
    )


def _estimated(run: Collected, samples: Samples, intervals: Intervals, token_price: float) -> list[Row]:
    """Rows of every series that chooses among the independent samples, at each N up to its largest."""
    by_series: dict[str, list[Measured]] = {}
    for one in run.strategies:
        if _estimable(run, one, samples):
            by_series.setdefault(one.name.series, []).append(one)
    rows = []
    for members in by_series.values():
        known = {one.name.n: one for one in members}
        largest = known[max(known)]
        chooser = largest.name.chooser
        assert chooser is not None
        choice = chooser.choice
        values = samples.scores(choice.aggregation) if choice.scored else None
        ns = ladder(largest.name.n, list(known))
        table = accuracy_at(samples.sets(values), choice.rule, ns, seed=0)
        for column, n in enumerate(ns):
            name = Named.of(chooser.at(n).text)
            correct = _aligned(run, samples, table[:, column])
            row = _row(name, correct, samples.size, known.get(n), intervals)
            if n not in known:
                top = _row(largest.name, correct, samples.size, largest, intervals)
                row = _told(row, top, samples, choice.scored, token_price)
            rows.append(row)
    return rows


def _aligned(run: Collected, samples: Samples, values: Array) -> Array:
    """Values of the samples' problems and seeds (R,), put in the run's order: (P, S), NaN where there are none."""
    aligned = np.full((len(run.ids), len(run.seeds)), np.nan)
    aligned[samples.rows, samples.columns] = values
    return np.where(run.labelled[:, None], aligned, np.nan)


def _baselines(run: Collected, samples: Samples, rows: list[Row], intervals: Intervals) -> list[Row]:
    """What else the same samples could give at no cost: votes, votes by likelihood, any right one."""
    rules: list[tuple[str, Rule]] = [(PASS, "pass")]
    if samples.likelihoods is not None:
        rules.insert(0, (LIKELIHOOD, "weighted"))
    if not any(row.series == "majority" for row in rows):
        rules.insert(0, ("majority", "majority"))
    ns = ladder(samples.size)
    found = []
    for series, rule in rules:
        table = accuracy_at(samples.sets(samples.likelihoods), rule, ns, seed=0)
        for column, n in enumerate(ns):
            name = Named(f"{series}(n={n})", series, series, n)
            correct = _aligned(run, samples, table[:, column])
            found.append(_row(name, correct, samples.size, None, intervals))
    return found


def _differences(
    rows: list[Row], baselines: list[Row], pairs: Sequence[str], intervals: Intervals
) -> list[Difference]:
    """Each strategy that ran less majority at its N, then less one sample, then the pairs asked for."""
    by_text = {row.strategy: row for row in [*baselines, *rows]}
    one = by_text.get("majority(n=1)") or by_text.get("best_of_n(n=1)") or by_text.get("greedy")
    asked = []
    for row in rows:
        if row.ran and row.series != "majority" and (vote := by_text.get(f"majority(n={row.n})")):
            asked.append((row, vote))
    asked += [(row, one) for row in rows if one and row.ran and row.n > 1]
    for pair in pairs:
        first, second = read_pair(pair)
        if first in by_text and second in by_text:
            asked.append((by_text[first], by_text[second]))
    return [Difference(a.strategy, b.strategy, intervals.difference(a.correct, b.correct)) for a, b in asked]


def _verifier(samples: Samples) -> VerifierQuality | None:
    if not samples.scored:
        return None
    # Samples of one problem are draws of one distribution whatever their seed, so a question is a problem: it counts
    # once, and all pairs of its samples count.
    questions = np.repeat(samples.rows, samples.size)
    scores, right = samples.scores().ravel(), samples.correct.ravel()
    known = ~np.isnan(scores)
    scores, right, questions = scores[known], right[known], questions[known]
    within, count = auroc_within(scores, right, questions)
    likelihoods = None if samples.likelihoods is None else samples.likelihoods.ravel()[known]
    return VerifierQuality(
        samples=len(scores),
        questions=count,
        within=within,
        overall=auroc(scores, right),
        likelihood_within=None if likelihoods is None else auroc_within(likelihoods, right, questions)[0],
        likelihood_overall=None if likelihoods is None else auroc(likelihoods, right),
    )


def _difficulty(
    run: Collected, samples: Samples | None, rows: list[Row], intervals: Intervals
) -> tuple[list[DifficultyPoint], str]:
    """Accuracy of every series' largest budget by the problems' length, or else by quintiles of pass@1."""
    largest = {row.series: row for row in rows if row.ran}
    lengths = [one.get("length") for one in run.metadata]
    places: dict[tuple[str, int], list[int]] = {}
    if lengths and all(isinstance(length, int) for length in lengths) and len(set(lengths)) <= _MOST_LENGTHS:
        axis = "length of the problem"
        for place, meta in enumerate(run.metadata):
            places.setdefault((str(meta.get("family", "")), meta["length"]), []).append(place)
    elif samples and len(run.ids) >= _LEAST_FOR_QUINTILES:
        axis = "quintile of pass@1 (1: easiest), told from the same samples"
        rate = problem_means(_aligned(run, samples, samples.correct.mean(axis=1)))
        kept = np.flatnonzero(~np.isnan(rate))
        for place, fifth in zip(kept.tolist(), quintiles(rate[kept]).tolist(), strict=True):
            places.setdefault(("", fifth), []).append(place)
    else:
        return [], ""
    return [
        DifficultyPoint(panel, x, row.strategy, intervals.mean(row.correct[places[panel, x]]))
        for panel, x in sorted(places)
        for row in largest.values()
    ], axis
