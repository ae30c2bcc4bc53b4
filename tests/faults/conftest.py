"""Runs that nothing befell, for trials to be held against, and a table of what the trials measured, at the end."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable

import pytest

from tests.faults.job import ASKED, CHAINS, JOB, SHORT
from tests.faults.trials import Figures, Unbroken, run_unbroken

MEASURED = pytest.StashKey[list[Figures]]()


@pytest.fixture(scope="session")
def measured(request: pytest.FixtureRequest) -> list[Figures]:
    """What every trial measured so far."""
    return request.config.stash.setdefault(MEASURED, [])


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    return run_unbroken(JOB, tmp_path_factory.mktemp("unbroken"))


@pytest.fixture(scope="session")
def unbroken_chains(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    return run_unbroken(CHAINS, tmp_path_factory.mktemp("unbroken_chains"))


@pytest.fixture(scope="session")
def unbroken_asked(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    return run_unbroken(ASKED, tmp_path_factory.mktemp("unbroken_asked"))


@pytest.fixture(scope="session")
def unbroken_short(tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    return run_unbroken(SHORT, tmp_path_factory.mktemp("unbroken_short"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    measured = config.stash.get(MEASURED, [])
    if not measured:
        return
    terminalreporter.section("faults: seconds after the kill, medians and (worst)")
    for line in table(measured):
        terminalreporter.write_line(line)


def table(measured: Iterable[Figures]) -> list[str]:
    """A row a kind, a row a trial, and every flipped token."""
    kinds: dict[str, list[Figures]] = defaultdict(list)
    for one in measured:
        kinds[one.kind].append(one)
    lines = [
        "| killed | trials | noticed | work goes on | it is back | silence | waste / spent | charged / done | drawn again "
        "| differ |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind, some in kinds.items():
        cells = [
            kind,
            str(len(some)),
            _seconds(one.noticed for one in some),
            _seconds(one.goes_on for one in some),
            _seconds(one.whole for one in some),
            _seconds(one.silence for one in some),
            f"{statistics.median(one.waste for one in some):.0%} ({max(one.waste for one in some):.0%})",
            _times(one.price for one in some),
            f"{statistics.median(one.again for one in some):,.0f} ({max(one.again for one in some):,})",
            f"{sum(len(one.flips) for one in some)} of {sum(one.problems for one in some)}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for some in kinds.values():
        for one in some:
            at = f"{one.kind:10} {one.moment!s:34} {one.at:>8} outcomes"
            seconds = "  ".join(
                f"{name} {'-' if value is None else f'{value:.1f}'}"
                for name, value in (("noticed", one.noticed), ("goes on", one.goes_on), ("back", one.whole))
            )
            lines.append(
                f"{at}  {seconds}  silence {one.silence:.1f}  waste {one.waste:.1%}  "
                f"charged {one.charged:,} of {one.used:,} done  again {one.again:,}"
            )
            lines += [f"    {flip}" for flip in one.flips]
    return lines


def _seconds(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.1f} ({max(known):.1f})" if known else "-"


def _times(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.2f} ({max(known):.2f})" if known else "-"
