"""What the models of a run will read, shown on one problem: its prompt as text and ids, and a made-up solution in steps.

It loads a tokenizer and no model, with what a run makes prompts and reads steps with. Invariant: a chat template that fails
in a run fails here, by the setting that names it.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestration.runs.prompts import Prompts
from orchestration.setup.prepare import Prepared

_MADE_UP = ("First step", "Second step", "#### 42")
"""Where a data set has no worked solutions."""


@dataclass(frozen=True, slots=True)
class Example:
    """A problem's prompt, as ids and as the text that they stand for, and a solution as the steps that it is read as;
    `worked` says that the data set has it."""

    problem: str
    ids: tuple[int, ...]
    text: str
    steps: tuple[str, ...]
    worked: bool


def example(prepared: Prepared, prompts: Prompts) -> Example:
    """The first problem of a run with these prompts. Raises UserError where its prompt cannot be made."""
    from actors.replicas.reader import ReaderPlan, TokenReader

    problem = next(iter(prepared.dataset))
    folder, delimiter = prepared.policy.tokenizer, prepared.settings.policy.delimiter
    ids = prompts.ids(problem.question)
    reader = TokenReader(ReaderPlan(folder, delimiter, prepared.grader), ())
    worked = problem.worked(delimiter)
    solution = prompts.continued((delimiter or "\n").join(_MADE_UP) if worked is None else worked)
    ends = reader.step_ends(solution)
    steps = tuple(
        reader.text(solution[start:end]) for start, end in zip((0, *ends), ends, strict=False) if start < end
    )
    return Example(problem.id, ids, reader.text(ids), steps, worked is not None)
