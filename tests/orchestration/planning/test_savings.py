"""FLOPs saved at equal accuracy, and gaps closed, with intervals over problems."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestration.planning.savings import Points, closed, flops_for, saved

RNG = np.random.default_rng(0)
HARD = RNG.random(400)


def curve(*reached: float) -> Points:
    """Points at 1, 10, 100, ... FLOPs that so many problems get right, the easy ones first."""
    return Points.of(
        [((share > HARD).astype(float), np.full(400, 10.0**at)) for at, share in enumerate(reached)]
    )


def test_flops_are_read_off_a_curve_where_it_first_gets_there() -> None:
    right, flops = np.array([0.2, 0.4, 0.3, 0.6]), np.array([1.0, 2.0, 4.0, 8.0])
    assert flops_for(0.2, right, flops) == 1.0
    assert flops_for(0.3, right, flops) == pytest.approx(math.sqrt(2))
    assert flops_for(0.5, right, flops) == pytest.approx(4.0)
    assert flops_for(0.7, right, flops) == float("inf")
    # Half as right as one FLOP makes: half of the prompts get it.
    assert flops_for(0.1, right, flops) == pytest.approx(0.5)


def test_who_takes_a_tenth_for_the_same_saves_ten_times() -> None:
    other = curve(0.2, 0.5, 0.8)
    found = saved((other.right[:, 2], np.full(400, 10.0)), other)
    assert found.value == pytest.approx(10.0)
    assert found.low == pytest.approx(10.0)
    half_way = saved(((HARD < 0.65).astype(float), np.full(400, 10.0)), other)
    assert half_way.low < math.sqrt(10) < half_way.high
    assert half_way.high < 6


def test_what_the_other_never_reaches_is_said() -> None:
    other = curve(0.2, 0.5)
    found = saved((np.ones(400), np.full(400, 2.0)), other)
    assert math.isinf(found.value)
    assert found.least == pytest.approx(5.0)


def test_a_share_of_a_gap_is_that_of_the_same_problems() -> None:
    start, end = (HARD < 0.4).astype(float), (HARD < 0.8).astype(float)
    found = closed((HARD < 0.6).astype(float), start, end)
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(0.5, abs=0.06)
    assert math.isinf(closed(end, start, start).value)
