"""Who stands still, and who only waits."""

from __future__ import annotations

import pytest

from actors.engines.base import EngineCounters
from actors.messages import Account, Finished, Report
from actors.scheduling.watch import IDLE_TIMEOUT_S, Watch


def report(tokens: int, running: int = 0, *accounts: Account, finished: tuple[Finished, ...] = ()) -> Report:
    return Report(finished, accounts, 1, EngineCounters(0, tokens, 0.0, running))


HELD = Account(1, granted=100, spent=5, reserved=0, lacking=0)
LACKS = Account(1, granted=100, spent=5, reserved=0, lacking=9)


def test_requests_without_a_token_stand_still() -> None:
    watch = Watch(10.0, 0.0)
    watch.see(report(7, 1, HELD), 1.0)
    watch.see(report(7, 1, HELD), 10.0)
    watch.see(report(7, 1, HELD), 11.5)
    with pytest.raises(TimeoutError, match="no new token in 10 s of 1 requests"):
        watch.see(report(7, 1, HELD), 13.5)


def test_a_report_that_was_read_late_is_no_proof() -> None:
    """Trap: a scheduler that stood still for minutes reads what was said before, and has every replica killed."""
    watch = Watch(10.0, 0.0)
    for number in range(5):
        watch.see(report(number, 1, HELD), 100.0 * number)
        watch.see(report(number, 1, HELD), 100.0 * number + 90.0)


def test_a_token_now_and_then_is_enough() -> None:
    watch = Watch(10.0, 0.0)
    for number in range(20):
        watch.see(report(number, 1, HELD), 9.0 * number)


def test_after_a_rest_the_time_begins_anew() -> None:
    """Its first request has drawn nothing yet when it reports for the first time after a long rest."""
    watch = Watch(10.0, 0.0)
    watch.see(report(7), 1.0)
    watch.rest(500.0)
    watch.see(report(7, 1, HELD), 500.1)


def test_who_waits_for_its_purse_may_wait() -> None:
    watch = Watch(10.0, 0.0)
    for hour in range(5):
        watch.see(report(7, 0, LACKS), 3600.0 * hour)


def test_who_waits_for_a_verifier_may_wait() -> None:
    watch = Watch(10.0, 0.0)
    for hour in range(5):
        busy = Report((), (HELD,), 1, EngineCounters(0, 7, 0.0, 0), elsewhere=3)
        watch.see(busy, 3600.0 * hour)


def test_who_waits_for_a_grader_may_wait() -> None:
    watch = Watch(10.0, 0.0)
    for hour in range(5):
        busy = Report((), (HELD,), 1, EngineCounters(0, 7, 0.0, 0), staging=1)
        watch.see(busy, 3600.0 * hour)


def test_tasks_that_do_nothing_at_all_are_given_long_and_not_for_ever() -> None:
    watch = Watch(10.0, 0.0)
    watch.see(report(7, 0, HELD), 1.0)
    watch.see(report(7, 0, HELD), IDLE_TIMEOUT_S)
    watch.see(report(7, 0, HELD), IDLE_TIMEOUT_S + 2.0)
    with pytest.raises(TimeoutError, match="1 tasks have done nothing"):
        watch.see(report(7, 0, HELD), IDLE_TIMEOUT_S + 4.0)


def test_who_is_starved_of_a_processor_is_not_held_to_stand_still() -> None:
    """Nine tenths of its time it waits for a processor: a token takes it ten times as long."""
    watch = Watch(10.0, 0.0)
    for second in range(1, 95):
        starved = Report((), (HELD,), 1, EngineCounters(0, 7, 0.0, 1), starved=0.9 * second)
        watch.see(starved, float(second))
    watch.see(Report((), (HELD,), 1, EngineCounters(0, 7, 0.0, 1), starved=85.0), 106.0)
    with pytest.raises(TimeoutError, match="no new token"):
        watch.see(Report((), (HELD,), 1, EngineCounters(0, 7, 0.0, 1), starved=85.0), 108.0)
