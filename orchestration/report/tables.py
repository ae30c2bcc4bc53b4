"""Measures as tables: for the terminal (rich), for reading (Markdown), for other programs (CSV, Parquet).

It knows nothing of how a number came about. Invariant: every form shows the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.errors import counted
from orchestration.analysis.measure import Measures
from orchestration.analysis.pairs import LIKELIHOOD, MAJORITY, PASS
from orchestration.analysis.rows import Row
from orchestration.analysis.spread import HOPELESS, Spread
from orchestration.analysis.statistics import Estimate

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

    from orchestration.runs.quarantine import LeftOut

Cells = list[list[str]]

MAIN = (
    "strategy",
    "N",
    "accuracy",
    "interval",
    "tokens",
    "FLOPs",
    "FLOPs exact",
    "dropped",
    "cut off",
    "no answer",
    "seconds",
)


def main_cells(measures: Measures) -> tuple[list[str], Cells]:
    """The main table's head and cells, costs per problem; where rows cover different problems, or not all that they were
    asked, their number too; where there are several run seeds, the smallest and largest accuracy of one, and the number of
    outcomes where some are missing.
    """
    uneven = any(row.problems != measures.problems or lacks(row) for row in measures.rows)
    missing = _misses_outcomes(measures, measures.rows)
    several = len(measures.seeds) > 1
    head = [MAIN[0], *(["problems"] if uneven else []), *(["outcomes"] if missing else []), *MAIN[1:]]
    if several:
        head.insert(head.index("interval") + 1, BY_SEED)
    return head, [
        [
            row.strategy if row.ran else f"~ {row.strategy}",
            *([problems_of(row)] if uneven else []),
            *([outcomes_of(row, measures)] if missing else []),
            str(row.n),
            percent(row.accuracy.mean),
            interval(row.accuracy),
            *([between(*row.seed_range)] if several else []),
            amount(row.tokens, 0),
            scientific(row.flops),
            scientific(row.flops_exact),
            percent(row.wasted),
            percent(row.truncated),
            percent(row.unreadable),
            amount(row.seconds, 2),
        ]
        for row in measures.rows
    ]


BY_SEED = "by seed"


def lacks(row: Row) -> bool:
    """Whether a row has no number on some of the problems that its strategy was asked."""
    return row.problems < row.asked


def _misses_outcomes(measures: Measures, rows: Sequence[Row]) -> bool:
    """Whether a row has a number on a problem with some of the run's seeds alone: the count of problems hides that."""
    return len(measures.seeds) > 1 and any(row.outcomes < row.due for row in rows)


def outcomes_of(row: Row, measures: Measures) -> str:
    """How many outcomes a row is told from, and of how many seeds where it lacks some."""
    seeds = f" ({row.seeds} of {len(measures.seeds)} seeds)" if row.seeds < len(measures.seeds) else ""
    return count_of(row.outcomes, row.due) + seeds


def problems_of(row: Row) -> str:
    """On how many problems a row has a number, and of how many where it lacks some."""
    return count_of(row.problems, row.asked)


def count_of(problems: int, asked: int) -> str:
    """A count, and of how many where it lacks some."""
    return f"{problems:,} of {asked:,}" if problems < asked else f"{problems:,}"


def baseline_title(row: Row) -> str:
    """What a baseline is, in words, with the sampling of its samples where that is not the plain one."""
    titles = {
        MAJORITY: "majority (plain vote)",
        LIKELIHOOD: "vote weighed by likelihood",
        PASS: "pass@N (a perfect choice)",
    }
    sampling = row.series.removeprefix(row.family).strip("()")
    return titles[row.family] + (f", {sampling.replace(',', ', ')}" if sampling else "")


