"""A comparison of allocators as tables: fixed strategies, all allocators at all budgets, one budget closely, what is saved.

It knows a verdict, nothing of how it was reached. Invariant: the files for other programs hold the numbers that are shown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestration.planning.comparison import AtBudget
from orchestration.planning.line_up import BEST_OF_N, FREE, ORACLE, PREDICTED, PRICE, SINGLE
from orchestration.planning.savings import Figure
from orchestration.planning.verdict import MEASURED, Verdict
from orchestration.report.tables import Cells, between, interval, percent, points, scientific

if TYPE_CHECKING:
    import pyarrow as pa

FIXED = ("strategy", "N", "accuracy", "interval", "FLOPs a problem")

CLOSE = (
    "allocator",
    "accuracy",
    "interval",
    "difficulty free",
    "samples",
    "spent",
    "nothing",
    "less best-of-N's",
    "interval of it",
    "less the price's",
    "interval of that",
    "",
)

_NOT_PAID = (FREE, ORACLE)
"""Those whose difficulty nobody pays."""


def fixed_cells(found: Verdict) -> Cells:
    return [
        [
            one.name,
            "-" if one.n is None else str(one.n),
            percent(one.accuracy.mean),
            interval(one.accuracy),
            scientific(float(one.flops.mean())),
        ]
        for one in found.fixed
    ]


def all_cells(found: Verdict) -> tuple[list[str], Cells]:
    """Accuracy with its interval, a row an allocator and a column a budget; the oracles below."""
    names = list(dict.fromkeys(name for at in found.budgets for name in at.rows))
    cells = []
    for name in names:
        rows = [at.rows.get(name) for at in found.budgets]
        cells.append(
            [
                name,
                *("-" if row is None else _share(row.accuracy.mean, interval(row.accuracy)) for row in rows),
            ]
        )
    budgets = found.budgets
    cells.append(["~ O1, static", *(between(at.static.low, at.static.high) for at in budgets)])
    cells.append(["~ O2, stops at success", *(percent(at.at_success) for at in budgets)])
    cells.append(["~ O3, clairvoyant", *(percent(at.clairvoyant) for at in budgets)])
    return ["allocator", *found.labels], cells


def _share(mean: float, told: str) -> str:
    return f"{percent(mean)} ({told})"


def close_cells(at: AtBudget) -> Cells:
    """One budget: a row an allocator, its differences paired over problems."""
    return [_close(at, name) for name in at.rows]


def _close(at: AtBudget, name: str) -> list[str]:
    row = at.rows[name]
    base, price = row.better_than(at.rows[BEST_OF_N]), row.better_than(at.rows[PRICE])
    free = name in _NOT_PAID
    of_free = at.rows[FREE] if name == PREDICTED else row if free else None
    itself = name == PRICE
    return [
        name,
        "-" if free else percent(row.accuracy.mean),
        "-" if free else interval(row.accuracy),
        "-" if of_free is None else _share(of_free.accuracy.mean, interval(of_free.accuracy)),
        f"{row.samples.mean():.1f}",
        percent(row.used),
        percent(row.unpaid),
        "-" if name == BEST_OF_N else points(base.mean),
        "-" if name == BEST_OF_N else f"{points(base.low)} to {points(base.high)}",
        "-" if itself else points(price.mean),
        "-" if itself else f"{points(price.low)} to {points(price.high)}",
        "" if itself or not price.excludes_zero() else "better" if price.mean > 0 else "worse",
    ]


def saving_cells(found: Verdict) -> tuple[list[str], Cells]:
    """How many times the FLOPs the other takes to be as accurate, a row a budget; then the share of the gap closed."""
    head = ["FLOPs a problem", *(f"{_short(name)} against {_short(other)}" for name, other in MEASURED)]
    cells = []
    for label, at, gap in zip(found.labels, found.budgets, found.gaps, strict=True):
        factors = [one.factor for one in found.savings if one.each == at.each]
        cells.append([label, *map(factor_text, factors), gap_text(gap)])
    return [*head, "gap to O1 closed"], cells


def _short(name: str) -> str:
    return {
        PREDICTED: "predicted bins",
        FREE: "the same for free",
        ORACLE: "oracle bins",
        BEST_OF_N: "best-of-N",
    }.get(name, name)


def factor_text(one: Figure) -> str:
    """A factor with its interval; "more than" what the other's curve shows, where it does not get there."""
    if math.isinf(one.value):
        return f"more than {one.least:.2f} ({_factor(one.low)} up)"
    return f"{one.value:.2f} ({_factor(one.low)} to {'more' if math.isinf(one.high) else _factor(one.high)})"


