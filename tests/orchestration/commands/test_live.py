"""What is shown of a run while it goes on, on a terminal and off it, and what signals do."""

import io
import signal
from collections.abc import Iterator

import pytest
from rich.console import Console

from actors.work import Load, Progress, Tally
from orchestration.commands.live import Display, Lines
from orchestration.commands.phrases import clock
from orchestration.runs.gauge import Gauge, Pass, Totals
from tests.support.standing import at

HALF = Totals(problems=20, problems_done=10, outcomes=40, outcomes_done=20, passes=(Pass(0, 10, 20),))
NONE = Totals(problems=2, problems_done=0, outcomes=4, outcomes_done=0, passes=(Pass(0, 0, 4),))


def test_off_a_terminal_a_line_comes_every_few_seconds() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80)
    with Display(console, HALF) as display:
        for second in range(12):
            display.update(at(second, second, budget=10**12))
        display.update(at(12, 20, tasks_open=0))
    lines = out.getvalue().splitlines()
    assert lines[0] == "starting the models ..."
    assert len(lines) == 5
    assert lines[1].endswith("left unknown")
    assert lines[2] == (
        "00:05  12/20 problems  25/40 outcomes  1,000 tok/s  5.00e6 FLOPs of 1.00e12  busy 80%/25%  left 00:15"
    )
    assert "20/20 problems  40/40 outcomes" in lines[-1]


def test_tokens_of_a_reviser_are_drawn_tokens_too() -> None:
    display, gauge = Display(Console(file=io.StringIO(), width=80), HALF), Gauge(32)
    alone = {"reviser": Load(tokens=0, busy=0.0, replicas=1)}
    gauge.observe(at(0, 0, load=alone))
    drawn = {"reviser": Load(tokens=5_000, busy=4.0, replicas=1)}
    assert "  1,000 tok/s  " in display.line(gauge.observe(at(5, 5, load=drawn)))


def test_lines_name_the_seed_at_work() -> None:
    passes = (Pass(3, 10, 0), Pass(0, 4, 12), Pass(7, 0, 20))
    display = Display(Console(file=io.StringIO(), width=80), Totals(10, 0, 60, 28, passes))
    assert "5/10 problems of seed 7  50/60 outcomes" in display.line(Gauge(32).observe(at(1, 22)))


def test_stragglers_and_missing_replicas_are_named() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80)
    with Display(console, NONE) as display:
        display.update(at(1, 1))
        display.update(at(40, 1, waiting_for="policy-1"))
    text = out.getvalue()
    assert "waiting for policy-1" in text
    assert "nothing ended for 30 s; oldest tasks: p1 (00:41), p2 (00:12)" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_candidates_that_tell_little_are_told_once(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, height=40, force_terminal=terminal, color_system=None)
    cut, unread = Tally(40, truncated=30), Tally(80, unreadable=60, truncated=60)
    with Display(console, NONE) as display:
        display.update(at(1, 1, tallies={"greedy": Tally(20, truncated=20)}))
        display.update(at(8, 2, tallies={"greedy": cut}))
        display.update(at(9, 3, tallies={"greedy": unread}))
        display.update(at(20, 4, tallies={"greedy": unread}))
    text = " ".join(out.getvalue().split())
    assert text.count("cut off at policy.max_tokens (greedy 30 of 40)") == 1
    assert text.count("no answer could be read (greedy 60 of 80)") == 1


def test_sampling_for_training_tells_it_too() -> None:
    out = io.StringIO()
    with Lines(Console(file=out, width=80)) as lines:
        lines.update(at(1, tallies={"majority(n=2)": Tally(40, unreadable=30)}))
        lines.update(at(2, tallies={"majority(n=2)": Tally(50, unreadable=40)}))
    assert out.getvalue().count("no answer could be read") == 1


def test_on_a_terminal_stragglers_and_missing_replicas_stand_below_the_block() -> None:
    out = io.StringIO()
    console = Console(file=out, width=60, height=40, force_terminal=True, color_system=None)
    five = tuple((f"problem-{n:016x} on policy-{n}", 41.0 - n) for n in range(5))
    with Display(console, NONE) as display:
        display.update(at(1, 1))
        display.update(at(40, 1, waiting_for="policy-1, policy-2", oldest=five))
        display._live.refresh()
    # A terminal of any width breaks what is long into lines, and leaves nothing out.
    text = " ".join(out.getvalue().split())
    assert "waiting for policy-1, policy-2" in text
    assert all(f"{name} (00:{int(age)})" in text for name, age in five)


def test_on_a_terminal_one_block_is_redrawn() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, height=40, force_terminal=True, color_system=None)
    with Display(console, HALF) as display:
        display.update(at(1))
        display.update(at(40, 10, budget=10**9, quarantined=1, wasted=3))
        display._live.refresh()
    text = out.getvalue()
    for part in (
        "15 of 20",
        "30 of 40 (this start: 10 answered, 1 quarantined)",
        "of 1.00e9",
        "policy 80% of 2",
        "left 00:40",
    ):
        assert part in text, part


def test_the_block_of_a_first_start_says_how_all_outcomes_ended() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, height=40, force_terminal=True, color_system=None)
    with Display(console, NONE) as display:
        display.update(at(1, 3))
        display._live.refresh()
    assert "3 of 4 (3 answered)" in out.getvalue()


def test_lines_for_work_of_unknown_size() -> None:
    out = io.StringIO()
    lines = Lines(Console(file=out, width=80))
    for second in range(11):
        lines.update(at(second, second))
    lines.update(at(0.0, 0))  # the next part starts its clock again
    assert len(out.getvalue().splitlines()) == 4


@pytest.mark.parametrize("kind", ["display", "lines"])
def test_that_the_first_samples_were_all_cut_off_is_said_once_and_at_once(kind: str) -> None:
    def drawn(second: int, ended: int, cut_off: int) -> Progress:
        return at(second, load={"policy": Load(1000, ended=ended, cut_off=cut_off)})

    def said(*progresses: Progress) -> int:
        out = io.StringIO()
        console = Console(file=out, width=80)
        shown: Display | Lines = Display(console, NONE) if kind == "display" else Lines(console)
        with shown as display:
            for progress in progresses:
                display.update(progress)
        return out.getvalue().count("samples were cut off at policy.max_tokens")

    assert said(drawn(1, 31, 31), drawn(2, 33, 33), drawn(3, 50, 50)) == 1
    assert said(drawn(1, 31, 31)) == 0
    assert said(drawn(1, 40, 39), drawn(2, 80, 79)) == 0


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own handler: a process started in the background is born with Ctrl-C ignored."""
    born = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, born)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["display", "lines"])
def test_the_first_signal_says_what_it_does_and_the_second_ends_that_too(
    kind: str, number: signal.Signals
) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80)
    before = signal.getsignal(number)
    shown: Display | Lines = Display(console, NONE) if kind == "display" else Lines(console)
    with shown as display:
        display.update(at(1))
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        # What is in hand goes on.
        display.update(at(2))
        display.update(at(20))
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert out.getvalue().count("finishing what is nearly done; Ctrl-C again stops at once") == 1
    assert signal.getsignal(number) is before
    # What is left of the whole is not what is waited for now.
    assert ("  stopping" in out.getvalue().splitlines()[-1]) == (kind == "display")


def test_clock() -> None:
    assert [clock(s) for s in (0, 61.9, 3600 * 3 + 7 * 60)] == ["00:00", "01:01", "3:07:00"]