def baseline_cells(measures: Measures) -> tuple[list[str], Cells]:
    """Head and cells of the baselines: a row a rule, a column an N; where they lack problems, their number too."""
    ns = sorted({row.n for row in measures.baselines})
    uneven = any(map(lacks, measures.baselines))
    missing = _misses_outcomes(measures, measures.baselines)
    lines: dict[str, list[Row]] = {}
    for row in measures.baselines:
        lines.setdefault(row.series, []).append(row)
    cells = []
    for line in lines.values():
        by = {row.n: percent(row.accuracy.mean) for row in line}
        count = [problems_of(line[0])] if uneven else []
        count += [outcomes_of(line[0], measures)] if missing else []
        cells.append([baseline_title(line[0]), *count, *(by.get(n, "-") for n in ns)])
    counts = [*(["problems"] if uneven else []), *(["outcomes"] if missing else [])]
    return ["baseline", *counts, *(f"N = {n}" for n in ns)], cells


def difference_cells(measures: Measures) -> tuple[list[str], Cells]:
    """Head and cells of the differences: strategy, what it is compared with, the difference in points, its interval, and a
    mark where that excludes 0; where not all are over all problems with an answer, on how many both have a number.
    """
    uneven = any(one.estimate.problems != measures.labelled for one in measures.differences)
    head = ["strategy", "less", *(["problems"] if uneven else []), "points", "interval", ""]
    return head, [
        [
            one.a,
            one.b,
            *([f"{one.estimate.problems:,}"] if uneven else []),
            points(one.estimate.mean),
            "-"
            if math.isnan(one.estimate.low)
            else f"{points(one.estimate.low)} to {points(one.estimate.high)}",
            ("better" if one.estimate.mean > 0 else "worse") if one.estimate.excludes_zero() else "",
        ]
        for one in measures.differences
    ]


GROUPS_SHOWN = 40
"""Values of a column that tables for people have; files have all."""


def group_cells(measures: Measures, column: str) -> tuple[list[str], Cells]:
    """Head and cells of the groups of a column: a row a value and strategy, with the number of problems."""
    groups = [one for one in measures.groups if one.column == column]
    values = list(dict.fromkeys(one.value for one in groups))
    shown, more = values[:GROUPS_SHOWN], len(values[GROUPS_SHOWN:])
    head = [column, "strategy", "problems", "accuracy", "interval"]
    cells = [
        [
            one.value,
            one.strategy,
            count_of(one.accuracy.problems, one.asked),
            percent(one.accuracy.mean),
            interval(one.accuracy),
        ]
        for one in groups
        if one.value in shown
    ]
    return head, cells + [[f"{more:,} more in groups.csv", "", "", "", ""]] * bool(more)


def group_columns(measures: Measures) -> list[str]:
    """The columns that the report groups by."""
    return list(dict.fromkeys(one.column for one in measures.groups))


# What the main table does without on a narrow terminal, in this order.
EXPENDABLE = ("seconds", "FLOPs exact", "N", "no answer", "cut off", "dropped")


def expendable(measures: Measures) -> list[str]:
    """The same, with those last that say of some candidates that they count for little."""
    telling = {
        "no answer": any(row.unreadable > 0 for row in measures.rows),
        "cut off": any(row.truncated > 0 for row in measures.rows),
    }
    return sorted(EXPENDABLE, key=lambda name: telling.get(name, False))


LEFT_OUT = ("left out", "reason", "first", "count")


def left_out_cells(left_out: Sequence[LeftOut]) -> Cells:
    """Rows of the data and outcomes that were left out, by reason, with the row or the problem of the first."""
    cells = []
    for one in left_out:
        first = f"row {one.place}" if one.what == "row" else one.place
        particular = f": {one.example}" if one.example != one.reason else ""
        cells.append([f"{one.what}s", one.reason, f"{first}{particular}", f"{one.count:,}"])
    return cells


