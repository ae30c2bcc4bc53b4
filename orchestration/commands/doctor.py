"""`flopwise doctor`: whether a set-up is sound, before hours are spent on it.

A thin driver: it prints what the checks find, as they find it. Invariant: nothing is written, and the exit code is 1 where a
run would be refused or fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestration.commands.arguments import options_of, terminal
from orchestration.commands.helptext import help_of
from orchestration.setup.compose import compose
from orchestration.setup.settings import EvaluateSettings

if TYPE_CHECKING:
    from rich.console import Console

    from orchestration.doctor.findings import Finding, Mark

WRONG = 1
"""The exit code where something is wrong."""

_STYLES: dict[Mark, str] = {"ok": "green", "warning": "yellow", "wrong": "bold red", "-": "dim"}


def run(words: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    options, settings_words = options_of(words, ("--help",))
    if "--help" in options:
        print(help_of("evaluate", settings_words, about="doctor"))
        return 0
    settings = compose("evaluate", settings_words, EvaluateSettings)
    from orchestration.doctor.checkup import checkup
    from orchestration.setup.by_price import by_price

    console = terminal()
    settings, said = by_price(settings, settings_words)
    if said:
        console.print(said, highlight=False, soft_wrap=True, markup=False)
    marks = []
    for finding in checkup(settings):
        marks.append(finding.mark)
        show(finding, console)
    console.print(_summary(marks), style="bold", highlight=False)
    return WRONG if "wrong" in marks else 0


def show(finding: Finding, console: Console) -> None:
    """Print a finding: its mark, its check, and what was found."""
    from rich.text import Text

    mark = Text.assemble((f"{finding.mark:8}", _STYLES[finding.mark]), f"{finding.check:11}", finding.text)
    console.print(mark, highlight=False, soft_wrap=True)
    for line in finding.details:
        console.print(f"{'':19}{line}", highlight=False, soft_wrap=True, markup=False, style="dim")
    if finding.prompts:
        from orchestration.report.tables import rich_table

        cells = [[one.problem, f"{one.tokens:,}", one.text, one.ids] for one in finding.prompts]
        console.print(rich_table(["problem", "tokens", "", "ids"], cells))


def _summary(marks: Sequence[Mark]) -> str:
    wrong, warnings, unseen = (marks.count(mark) for mark in ("wrong", "warning", "-"))
    if not wrong and not warnings and not unseen:
        return "all is well"
    parts = [(wrong, "wrong"), (warnings, "to think about"), (unseen, "not looked at")]
    return ", ".join(f"{count} {what}" for count, what in parts if count)
