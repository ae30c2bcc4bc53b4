"""How a run of twenty problems stands: what its scheduler says, and what its folder tells."""

from __future__ import annotations

from pathlib import Path

from actors.work import Load, Progress
from orchestration.runs.gauge import Pass, Totals
from orchestration.runs.status import Status, StatusWriter, read_status

TOTALS = Totals(problems=20, problems_done=10, outcomes=40, outcomes_done=20, passes=(Pass(0, 10, 20),))


def at(seconds: float, outcomes: int = 0, **more: object) -> Progress:
    """How a run stands after so many seconds."""
    values: dict[str, object] = {
        "tasks_open": 5,
        "outcomes": outcomes,
        "answered": outcomes,
        "unaffordable": 0,
        "quarantined": 0,
        "spent": int(1e6 * seconds),
        "reserved": 0,
        "wasted": 0,
        "budget": None,
        "seconds": seconds,
        "load": {
            "policy": Load(int(1000 * seconds), 0.8 * seconds * 2, 2),
            "verifier": Load(int(500 * seconds), 0.25 * seconds, 1),
        },
        "oldest": (("p1", 41.0), ("p2", 12.0)),
    }
    return Progress(**(values | more))  # type: ignore[arg-type]


def writer(folder: Path) -> StatusWriter:
    return StatusWriter(folder, TOTALS, "paper", {"policy": 2, "verifier": 1}, "flopwise evaluate 'a b'")


def read(folder: Path) -> Status:
    status = read_status(folder)
    assert status is not None
    return status
