"""`flopwise report RUN`: make the tables and figures of a run again, from what is on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestration.commands.arguments import options_of, place_and_settings, terminal
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
    folder, words = place_and_settings(rest, "name one run, as in: flopwise report runs/evaluate")
    settings = compose("report", words, _Settings)
    check_report(settings.report)
    from orchestration.report.write import make_report
    from orchestration.runs.run import Run

    console = terminal()
    out = None if settings.out is None else Path(settings.out)
    report = make_report(Run(folder), settings.report, out)
    report.show(console)
    for path in report.paths:
        console.print(str(path), highlight=False, soft_wrap=True)
    return 0
