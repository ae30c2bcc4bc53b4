"""Rates, remaining time and stalls from a list of progresses."""

import pytest

from actors.work import Load
from orchestration.runs.gauge import STALL_S, Gauge, Pass, Totals
from tests.support.standing import at


def test_rates_are_those_of_the_last_seconds() -> None:
    gauge = Gauge(100)
    for second in range(30):
        reading = gauge.observe(at(second, second))
    assert reading.of("policy").tokens_a_second == pytest.approx(1000)
    assert reading.of("verifier").tokens_a_second == pytest.approx(500)
    assert reading.of("policy").share == pytest.approx(0.8)
    assert reading.of("verifier").share == pytest.approx(0.25)
    for second in range(30, 50):
        reading = gauge.observe(at(second, 29, load={"policy": Load(29_000, replicas=2)}))
    assert reading.of("policy").tokens_a_second == 0


def test_time_left_is_by_outcomes_or_by_budget() -> None:
    gauge = Gauge(100)
    assert gauge.observe(at(1)).seconds_left is None
    assert gauge.observe(at(10, 25)).seconds_left == pytest.approx(30)
    tight = Gauge(100)
    tight.observe(at(1, 1, budget=20_000_000))
    assert tight.observe(at(10, 25, budget=20_000_000)).seconds_left == pytest.approx(10)


def test_loading_the_models_is_no_part_of_the_rate() -> None:
    gauge = Gauge(100)
    for second in range(31):
        assert gauge.observe(at(second, 0, load={"policy": Load()})).seconds_left is None
    assert gauge.observe(at(40, 20)).seconds_left == pytest.approx(40)


def test_a_stall_is_noticed_and_ends() -> None:
    gauge = Gauge(100)
    gauge.observe(at(1, 1))
    assert not gauge.observe(at(STALL_S, 1)).stalled
    assert gauge.observe(at(STALL_S + 1, 1)).stalled
    assert not gauge.observe(at(STALL_S + 2, 2)).stalled
    done = Gauge(5)
    done.observe(at(1, 5))
    assert not done.observe(at(100, 5)).stalled


def test_what_is_not_long_in_hand_is_no_stall() -> None:
    """The models were loaded for as long."""
    gauge = Gauge(100)
    assert not gauge.observe(at(STALL_S + 5, 0, oldest=())).stalled
    assert not gauge.observe(at(STALL_S + 10, 0, oldest=(("p1", 5.0),))).stalled
    assert gauge.observe(at(2 * STALL_S + 5, 0, oldest=(("p1", STALL_S),))).stalled


def test_a_scheduler_that_follows_another_and_knows_nothing_yet_changes_no_rate() -> None:
    gauge = Gauge(100)
    for second in range(20):
        gauge.observe(at(second, second))
    for second in range(20, 45):
        late = second < 30
        more = {"load": {"policy": Load()}} if late else {}
        reading = gauge.observe(at(second, second, **more))
        assert reading.of("policy").tokens_a_second <= 2_000
        assert reading.progress.of("policy").tokens >= 19_000
    assert reading.of("policy").tokens_a_second == pytest.approx(1000)


def test_totals_count_what_a_start_has_made() -> None:
    passes = (Pass(3, 10, 0), Pass(0, 4, 12), Pass(7, 0, 20))
    totals = Totals(problems=10, problems_done=0, outcomes=60, outcomes_done=28, passes=passes)
    assert totals.after(0) == totals
    some = totals.after(22)
    assert (some.problems_done, some.outcomes_done) == (5, 50)
    assert some.passes == (Pass(3, 10, 0), Pass(0, 10, 0), Pass(7, 5, 10))
    done = totals.after(32)
    assert (done.problems_done, done.outcomes_done, done.outcomes_left) == (10, 60, 0)


def test_with_several_seeds_a_problem_is_one_of_the_seed_at_work() -> None:
    passes = (Pass(3, 10, 0), Pass(0, 4, 12), Pass(7, 0, 20))
    totals = Totals(problems=10, problems_done=0, outcomes=60, outcomes_done=28, passes=passes)
    assert [totals.problems_now(made) for made in (0, 6, 11, 12, 22, 32)] == [
        (4, " of seed 0"),
        (7, " of seed 0"),
        (9, " of seed 0"),
        (0, " of seed 7"),
        (5, " of seed 7"),
        (10, " with all 3 seeds"),
    ]
