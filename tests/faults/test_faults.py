"""A process of the main job is killed at random moments: nothing is lost or done twice, and the books say what it cost.

`make test-faults` runs all trials and prints what they measured; a short choice is part of every test run.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import pytest

from tests.faults.trials import AGENTS_GONE, Figures, Kind, Moment, Unbroken, moment, strike

COUNT = 5
"""Trials of a kind."""

DIFFER = 200
"""One problem in this many may differ by a flipped token: the engine's rounding depends on what shares its batch."""


PRICE = 1.5
"""FLOPs that a death is charged for each that had really been done, in the median."""


@pytest.mark.faults
@pytest.mark.parametrize("number", range(COUNT))
@pytest.mark.parametrize("kind", ["driver", "scheduler", "policy", "verifier"])
def test_killed_at_a_random_moment(
    kind: Kind, number: int, unbroken: Unbroken, measured: list[Figures], tmp_path: Path
) -> None:
    measured.append(strike(kind, moment(kind, number, COUNT), unbroken, tmp_path))


@pytest.mark.faults
@pytest.mark.parametrize(("kind", "number"), [*(("reviser", n) for n in range(COUNT)), ("driver", 2)])
def test_killed_in_mid_chain(
    kind: Kind, number: int, unbroken_chains: Unbroken, measured: list[Figures], tmp_path: Path
) -> None:
    measured.append(strike(kind, moment(kind, number, COUNT), unbroken_chains, tmp_path))


@pytest.mark.faults
@pytest.mark.parametrize(("kind", "number"), [("reviser", 2), ("reviser", 3), ("policy", 2), ("driver", 2)])
def test_killed_while_a_reviser_draws_for_tasks_of_the_policy(
    kind: Kind, number: int, unbroken_asked: Unbroken, measured: list[Figures], tmp_path: Path
) -> None:
    measured.append(strike(kind, moment(kind, number, COUNT), unbroken_asked, tmp_path))


@pytest.mark.faults
def test_hardly_a_problem_differs(measured: list[Figures]) -> None:
    differing = [flip for one in measured for flip in one.flips]
    assert len(differing) * DIFFER <= sum(one.problems for one in measured), "\n".join(map(str, differing))


@pytest.mark.faults
def test_a_death_is_charged_little_more_than_was_done(measured: list[Figures]) -> None:
    prices = [one.price for one in measured if one.price is not None]
    assert not prices or statistics.median(prices) <= PRICE, sorted(prices)


@pytest.mark.faults
def test_nothing_of_a_killed_driver_lives_on(measured: list[Figures]) -> None:
    limit = time.monotonic() + AGENTS_GONE
    for one in measured:
        while one.living is not None and (left := one.living.left()):
            assert time.monotonic() < limit, left
            time.sleep(1)


# A policy that dies is in every run of the suite through tests/actors/cluster.
@pytest.mark.parametrize("kind", ["driver", pytest.param("policy", marks=pytest.mark.faults)])
def test_a_short_job_that_is_killed_halfway(
    kind: Kind, unbroken_short: Unbroken, measured: list[Figures], tmp_path: Path
) -> None:
    figures = strike(kind, Moment(0.3, 0.0, 0), unbroken_short, tmp_path)
    measured.append(figures)
    assert len(figures.flips) <= 1