def _factor(value: float) -> str:
    return "more" if math.isinf(value) else f"{value:.2f}"


def gap_text(one: Figure) -> str:
    """A share with its interval; where O1 is not above where the gap begins, none."""
    if math.isinf(one.value):
        return f"no gap ({one.low:.0%} up)" if math.isfinite(one.low) else "no gap"
    return f"{one.value:.0%} ({one.low:.0%} to {'more' if math.isinf(one.high) else f'{one.high:.0%}'})"


def lines(found: Verdict) -> list[str]:
    """What the tables say of the claims."""
    below = found.below_single()
    told = f"at {', '.join(below)}" if below else "at no budget"
    said = [f"Compute-optimal with predicted bins, charged, is below the {SINGLE} outside noise {told}."]
    best = max(
        (
            one
            for one in found.savings
            if (one.name, one.against) == (PRICE, BEST_OF_N) and math.isfinite(one.factor.value)
        ),
        key=lambda one: one.factor.low,
        default=None,
    )
    if best is not None:
        said.append(
            f"One price saves most against best-of-N at {scientific(best.each)} FLOPs a problem: "
            f"{factor_text(best.factor)} times."
        )
    return said


def allocators_table(found: Verdict) -> pa.Table:
    """Every accuracy as numbers, a row an allocator and budget; fixed strategies have none."""
    import pyarrow as pa

    rows: list[dict[str, Any]] = [
        {
            "kind": "fixed",
            "name": one.name,
            "n": one.n,
            "problems": one.accuracy.problems,
            "accuracy": one.accuracy.mean,
            "accuracy_low": one.accuracy.low,
            "accuracy_high": one.accuracy.high,
            "flops": float(one.flops.mean()),
        }
        for one in found.fixed
    ]
    for at in found.budgets:
        for name, row in at.rows.items():
            base, price = row.better_than(at.rows[BEST_OF_N]), row.better_than(at.rows[PRICE])
            rows.append(
                {
                    "kind": "allocator",
                    "name": name,
                    "budget": at.each,
                    "problems": row.accuracy.problems,
                    "accuracy": row.accuracy.mean,
                    "accuracy_low": row.accuracy.low,
                    "accuracy_high": row.accuracy.high,
                    "flops": float(row.flops.mean()),
                    "samples": float(row.samples.mean()),
                    "nothing": row.unpaid,
                    "less_best_of_n": base.mean,
                    "less_best_of_n_low": base.low,
                    "less_best_of_n_high": base.high,
                    "less_price": price.mean,
                    "less_price_low": price.low,
                    "less_price_high": price.high,
                }
            )
        bounds = {
            "O1 at least": at.static.low,
            "O1 at most": at.static.high,
            "O2": at.at_success,
            "O3": at.clairvoyant,
        }
        rows += [
            {"kind": "oracle", "name": name, "budget": at.each, "accuracy": one}
            for name, one in bounds.items()
        ]
    return _table(rows, {"kind": pa.string(), "name": pa.string(), "n": pa.int32(), "problems": pa.int64()})


def savings_table(found: Verdict) -> pa.Table:
    """The factors as numbers, and the share of the gap to O1 that the price closes (`against` is "O1")."""
    import pyarrow as pa

    rows: list[dict[str, Any]] = [
        {
            "name": one.name,
            "against": one.against,
            "budget": one.each,
            "value": one.factor.value,
            "low": one.factor.low,
            "high": one.factor.high,
            "least": one.factor.least,
        }
        for one in found.savings
    ]
    rows += [
        {
            "name": PRICE,
            "against": "O1",
            "budget": at.each,
            "value": gap.value,
            "low": gap.low,
            "high": gap.high,
        }
        for at, gap in zip(found.budgets, found.gaps, strict=True)
    ]
    return _table(rows, {"name": pa.string(), "against": pa.string()})


def _table(rows: list[dict[str, Any]], kinds: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    names = list(dict.fromkeys(name for row in rows for name in row))
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in names])
    return pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows], schema=schema)
