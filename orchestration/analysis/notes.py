"""What a reader has to know of a report's numbers, in sentences: what they are estimates of, and what they lack.

It knows rows and estimates, nothing of how they are shown. Invariant: whatever is left out of a number is counted in one of
these notes, or stands beside the number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from orchestration.analysis.collect import Collected, Measured
from orchestration.analysis.doubts import doubts
from orchestration.analysis.estimates import Estimates
from orchestration.analysis.pairs import LIKELIHOOD, read_pair
from orchestration.analysis.rows import Row

_STATES = {"unaffordable": "not paid for", "quarantined": "quarantined"}


def notes_of(
    run: Collected,
    told: Estimates | None,
    series: Mapping[str, Mapping[int, Measured]],
    rows: Sequence[Row],
    untold: Sequence[str],
) -> list[str]:
    """All of them but those on difficulty; `untold` are pairs that cannot be compared."""
    labelled, problems = int(run.labelled.sum()), len(run.labelled)
    notes = [] if labelled else ["The problems have no answers: no accuracy can be told."]
    if 0 < labelled < problems:
        have = "has" if problems - labelled == 1 else "have"
        which = f"{problems - labelled:,} of {problems:,} problems {have} no reference answer"
        notes.append(f"{which}: accuracies are over the other {labelled:,}.")
    if told is not None:
        notes += _of_estimates(run, told, series)
    elif run.labelled.any() and (alone := [one for one in run.strategies if one.name.choice]):
        most = max(one.name.n for one in alone)
        notes.append(
            f"Every row is what its strategy answered: estimates over subsets need all samples of a problem, up to {most}, "
            "and no problem has them."
        )
    notes += doubts({one.name.text: one.tally for one in run.strategies}).values()
    notes += _lacking(run, rows)
    notes += _unfinished_seeds(run)
    return notes + [f"{pair}: cannot be told without {_needs(pair, told)}." for pair in untold]


def _of_estimates(run: Collected, told: Estimates, series: Mapping[str, Mapping[int, Measured]]) -> list[str]:
    notes = []
    each = " with each seed" if len(run.seeds) > 1 else ""
    if series:
        sets = told.samples // told.size
        due = int((told.source.asked & run.labelled[:, None]).sum())
        whole = (
            ""
            if sets == due
            else f" ({sets:,} of {due:,} sets are whole; elsewhere each strategy counts as it answered)"
        )
        notes.append(
            f"Accuracies of {_listed(series)} are unbiased estimates over subsets of the {told.size} samples that "
            f"{told.source.name.text} drew of each problem{each}{whole}. "
            "~ marks an N that was not run: its costs are told from the largest."
        )
    members = {one.name.text for each_n in series.values() for one in each_n.values()}
    own = [one.name for one in run.strategies if one.name.choice and one.ran.any()]
    others = [name.text for name in own if name.text not in members]
    if others:
        notes.append(
            f"Not so {_listed(others)}: sampled otherwise, or scored, or with more samples than these, each shows what it "
            "answered."
        )
    if told.bare:
        notes.append(
            f"{told.bare:,} of {told.samples:,} samples were drawn without likelihoods (policy.likelihoods=false): no vote "
            "of their problems is weighed by them."
        )
    return notes


def _lacking(run: Collected, rows: Sequence[Row]) -> list[str]:
    """How much of which strategy did not run, and what the accuracy is if that counts as wrong."""
    by_text = {row.strategy: row for row in rows}
    parts = []
    for one in run.strategies:
        missing = int(one.failed.sum())
        if not missing:
            continue
        why = " and ".join(f"{count:,} {_STATES[state]}" for state, count in one.ended.items())
        text = f"{one.name.text} on {missing:,} of {int(one.asked.sum()):,} ({why}"
        row = by_text.get(one.name.text)
        if row is not None and row.accuracy.problems and row.if_wrong == row.if_wrong:
            text += f"; {100 * row.if_wrong:.1f}% if they count as wrong"
        parts.append(f"{text})")
    if not parts:
        return []
    what = "problems" if len(run.seeds) == 1 else "outcomes"
    return [f"Some {what} have no answer, and count in no number of a strategy's: {'; '.join(parts)}."]


def _unfinished_seeds(run: Collected) -> list[str]:
    """Which run seeds lack problems that another one has."""
    if len(run.seeds) == 1:
        return []
    problems = len(run.places)
    parts = []
    for column, seed in enumerate(run.seeds):
        counts = [int(one.asked[:, column].sum()) for one in run.strategies]
        least, most = min(counts), max(counts)
        if least < problems:
            each = f"{most:,}" if least == most else f"{least:,} to {most:,}"
            parts.append(
                f"seed {seed} is done on {each} of {problems:,}{'' if least == most else ', by strategy'}"
            )
    if not parts:
        return []
    return [
        f"Not every problem has every seed ({'; '.join(parts)}): accuracies are means over the seeds that a problem has, "
        "and a range over seeds takes those alone that have all problems of their row."
    ]


def _needs(pair: str, told: Estimates | None) -> str:
    """What a comparison would need."""
    if told is not None and told.bare and any(one.startswith(f"{LIKELIHOOD}(") for one in read_pair(pair)):
        return "the samples' likelihoods"
    return "the estimates over subsets"


def _listed(names: Iterable[str]) -> str:
    *first, last = dict.fromkeys(names)
    return f"{', '.join(first)} and {last}" if first else last
