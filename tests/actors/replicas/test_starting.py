"""Starts that fail and are tried again: by a plain class first, whose process is played, then for the process itself."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from actors.errors import UserError
from actors.replicas.starting import starting
from actors.scheduling.starts import TRIES, Starts

BUSY = ValueError(
    "Free memory on device cuda:0 (1/79 GiB) on startup is less than desired GPU memory utilization"
)
STARTUP = 100.0


class Left(BaseException):
    """The process is gone."""


@dataclass
class Machine:
    """Starts one replica as Ray does: again where its process left, never where its constructor raised. `loads` says what
    each of its starts meets; each takes `seconds`."""

    loads: list[BaseException | None]
    seconds: float = 1.0
    now: float = 0.0
    starts: Starts = field(default_factory=Starts)
    pauses: list[float] = field(default_factory=list)

    def start(self, replica: str = "verifier-0") -> int:
        """How many processes it took until it was up."""
        processes = 0
        while True:
            processes += 1
            try:
                with starting(
                    replica,
                    self.starts.begin(replica, self.now),
                    STARTUP,
                    lambda why: self.starts.failed(replica, why),
                    leave=self._leave,
                    pause=self._pause,
                ):
                    self.now += self.seconds
                    failure = self.loads.pop(0) if self.loads else None
                    if failure is not None:
                        raise failure
            except Left:
                continue
            self.starts.up(replica)
            return processes

    def _leave(self, why: str) -> None:
        raise Left(why)

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def test_a_trouble_that_passes_is_tried_again() -> None:
    machine = Machine([BUSY, OSError(116, "Stale file handle")])
    assert machine.start() == 3
    assert machine.pauses == [0.0, 1.0, 2.0]


MISTAKES = [
    UserError("no such model"),
    FileNotFoundError(2, "no weights"),
    ValueError("No available memory for the cache blocks."),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=repr)
def test_a_mistake_is_told_at_once_unless_a_replica_of_the_role_has_come_up(mistake: Exception) -> None:
    machine = Machine([mistake] * 9)
    with pytest.raises(type(mistake)):
        machine.start()
    assert len(machine.loads) == 8
    # A network disk may be away, memory not free yet: with the same settings and files it came up before.
    machine = Machine([None, mistake, mistake])
    assert machine.start("verifier-0") == 1
    assert machine.start("verifier-1") == 3
    machine.loads.append(mistake)
    with pytest.raises(type(mistake)):
        machine.start("policy-0")


def test_a_trouble_that_never_passes_ends_in_its_own_words() -> None:
    machine = Machine([BUSY] * 999)
    with pytest.raises(UserError) as error:
        machine.start()
    assert STARTUP <= machine.now < 2 * STARTUP
    told = str(error.value)
    assert told.startswith("verifier-0 does not come up on ")
    assert f"({999 - len(machine.loads)} starts in " in told
    assert str(BUSY) in told
    assert "\n" not in told


def test_starts_that_take_all_of_their_time_are_few_and_not_one() -> None:
    machine = Machine([BUSY] * 999, seconds=STARTUP)
    with pytest.raises(UserError, match=f"{TRIES} starts"):
        machine.start()
    assert len(machine.loads) == 999 - TRIES


def test_a_process_that_ends_each_time_without_a_word_is_given_up_too() -> None:
    machine = Machine([Left("killed for its memory")] * 999, seconds=STARTUP)
    with pytest.raises(UserError, match="its process ended as it loaded"):
        machine.start()
    assert len(machine.loads) == 999 - TRIES


def test_what_is_not_known_is_told_at_once_unless_a_replica_of_the_role_has_come_up() -> None:
    machine = Machine([KeyError("layers.0")])
    with pytest.raises(KeyError):
        machine.start("verifier-1")
    machine = Machine([None, KeyError("layers.0"), KeyError("layers.0")])
    assert machine.start("verifier-0") == 1
    assert machine.start("verifier-1") == 3
    machine.loads.append(KeyError("layers.0"))
    with pytest.raises(KeyError):
        machine.start("policy-0")


def test_who_came_up_begins_to_count_anew() -> None:
    machine = Machine([BUSY] * 3)
    assert machine.start() == 4
    machine.now += 10 * STARTUP
    machine.loads += [BUSY] * 2
    assert machine.start() == 3


PROCESS = """
import sys, time
from actors.engines import start_clock
from actors.replicas.starting import starting
from actors.scheduling.starts import Attempt

def hang(step):
    with starting("policy-0", Attempt(), {startup}, lambda why: None):
        {step}
    print("up")

hang(None)
"""


def process(startup: float, step: str) -> subprocess.CompletedProcess[str]:
    text = PROCESS.format(startup=startup, step=step)
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)


def test_a_start_that_hangs_ends_with_its_process_and_says_where_it_stood() -> None:
    ended = process(0.05, "time.sleep(60)")
    assert ended.returncode == 1
    assert "in hang" in ended.stderr


def test_what_does_not_count_may_take_longer() -> None:
    ended = process(3, "with start_clock.standing(): time.sleep(4)")
    assert (ended.returncode, ended.stdout) == (0, "up\n"), ended.stderr


def test_a_process_that_meets_a_trouble_leaves() -> None:
    ended = process(60, "raise ConnectionRefusedError('connection refused')")
    assert ended.returncode == 1
    assert "start 1 of policy-0 is followed by another" in ended.stderr
