"""Rates, remaining time and stalls from a list of progresses; what is shown on a terminal and off it."""

import io
import signal
from collections.abc import Iterator

import pytest
from rich.console import Console

from actors.work import Progress
from orchestration.commands.live import STALL, Display, Gauge, Lines, clock
from orchestration.evaluation import Pass


def at(seconds: float, outcomes: int = 0, **more: object) -> Progress:
    values: dict[str, object] = {
        "tasks_open": 5,
        "outcomes": outcomes,
        "answered": outcomes,
        "unaffordable": 0,
        "quarantined": 0,
        "policy_tokens": int(1000 * seconds),
        "verifier_tokens": int(500 * seconds),
        "spent": int(1e6 * seconds),
        "reserved": 0,
        "wasted": 0,
        "budget": None,
        "policy_busy": 0.8 * seconds * 2,
        "policy_replicas": 2,
        "seconds": seconds,
        "verifier_busy": 0.25 * seconds,
        "verifier_replicas": 1,
        "oldest": (("p1", 41.0), ("p2", 12.0)),
    }
    return Progress(**(values | more))  # type: ignore[arg-type]


def test_rates_are_those_of_the_last_seconds() -> None:
    gauge = Gauge(100)
    for second in range(30):
        reading = gauge.observe(at(second, second))
    assert reading.tokens_a_second == pytest.approx(1000)
    assert reading.scored_a_second == pytest.approx(500)
    assert reading.policy_share == pytest.approx(0.8)
    assert reading.verifier_share == pytest.approx(0.25)
    for second in range(30, 50):
        reading = gauge.observe(at(second, 29, policy_tokens=29_000))
    assert reading.tokens_a_second == 0


def test_time_left_is_by_outcomes_or_by_budget() -> None:
    gauge = Gauge(100)
    assert gauge.observe(at(1)).seconds_left is None
    assert gauge.observe(at(10, 25)).seconds_left == pytest.approx(30)
    tight = Gauge(100)
    tight.observe(at(1, 1, budget=20_000_000))
    assert tight.observe(at(10, 25, budget=20_000_000)).seconds_left == pytest.approx(10)


def test_a_stall_is_noticed_and_ends() -> None:
    gauge = Gauge(100)
    gauge.observe(at(1, 1))
    assert not gauge.observe(at(STALL, 1)).stalled
    assert gauge.observe(at(STALL + 1, 1)).stalled
    assert not gauge.observe(at(STALL + 2, 2)).stalled
    done = Gauge(5)
    done.observe(at(1, 5))
    assert not done.observe(at(100, 5)).stalled


def test_off_a_terminal_a_line_comes_every_few_seconds() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80)
    with Display(console, problems=20, outcomes=40, outcomes_done=20, passes=[Pass(0, 10, 20)]) as display:
        for second in range(12):
            display.update(at(second, second, budget=10**12))
        display.update(at(12, 20, tasks_open=0))
    lines = out.getvalue().splitlines()
    assert lines[0] == "starting the models ..."
    assert len(lines) == 5
    assert lines[2] == (
        "00:05  12/20 problems  25/40 outcomes  1,000 tok/s  5.00e6 FLOPs of 1.00e12  busy 80%/25%  left 00:15"
    )
    assert "20/20 problems  40/40 outcomes" in lines[-1]


def test_with_several_seeds_a_problem_is_one_of_the_seed_at_work() -> None:
    passes = [Pass(3, 10, 0), Pass(0, 4, 12), Pass(7, 0, 20)]
    console = Console(file=io.StringIO(), width=80)
    display = Display(console, problems=10, outcomes=60, outcomes_done=28, passes=passes)
    shown = [display.problems_done(at(1, outcomes)) for outcomes in (0, 6, 11, 12, 22, 32)]
    assert shown == [
        (4, " of seed 0"),
        (7, " of seed 0"),
        (9, " of seed 0"),
        (0, " of seed 7"),
        (5, " of seed 7"),
        (10, " of seed 7"),
    ]
    assert "5/10 problems of seed 7  50/60 outcomes" in display.line(Gauge(32).observe(at(1, 22)))


def test_stragglers_and_missing_replicas_are_named() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80)
    with Display(console, problems=2, outcomes=4, outcomes_done=0, passes=[Pass(0, 0, 4)]) as display:
        display.update(at(1, 1))
        display.update(at(40, 1, waiting_for="policy-1"))
    text = out.getvalue()
    assert "waiting for policy-1" in text
    assert "oldest: p1 (00:41), p2 (00:12)" in text


def test_on_a_terminal_one_block_is_redrawn() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, height=40, force_terminal=True, color_system=None)
    with Display(console, problems=20, outcomes=40, outcomes_done=20, passes=[Pass(0, 10, 20)]) as display:
        display.update(at(1))
        display.update(at(40, 10, budget=10**9, quarantined=1, wasted=3))
        display._live.refresh()
    text = out.getvalue()
    for part in (
        "15 of 20",
        "30 of 40 (10 answered, 1 quarantined)",
        "of 1.00e9",
        "policy 80% of 2",
        "about",
    ):
        assert part in text, part


def test_lines_for_work_of_unknown_size() -> None:
    out = io.StringIO()
    lines = Lines(Console(file=out, width=80))
    for second in range(11):
        lines.update(at(second, second))
    lines.update(at(0.0, 0))  # the next part starts its clock again
    assert len(out.getvalue().splitlines()) == 4


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own handler: a process started in the background is born with Ctrl-C ignored."""
    born = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, born)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("kind", ["display", "lines"])
def test_the_first_ctrl_c_says_what_it_does_and_the_second_is_pythons_own(kind: str) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80)
    before = signal.getsignal(signal.SIGINT)
    shown: Display | Lines = (
        Display(console, problems=2, outcomes=4, outcomes_done=0, passes=[Pass(0, 0, 4)])
        if kind == "display"
        else Lines(console)
    )
    with shown as display:
        display.update(at(1))
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        # What is in hand goes on.
        display.update(at(2))
        display.update(at(3))
        assert signal.getsignal(signal.SIGINT) is before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert out.getvalue().count("finishing what is in hand; Ctrl-C again stops at once") == 1
    assert signal.getsignal(signal.SIGINT) is before


def test_clock() -> None:
    assert [clock(s) for s in (0, 61.9, 3600 * 3 + 7 * 60)] == ["00:00", "01:01", "3:07:00"]
