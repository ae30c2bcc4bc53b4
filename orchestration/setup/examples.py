"""The worked examples of a run's prompts: rows of a file, or problems of the data set's train split.

It knows nothing of models and templates. Invariant: which they are, and their order, is decided by what they say and a seed,
never by the problems that are asked; each ends in an answer that the run's grader reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.errors import UserError, counted
from actors.seeds import derive
from orchestration.problems import Columns, Grader, Problem, Table, load
from orchestration.problems.datasets.places import value_at
from orchestration.setup.settings import EvaluateSettings

_SHOWN = 40


@dataclass(frozen=True, slots=True)
class _Example:
    question: str
    solution: str
    answer: str


def worked_examples(settings: EvaluateSettings, grader: Grader) -> tuple[tuple[str, str], ...]:
    """Question and solution of each example, one more than `policy.prompt.shots` where there is one: it stands in where a
    question is an example itself. Raises UserError where there are fewer than `shots`."""
    given = settings.policy.prompt
    if not given.shots:
        return ()
    if given.examples is not None:
        source, every = given.examples, iter(_of_file(settings, given.examples))
    elif settings.dataset.path is not None:
        mend = "a table has no train split to take worked examples from: name a file of them"
        raise UserError.of("policy.prompt.examples", None, mend)
    else:
        source, every = f"the train split of {settings.dataset.name}", _of_train_split(settings)
    found: list[tuple[str, str]] = []
    unread = ""
    for one in every:
        if text := _ended(one, grader):
            found.append((one.question, text))
        else:
            unread = unread or one.solution or one.answer
        if len(found) > given.shots:
            break
    if not found:
        shown = repr(unread if len(unread) <= _SHOWN else f"...{unread[3 - _SHOWN :]}")
        mend = f'its solutions end in no answer that the grader reads, as in {shown}: end them with "#### answer"'
        raise UserError.of("policy.prompt.examples", source, mend)
    if len(found) < given.shots:
        which = " that end in an answer which the grader reads" if unread else ""
        mend = f"{source} has {counted(len(found), 'worked example')}{which}: set it to at most {len(found)}"
        raise UserError.of("policy.prompt.shots", given.shots, mend)
    return tuple(found)


def _ended(one: _Example, grader: Grader) -> str:
    """The solution with an answer at its end, as a policy is to give one; "" where the grader reads none."""
    # A column of answers may hold the solutions too, as GSM8K's does.
    texts = [one.solution or one.answer]
    texts += [f"{one.solution}\n#### {one.answer}".strip()] if one.answer else []
    return next((text for text in texts if grader.extract(text) is not None), "")


def _of_train_split(settings: EvaluateSettings) -> Iterator[_Example]:
    given, dataset = settings.policy.prompt, settings.dataset
    # One more than are asked for, as of a file.
    most, seed = given.shots + 1, given.examples_seed
    problems = iter(load(dataset.name, split="train", count=most, seed=seed, options=dataset.options))
    while True:
        try:
            problem = next(problems, None)
        except UserError as error:
            if not str(error).startswith("dataset.count = "):
                raise
            return  # it has no more
        if problem is None:
            return
        if not (lines := problem.worked(settings.policy.delimiter)):
            mend = f"{dataset.name} has no worked solutions: name a file of worked examples"
            raise UserError.of("policy.prompt.examples", None, mend)
        yield _Example(problem.question, lines, problem.answer or "")


def _of_file(settings: EvaluateSettings, path: str) -> list[_Example]:
    """All examples of a file, in the order in which they are taken."""
    names = settings.dataset.columns
    try:
        # They are asked as the problems are.
        columns = Columns(
            names.question, None, None, names.choices, names.tests, names.setup, names.entry_point
        )
        rows = list(Table(Path(path), columns, template=settings.dataset.template))
    except UserError as error:
        raise _as_examples(error, path) from None
    found = [one for row in rows if (one := _of_row(row, names.answer)) is not None]
    if not found:
        which = "solution" if names.answer is None else f"solution, or {names.answer}"
        mend = f"it has no worked solutions: give each question one in the column {which}"
        raise UserError.of("policy.prompt.examples", path, mend)
    seed = settings.policy.prompt.examples_seed
    return sorted(found, key=lambda one: derive("example", seed, one.question))


def _of_row(row: Problem, answers: str | None) -> _Example | None:
    def text(name: str | None) -> str:
        value = None if name is None else value_at(row.metadata, name)
        return "" if value is None or isinstance(value, bool | list | dict) else str(value).strip()

    solution, answer = text("solution"), text(answers)
    return _Example(row.question.strip(), solution, answer) if solution or answer else None


def _as_examples(error: UserError, path: str) -> UserError:
    """What is wrong with a table, said of the file of examples."""
    field, _, rest = str(error).partition(" = ")
    if field == "dataset.path":
        return UserError(f"policy.prompt.examples = {rest}")
    # Without the nearest name, which is often that of the solutions.
    columns = rest.partition("; ")[2].partition(" (did you mean")[0]
    return UserError.of(
        "policy.prompt.examples", path, f"it has no column {rest.partition(': ')[0]}; {columns}"
    )
