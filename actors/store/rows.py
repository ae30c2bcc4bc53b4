"""Outcomes and candidates as rows of the run's tables, and tables as rows. It knows the columns (`actors.store.schema`), and
makes the text."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from actors.strategy import ROLES, Answer, Decision, Solution
from actors.work import Outcome


def outcome_row(outcome: Outcome, correct: bool | None) -> dict[str, Any]:
    """One row of `outcomes`."""
    return {
        "key": outcome.key,
        "problem_id": outcome.problem_id,
        "strategy": outcome.strategy,
        "seed": outcome.seed,
        "state": outcome.state,
        "reason": outcome.reason,
        "answer": outcome.answer,
        "correct": correct,
        "generations": outcome.generations,
        "truncated": outcome.truncated,
        **{f"{role}_tokens": outcome.spent.of(role) for role in ROLES},
        "kept_tokens": outcome.kept_tokens,
        "attributed_tokens": outcome.attributed.drawn,
        "spent_flops": outcome.spent.paper,
        "attributed_flops": outcome.attributed.paper,
        "spent_flops_exact": outcome.spent.exact,
        "attributed_flops_exact": outcome.attributed.exact,
        "wall_seconds": outcome.wall_seconds,
        "difficulty": None,
        "bin": None,
        "ended": outcome.ended,
        "unreadable": outcome.unreadable,
        "single_step": outcome.single_step,
    }


def candidate_rows(
    outcome: Outcome, solution: Solution, text: Callable[[tuple[int, ...]], str]
) -> list[dict[str, Any]]:
    """The rows of `candidates` of one outcome; `correct` is the writer's to fill. `text` reads token ids."""
    rows = []
    # Branches of a tree share most of their steps.
    step_text = functools.cache(text)
    for candidate in solution.candidates:
        rows.append(
            {
                "key": outcome.key,
                "problem_id": outcome.problem_id,
                "strategy": outcome.strategy,
                "seed": outcome.seed,
                "index": candidate.index,
                "parent": candidate.parent,
                "depth": candidate.depth,
                "steps": [
                    step_text(candidate.token_ids[a:b])
                    for a, b in itertools.pairwise((0, *candidate.step_ends))
                ],
                "step_tokens": list(candidate.step_ends),
                "token_ids": list(candidate.token_ids),
                "logprobs": list(candidate.logprobs),
                "scores": list(candidate.scores),
                "finish_reason": candidate.finish,
                "answer": candidate.answer,
                "tokens": len(candidate.token_ids),
                "kept": candidate.kept,
                "ballot": candidate.answer.ballot if isinstance(candidate.answer, Answer) else None,
            }
        )
    return rows


def decision_rows(outcome: Outcome) -> list[dict[str, Any]]:
    """The rows of `decisions` of one outcome."""
    return [
        {
            "key": outcome.key,
            "problem_id": outcome.problem_id,
            "strategy": outcome.strategy,
            "seed": outcome.seed,
            "index": index,
            "stage": one.stage,
            "cell": one.cell,
            "chance": one.chance,
            "price": one.price,
            "option": one.option,
            "gain": one.gain,
            "flops": one.flops,
            "repeated": one.repeated,
        }
        for index, one in enumerate(outcome.decisions)
    ]


def decision_of(row: dict[str, Any]) -> Decision:
    """The decision of a row, as one that stands on record."""
    names = ("stage", "cell", "chance", "price", "option", "gain")
    return Decision(**{name: row[name] for name in names}, flops=int(row["flops"]), repeated=True)


def newest_decisions(rows: Iterable[dict[str, Any]]) -> dict[str, tuple[Decision, ...]]:
    """By outcome's key the decisions of rows that stand in the order in which they were written: those it came to last."""
    found: dict[str, list[Decision]] = {}
    for row in rows:
        if row["index"] == 0:
            found[row["key"]] = []
        found.setdefault(row["key"], []).append(decision_of(row))
    return {key: tuple(some) for key, some in found.items()}


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """A table's rows by column name, FLOPs as the whole numbers that they are."""
    rows: list[dict[str, Any]] = table.to_pylist()
    whole = [field.name for field in table.schema if pa.types.is_decimal(field.type)]
    for row in rows:
        row.update({name: None if row[name] is None else int(row[name]) for name in whole})
    return rows
