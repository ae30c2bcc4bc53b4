"""Labelled samples on two sides, to train on and held out, and whether they are enough to learn and to measure by.

It knows how samples are labelled, nothing of models or losses. Invariant: a problem is on one side alone, and what is too
little is refused with what became of every sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from actors.errors import UserError
from orchestration.training.batches import Labelled, Shown, training_rows
from orchestration.training.step_data import (
    CUT_OFF,
    UNREADABLE,
    Drawn,
    held_out,
    labelled_answers,
    labelled_solutions,
)

_MENDS = {CUT_OFF: "raise max_tokens, ", UNREADABLE: "see what prompt, system and grader ask for, "}


@dataclass(frozen=True, slots=True)
class Sides:
    """Rows to train on, rows that are held out, and what all samples were that they come from."""

    kept: list[Labelled]
    held: list[Labelled]
    drawn: Drawn

    def right(self) -> Sides:
        """The right ones alone."""
        return Sides([r for r in self.kept if r.correct], [r for r in self.held if r.correct], self.drawn)


def split(
    tables: Sequence[pa.Table],
    prompts: dict[str, tuple[int, ...]],
    context: int,
    share: float,
    seed: int,
    shown: Shown | None = None,
) -> Sides:
    """Label the candidates of runs, and hold out a `share` of their problems. Where earlier attempts are `shown`, each answer
    is labelled by itself, and stands behind those of its chain."""
    sides = Sides([], [], Drawn())
    label = labelled_solutions if shown is None else labelled_answers
    for table in tables:
        for row in training_rows(label(table, sides.drawn), prompts, context, shown):
            (sides.held if held_out(row.problem_id, share, seed) else sides.kept).append(row)
    return sides


def check_values(sides: Sides, say: Callable[[str], None]) -> None:
    """Say what the value stage has. Raises UserError where a side has no right sample, or no wrong one: nothing could be
    learnt of the one, or measured by the other."""
    say(f"value stage: {sides.drawn}")
    counts = []
    for rows in (sides.kept, sides.held):
        right = sum(row.correct for row in rows)
        counts.append((right, len(rows) - right))
    if not all(min(pair) for pair in counts):
        (right, wrong), (right_held, wrong_held) = counts
        raise _too_few(
            "value",
            sides.drawn,
            f"{right:,} right and {wrong:,} wrong to train on, {right_held:,} right and {wrong_held:,} wrong held out",
        )
    rows = sides.kept + sides.held
    short = sum(len(row.ends) == 1 for row in rows)
    if 2 * short > len(rows):
        say(
            f"{short:,} of these {len(rows):,} samples are of one step only: the verifier learns whole solutions from them; "
            "delimiter must be a text that the policy writes between its steps"
        )


def check_right(sides: Sides, say: Callable[[str], None]) -> None:
    """Say what the language stage has, right samples alone. Raises UserError where a side has none."""
    kept, held = len(sides.kept), len(sides.held)
    say(f"language stage: {sides.drawn}; {kept + held:,} of the used ones are right")
    if not kept or not held:
        raise _too_few("language", sides.drawn, f"{kept:,} right to train on, {held:,} right held out")


def _too_few(stage: str, drawn: Drawn, left: str) -> UserError:
    most = max(drawn.dropped, key=drawn.dropped.__getitem__, default="")
    mend = f"{_MENDS.get(most, '')}draw more problems (parts), or raise training.held_out_share"
    return UserError(f"parts: too few samples for the {stage} stage ({left}), of {drawn}: {mend}")