def verifier_lines(measures: Measures) -> list[str]:
    """How well the verifier tells right from wrong, in sentences."""
    quality = measures.verifier
    if quality is None:
        return []
    if quality.questions == 0:
        return ["No question has both right and wrong samples: the verifier's AUROC cannot be told."]
    within, overall = "", ""
    if quality.likelihood_within is not None:
        within = f" (policy's own likelihood: {quality.likelihood_within:.3f})"
        overall = f" (likelihood: {quality.likelihood_overall:.3f})"
    whole = quality.samples == quality.drawn
    about = counted(quality.samples, "sample") + ("" if whole else f" of {quality.drawn:,}")
    return [
        f"AUROC within a question: {quality.within:.3f}{within}, "
        f"mean over {counted(quality.questions, 'question')} with right and wrong samples.",
        f"AUROC over {'all ' if whole else ''}{about}: {quality.overall:.3f}{overall}; "
        "it also rewards knowing which questions are hard.",
    ]


def spread_line(spread: Spread) -> str:
    """How difficult the problems are for the policy, in a sentence."""
    never = percent(spread.never)
    tail = f"Without a right sample are {never} of the problems."
    if spread.hopeless is not None:
        tail = f"Below {HOPELESS:.0%} are {percent(spread.hopeless)} of the problems, without a right sample {never}."
    return (
        f"pass@1 of a problem, from {spread.samples} samples of each ({spread.source}): {percent(spread.mean)} on average; "
        f"by fifths of the problems, easiest first, {', '.join(map(percent, spread.fifths))}, told apart by one half of the "
        f"samples and measured on the other. {tail}"
    )


def fitted(
    head: Sequence[str], cells: Cells, width: int, expendable: Sequence[str]
) -> tuple[list[str], Cells]:
    """Leave out columns, in the order of `expendable`, until the table fits into `width` characters."""
    names, rows = list(head), cells
    for gone in expendable:
        needed = sum(max(len(row[place]) for row in [names, *rows]) + 3 for place in range(len(names)))
        if needed <= width:
            break
        place = names.index(gone)
        names = names[:place] + names[place + 1 :]
        rows = [row[:place] + row[place + 1 :] for row in rows]
    return names, rows


def no_room(whole: Sequence[str], shown: Sequence[str], width: int) -> str:
    """What a table was shown without, for people; empty where all of it was shown."""
    gone = [name for name in whole if name not in shown]
    return (
        f"Not shown in {width} columns of text: {', '.join(gone)}; a wider terminal shows all."
        if gone
        else ""
    )


