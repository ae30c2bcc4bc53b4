"""A data set from plain values, as a config file holds them.

It knows the data sets and nothing of what is done with them. Invariant: a name, column or option that cannot be meant is
refused before a problem is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from actors.errors import UserError, nearest
from orchestration.problems.datasets.arithmetic import SHIPPED as ARITHMETIC
from orchestration.problems.datasets.asking import QUESTION
from orchestration.problems.datasets.columns import Columns
from orchestration.problems.datasets.countdown import CountdownSource
from orchestration.problems.datasets.generated import Generated, Source
from orchestration.problems.datasets.gym import GsmSymbolicSource, GymSource
from orchestration.problems.datasets.tables import Table
from orchestration.problems.problem import SPLITS, Dataset

WITH_SOLUTIONS = "countdown_chain, arithmetic and (without options) gsm_symbolic"
"""The names of generators whose problems have worked solutions, for messages."""


def load(
    name: str = "countdown_chain",
    *,
    path: str | Path | None = None,
    split: str = "test",
    count: int | None = None,
    seed: int = 0,
    columns: Mapping[str, str | None] | None = None,
    options: Mapping[str, Any] | None = None,
    unread: Callable[[str], str] | None = None,
    template: str = QUESTION,
) -> Dataset:
    """Return a dataset from plain values.

    With `path`: that table, with `columns` naming its `question`, `answer` and `id` columns (`Columns` has more) and
    `template` saying how a row is asked; `count` limits it, and `unread` says of a reference why it can be of no use.
    Without: `count` problems (500 by default) of `split`, generated from `seed`; `name` and `options` are those of
    `source_of`. Raises UserError for unknown names, columns and options.
    """
    if path is not None:
        return Table(Path(path), _columns(columns or {}), count, unread, template)
    if split not in SPLITS:
        raise UserError.of(
            "dataset.split", split, f"choose one of {', '.join(SPLITS)}{nearest(split, SPLITS)}"
        )
    if count is not None and count < 1:
        raise UserError.of("dataset.count", count, "it must be at least 1")
    return Generated(source_of(name, dict(options or {})), split, 500 if count is None else count, seed)


def source_of(name: str, options: dict[str, Any]) -> Source:
    """Return where problems of this name come from: "arithmetic" and "countdown_chain", which the bundled models were made
    for, with `options` replacing settings of theirs; "gsm_symbolic"; or any reasoning-gym data set with its own `options`,
    among them another "countdown". Raises UserError for unknown names and options."""
    if not all(isinstance(one, str) for one in options):
        raise UserError.of("dataset.options", options, "options have names, as in {name: value}")
    if name == "arithmetic":
        return ARITHMETIC.with_options(options)
    if name == "countdown_chain":
        return CountdownSource().with_options(options)
    if name == "gsm_symbolic" and not options:
        return GsmSymbolicSource()
    return GymSource(name, options)


def _columns(names: Mapping[str, str | None]) -> Columns:
    known = [one.name for one in fields(Columns)]
    for field in names:
        if field not in known:
            raise UserError.of(
                "dataset.columns", field, f"choose among {', '.join(known)}{nearest(field, known)}"
            )
    return Columns(**names)  # type: ignore[arg-type]
