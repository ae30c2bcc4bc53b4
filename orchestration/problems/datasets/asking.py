"""What a row of a table asks beyond its question: choices, and tests for a program, as the question's text and as its
reference.

It knows nothing of files. Invariant: no choice and no test is made up: a row that lacks what its columns name is no problem.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from actors.errors import UserError
from orchestration.problems.datasets.columns import Columns
from orchestration.problems.datasets.files import Why, kind_of
from orchestration.problems.datasets.places import value_at

QUESTION, CHOICES, TESTS = "{question}", "{choices}", "{tests}"
"""What a template holds for each of them."""


@dataclass(frozen=True, slots=True)
class Choices:
    """A question's choices: their letters, or whatever they are called by, and what they say."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]

    @property
    def shown(self) -> str:
        """A line each."""
        return "\n".join(f"{label}. {text}" for label, text in zip(self.labels, self.texts, strict=True))


def choices_in(row: Mapping[str, Any], place: str) -> Choices | Why:
    """A row's choices: `{"label": [...], "text": [...]}`, a list of such pairs, or a list of texts, which get letters."""
    value = value_at(row, place)
    labels, texts = (value_at({"it": value}, f"it.{name}") for name in ("label", "text"))
    if labels is None and texts is None and isinstance(value, list | tuple):
        labels, texts = ascii_uppercase[: len(value)], value
    if not isinstance(texts, list | tuple) or not texts:
        return "no choices", f"{place!r} is {kind_of(value)}"
    if not isinstance(labels, list | tuple | str) or len(labels) != len(texts):
        return "no choices", f"{place!r} has {len(texts)} choices, and not as many letters"
    if not all(isinstance(one, str) and one.strip() for one in (*labels, *texts)) or len(set(labels)) < len(
        labels
    ):
        return "no choices", f"the letters and choices in {place!r} must be texts, each letter once"
    return Choices(tuple(one.strip() for one in labels), tuple(one.strip() for one in texts))


def chosen(choices: Choices, answer: str) -> Why | None:
    """Why an answer is none of the choices."""
    if answer.casefold() in (label.casefold() for label in choices.labels):
        return None
    return "the answer is none of the choices", f"{answer!r}; they are {', '.join(choices.labels)}"


@dataclass(frozen=True, slots=True)
class Tests:
    """A program's tests, as texts in Python; `reference` is what a grader of programs reads."""

    texts: tuple[str, ...]
    reference: str

    @property
    def shown(self) -> str:
        return "\n".join(one.strip("\n") for one in self.texts)


def tests_in(row: Mapping[str, Any], columns: Columns, question: str) -> Tests | Why:
    """A row's tests: a text or a list of texts; `setup`, another, stands before them. With an `entry_point` they define
    `check(candidate)`, and the question is where the program begins. The names that `program`, one that passes, defines are
    those of any."""
    setup, entry_point, program = columns.setup, columns.entry_point, columns.program
    given_tests = None if columns.tests is None else value_at(row, columns.tests)
    texts = _texts(given_tests)
    if not texts or not any(one.strip() for one in texts):
        return "no tests", f"{columns.tests!r} is {kind_of(given_tests)}"
    before = [] if setup is None else _texts(value_at(row, setup)) or []
    given: dict[str, Any] = {"tests": texts}
    if any(before):
        given["setup"] = "\n".join(before)
    if entry_point is not None:
        name = value_at(row, entry_point)
        if not isinstance(name, str) or not name.strip().isidentifier():
            return "no entry point", f"{entry_point!r} is no name of a function"
        given |= {"entry_point": name.strip(), "prompt": question}
    if program is not None and (names := _defined(value_at(row, program))):
        given["names"] = names
    return Tests(tuple(texts), json.dumps(given))


def _texts(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return [value]
    found = value if isinstance(value, list | tuple) else None
    return list(found) if found is not None and all(isinstance(one, str) for one in found) else None


def _defined(program: Any) -> list[str]:
    """The names of a program's functions and classes; none where it is no program of today's Python."""
    try:
        tree = ast.parse(program if isinstance(program, str) else "")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [one.name for one in tree.body if isinstance(one, kinds)]


@dataclass(frozen=True, slots=True)
class Asked:
    """A row as it is asked, and what it is asked with."""

    text: str
    choices: Choices | None = None
    tests: Tests | None = None


def ask(row: Mapping[str, Any], columns: Columns, template: str) -> Asked | Why:
    """A row's question with its choices and tests, or why it has none."""
    question = value_at(row, columns.question)
    if question is None or (isinstance(question, str) and not question.strip()):
        state = "is missing" if question is None else "is empty"
        return "no question", f"{columns.question!r} {state}"
    if not isinstance(question, str):
        return "the question is not a text", f"{columns.question!r} is {kind_of(question)}"
    choices = None if columns.choices is None else choices_in(row, columns.choices)
    if isinstance(choices, tuple):
        return choices
    tests = None if columns.tests is None else tests_in(row, columns, question)
    if isinstance(tests, tuple):
        return tests
    return Asked(_put(template, question, choices, tests), choices, tests)


def check_template(template: str, columns: Columns) -> None:
    """Raise UserError for a template that leaves out the question or its choices, or holds what no column does."""
    for held, place, needed in (
        (QUESTION, columns.question, True),
        (CHOICES, columns.choices, columns.choices is not None),
        (TESTS, columns.tests, False),
    ):
        if needed and held not in template:
            raise UserError.of("dataset.template", template, f"it must hold {held}")
        if place is None and held in template:
            name = held[1:-1]
            mend = f"no column holds the {name}: name it, as in dataset.columns.{name}={name}"
            raise UserError.of("dataset.template", template, mend)


def _put(template: str, question: str, choices: Choices | None, tests: Tests | None) -> str:
    """The template with what it holds in its places, in one pass: a question may hold such a word itself."""
    parts = {
        QUESTION: question,
        CHOICES: choices.shown if choices else "",
        TESTS: tests.shown if tests else "",
    }
    return re.sub("|".join(map(re.escape, parts)), lambda found: parts[found[0]], template)
