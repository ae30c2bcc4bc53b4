"""What a case of bad input is, and the tables of docs/errors.md that every case stands in.

A case is a function whose docstring is the first cell of its row; called in an empty folder with models, it makes the mistake
and returns the words of the command that has to say so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tests.support.places import ROOT

DOCS = ROOT / "docs" / "errors.md"
Words = list[str]
Case = Callable[[], Words]
CASES: dict[str, Case] = {}
ROW_CASES: dict[str, Case] = {}

# Reasons that come with a model's answer, met in one run together.
REASONS = (
    "a prompt longer than the policy's context",
    "a prompt and solution longer than the verifier's context",
    "a prompt and attempts longer than the reviser's context",
)

# Numbers in these messages follow from model, prompts or machine.
NUMBERS = {
    *REASONS,
    "a budget below one generation",
    "prompts that all exceed the context",
    "solutions that exceed the context with every prompt",
    "examples that do not fit the context",
    "a context that holds no attempt besides prompt and answer",
    "a reviser whose context holds no attempt",
    "chains longer than the policy's context",
    "more replicas than cores",
    "a run of another version",
}

# The first cell names a state of the file system that the case cannot leave behind.
UNPRIVILEGED = {"a folder that may not be written", "a report of a folder that may not be written"}


def documented() -> dict[str, str]:
    """Message of every row of the tables, by its first cell."""
    lines = [line for line in DOCS.read_text().splitlines() if re.match(r"\| .* \| `.*` \| .* \|$", line)]
    cells = [re.fullmatch(r"\| (.*?) \| `(.*)` \| (.*) \|", line) for line in lines]
    rows = [(cell[1], cell[2]) for cell in cells if cell is not None]
    assert len(dict(rows)) == len(rows) == len(lines)
    return dict(rows)


def pattern(name: str) -> re.Pattern[str]:
    text = re.escape(documented()[name]).replace("…", ".+")
    return re.compile(re.sub(r"\d[\d,]*", r"[\\d,]+", text) if name in NUMBERS else text)


def case(test: Case) -> Case:
    CASES[str(test.__doc__)] = test
    return test


def row_case(test: Case) -> Case:
    ROW_CASES[str(test.__doc__)] = test
    return test


def evaluate(*more: str) -> Words:
    words = ["policy.path=policy", "verifier.path=prm", "policy.max_tokens=40", "policy.typical_tokens=30"]
    return ["evaluate", *words, *more]


def table(*rows: object, name: str = "problems.jsonl", more: Words | None = None) -> Words:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(text)
    words = ["dataset=table", f"dataset.path={name}", "dataset.grader=number", *(more or [])]
    return evaluate("strategies=[greedy]", *words)


def edit(name: str, **changes: object) -> None:
    Path(name).write_text(json.dumps(json.loads(Path(name).read_text()) | changes))


class Held(Protocol):
    def release(self) -> None: ...


# Locks that a case holds until it is over.
HELD: list[Held] = []
GOOD = {"question": "1 + 2 = ?", "answer": "3"}
OTHER = {"question": "3 + 4 = ?", "answer": "7"}
LONG = {"question": "1 + " * 400 + "1 = ?", "answer": "401"}
