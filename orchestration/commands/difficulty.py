"""`flopwise difficulty RUN`: predicted difficulty held against what samples show, and against what people say.

It knows agreements, nothing of how difficulty is told. Invariant: where the two disagree, a warning says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actors.errors import UserError
from orchestration.commands.arguments import options_of, place_and_settings, terminal
from orchestration.commands.helptext import help_of
from orchestration.commands.planning_words import check_least
from orchestration.setup.compose import compose

if TYPE_CHECKING:
    from orchestration.planning.difficulty_report import Told
    from orchestration.report.tables import Cells

HEAD = ("difficulty", "held against", "problems", "rank correlation")


@dataclass
class _Settings:
    samples: int = 4
    by: list[str] = field(default_factory=list)
    prompt: bool = False
    strategies: list[str] = field(default_factory=list)


def run(words: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    options, rest = options_of(words, ("--help",))
    if "--help" in options:
        print(help_of("difficulty"))
        return 0
    folder, given = place_and_settings(rest, "name one run, as in: flopwise difficulty runs/calibrate")
    settings = compose("difficulty", given, _Settings)
    check_least("samples", settings.samples, 1)
    from orchestration.commands.steps import Steps
    from orchestration.planning.difficulty_report import ORACLE, report_difficulty
    from orchestration.planning.prompt_values import NotJudged, prompt_values, stored_values
    from orchestration.planning.sources import read_source
    from orchestration.report.tables import rich_table
    from orchestration.runs.run import Run

    console = terminal()
    asked = Run(folder)
    with Steps(console) as steps:
        steps.tell("reading the run", 0, 1)
        source = read_source(asked, settings.strategies)
        try:
            prompts = prompt_values(asked, steps.tell) if settings.prompt else stored_values(asked)
        except NotJudged as why:
            raise UserError.of("prompt", True, str(why)) from None
        found = report_difficulty(asked, source, settings.samples, settings.by, prompts)
    rows = [
        [one.name, one.held, f"{one.agreement.problems:,}", _shown(one.agreement.rank)] for one in found.ways
    ]
    console.print(rich_table(HEAD, rows, f"{found.problems:,} problems"))
    for one in found.ways:
        if one.held == ORACLE:
            console.print(rich_table(*_bins(one), f"{one.name}: bins (1: easiest)"))
            console.print(rich_table(*_curve(one), f"{one.name}: calibration"))
    notes = [
        "Oracle: the share of samples that are right, of others than difficulty is predicted from. A rank correlation of 1: "
        "both have the problems in the same order, the easiest first; people's labels are taken to rise with difficulty.",
        *found.notes,
    ]
    for line in notes:
        console.print(line, highlight=False)
    for one in found.ways:
        if one.warning:
            console.print(f"{one.name}: {one.warning}", style="yellow", highlight=False, soft_wrap=True)
    return 0


def _shown(rank: float | None) -> str:
    return "-" if rank is None else f"{rank:.2f}"


def _bins(one: Told) -> tuple[list[str], Cells]:
    confusion = one.agreement.confusion
    count = len(confusion)
    head = ["oracle bin", *(f"predicted {bin_}" for bin_ in range(1, count + 1))]
    return head, [
        [str(at + 1), *(f"{value:,}" for value in row)] for at, row in enumerate(confusion.tolist())
    ]


def _curve(one: Told) -> tuple[list[str], Cells]:
    from orchestration.report.tables import percent

    head = ["predicted, on average", "right", "problems"]
    return head, [[percent(told), percent(right), f"{count:,}"] for told, right, count in one.agreement.curve]
