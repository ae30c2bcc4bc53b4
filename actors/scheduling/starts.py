"""How often each replica has been started without coming up, and whether its kind ever has: what a start that fails asks
before it is tried again.

Synchronous, Ray-free. Invariant: a replica that came up begins to count anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field

TRIES = 3
"""Starts in a row that a replica has at least, however long they take."""

PAUSE_S = 1.0
"""Seconds before the second start; twice as many before each further one."""

LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a replica: which one in a row, how many seconds after the first of them, whether a replica of its role has
    come up in this run (`proven`: then settings and files are right), and what the last one failed of, where it said so."""

    number: int = 1
    seconds: float = 0.0
    proven: bool = False
    why: str = ""

    def last(self, startup: float) -> bool:
        """Whether nothing comes after it: the start-up time is over, and it was tried often enough."""
        return self.number >= TRIES and self.seconds >= startup

    def too_late(self, startup: float) -> bool:
        """Whether the one before it was the last: nobody has told, as its process was killed, crashed, or failed just in
        time."""
        return self.number > TRIES and self.seconds >= startup

    @property
    def pause(self) -> float:
        """Seconds to wait before it."""
        return 0.0 if self.number == 1 else float(min(PAUSE_S * 2.0 ** (self.number - 2), LONGEST_PAUSE_S))


@dataclass(slots=True)
class Starts:
    """The starts of a run's replicas, by name; a role is what comes before the name's last dash."""

    _begun: dict[str, tuple[int, float]] = field(default_factory=dict)
    _why: dict[str, str] = field(default_factory=dict)
    _proven: set[str] = field(default_factory=set)
    _placed: set[str] = field(default_factory=set)

    @property
    def placed(self) -> set[str]:
        """Replicas that have found a machine."""
        return self._placed

    def begin(self, replica: str, now: float) -> Attempt:
        """A replica has found a machine, and is about to load."""
        number, first = self._begun.get(replica, (0, now))
        self._begun[replica] = number + 1, first
        self._placed.add(replica)
        why = self._why.pop(replica, "")
        return Attempt(number + 1, now - first, _role(replica) in self._proven, why)

    def failed(self, replica: str, why: str) -> None:
        """It could not load, and its process leaves to be started again."""
        self._why[replica] = why

    def up(self, replica: str) -> None:
        """It has loaded."""
        self._begun.pop(replica, None)
        self._proven.add(_role(replica))


def _role(replica: str) -> str:
    return replica.rpartition("-")[0]