def rich_table(head: Sequence[str], cells: Cells, title: str = "") -> Table:
    """The cells as a table for the terminal; the first column reads from the left, numbers from the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # As text: a column may be called as a user's table calls it, which is no markup.
    table = Table(
        title=Text(title, style="bold") if title else None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
    )
    for place, name in enumerate(head):
        left = place == 0 or name in ("less", "", "reason", "first", "strategy", "ids")
        table.add_column(
            Text(name), justify="left" if left else "right", no_wrap=place > 0 and name != "first"
        )
    for row in cells:
        # As text: a cell may hold what a user wrote, which is no markup.
        table.add_row(*map(Text, row), style="dim" if row[0].startswith("~") else None)
    return table


def markdown_table(head: Sequence[str], cells: Cells) -> str:
    """The cells as a Markdown table."""
    lines = [
        "| " + " | ".join(in_a_line(cell).replace("|", "\\|") for cell in row) + " |"
        for row in [head, *cells]
    ]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def in_a_line(text: str) -> str:
    return " ".join(text.split())


def arrow_table(measures: Measures) -> pa.Table:
    """Main table and baselines as numbers, a row a strategy and N, for CSV and Parquet."""
    import pyarrow as pa

    def record(row: Row, kind: str) -> dict[str, Any]:
        return {
            "kind": kind,
            "strategy": row.strategy,
            "series": row.series,
            "n": row.n,
            "ran": row.ran,
            "estimated_from": row.samples,
            "problems": row.problems,
            "accuracy": _known(row.accuracy.mean),
            "accuracy_low": _known(row.accuracy.low),
            "accuracy_high": _known(row.accuracy.high),
            "seeds": row.seeds,
            "seed_low": _known(row.seed_range[0]),
            "seed_high": _known(row.seed_range[1]),
            "seed_deviation": _known(row.seed_deviation),
            "tokens": _known(row.tokens),
            "flops": _known(row.flops),
            "flops_exact": _known(row.flops_exact),
            "wasted": _known(row.wasted),
            "truncated": _known(row.truncated),
            "seconds": _known(row.seconds),
            "asked": row.asked,
            "accuracy_missing_wrong": _known(row.if_wrong),
            "unreadable": _known(row.unreadable),
            "outcomes": row.outcomes,
            "outcomes_asked": row.due,
        }

    rows = [record(row, "strategy") for row in measures.rows]
    rows += [record(row, "baseline") for row in measures.baselines]
    floats = ("accuracy", "accuracy_low", "accuracy_high", "tokens", "flops", "flops_exact", "wasted")
    schema = pa.schema(
        [
            *((name, pa.string()) for name in ("kind", "strategy", "series")),
            ("n", pa.int32()),
            ("ran", pa.bool_()),
            ("estimated_from", pa.int32()),
            ("problems", pa.int64()),
            *((name, pa.float64()) for name in (*floats, "truncated", "seconds")),
            ("seeds", pa.int32()),
            *((name, pa.float64()) for name in ("seed_low", "seed_high", "seed_deviation")),
            ("asked", pa.int64()),
            ("accuracy_missing_wrong", pa.float64()),
            ("unreadable", pa.float64()),
            ("outcomes", pa.int64()),
            ("outcomes_asked", pa.int64()),
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def differences_table(measures: Measures) -> pa.Table:
    """The paired differences as numbers."""
    import pyarrow as pa

    names = ("strategy", "less", "problems", "difference", "low", "high")
    rows = [
        (
            one.a,
            one.b,
            one.estimate.problems,
            *map(_known, (one.estimate.mean, one.estimate.low, one.estimate.high)),
        )
        for one in measures.differences
    ]
    kinds = (pa.string(), pa.string(), pa.int64(), pa.float64(), pa.float64(), pa.float64())
    schema = pa.schema(list(zip(names, kinds, strict=True)))
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=schema)


def groups_table(measures: Measures) -> pa.Table:
    """The groups of all columns as numbers."""
    import pyarrow as pa

    names = ("column", "value", "strategy", "problems", "asked", "accuracy", "accuracy_low", "accuracy_high")
    rows = [
        (
            one.column,
            one.value,
            one.strategy,
            one.accuracy.problems,
            one.asked,
            *map(_known, (one.accuracy.mean, one.accuracy.low, one.accuracy.high)),
        )
        for one in measures.groups
    ]
    kinds = (*(pa.string(),) * 3, *(pa.int64(),) * 2, *(pa.float64(),) * 3)
    schema = pa.schema(list(zip(names, kinds, strict=True)))
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=schema)


def write_table(table: pa.Table, path: Path) -> list[Path]:
    """Write a table as `path`.csv and `path`.parquet; return both."""
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    csv, parquet = path.with_suffix(".csv"), path.with_suffix(".parquet")
    pc.write_csv(table, csv)
    pq.write_table(table, parquet)
    return [csv, parquet]


def percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}%"


def points(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:+.1f}"


def interval(estimate: Estimate) -> str:
    return between(estimate.low, estimate.high)


def between(low: float, high: float) -> str:
    """Two shares in per cent."""
    return "-" if math.isnan(low) else f"{100 * low:.1f} to {100 * high:.1f}"


def amount(value: float, decimals: int) -> str:
    return "-" if math.isnan(value) else f"{value:,.{decimals}f}"


def scientific(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2e}".replace("e+0", "e").replace("e+", "e")


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
