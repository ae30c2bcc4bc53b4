"""`flopwise report RUN`: make the tables and figures of a run again, from what is on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from actors.errors import UserError
from orchestration.commands.arguments import options_of, terminal
from orchestration.commands.helptext import help_of
from orchestration.setup.compose import compose
from orchestration.setup.settings import PATH, ReportSettings, check_report


@dataclass
class _Settings:
    out: str | None = field(default=None, metadata=PATH)
    report: ReportSettings = field(default_factory=ReportSettings)


def run(words: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    options, rest = options_of(words, ("--help",))
    if "--help" in options:
        print(help_of("report"))
        return 0
    folders = [word for word in rest if "=" not in word]
    if len(folders) != 1:
        raise UserError("name one run, as in: flopwise report runs/evaluate")
    settings = compose("report", [word for word in rest if "=" in word], _Settings)
    check_report(settings.report)
    from orchestration.report.write import make_report
    from orchestration.runs.run import Run

    console = terminal()
    out = None if settings.out is None else Path(settings.out)
    report = make_report(Run(folders[0]), settings.report, out)
    report.show(console)
    for path in report.paths:
        console.print(str(path), highlight=False, soft_wrap=True)
    return 0
