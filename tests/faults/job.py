"""The job that faults befall: the real command with bundled models, in a process of its own, watched.

It knows commands, folders and processes, nothing of what a fault is. Invariant: a command sees nothing of others' Ray: it
starts one of its own, with a folder of its own for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.messages import Hold
from actors.store.log import segments
from orchestration.runs.status import process_mark
from tests.support.places import ROOT
from tests.support.processes import descendants

LOOK = 0.1
"""Seconds between two looks at a run."""

LONGEST = 480.0
"""Seconds that a command may take on a machine that has other work."""

WASTE = ("failed", "lost")
"""Kinds of entries that nothing came of."""

REVISER = [
    "reviser=folder",
    # Whoever was trained to revise or not: what is at stake are its chains.
    f"reviser.path={ROOT / 'models' / 'arithmetic' / 'policy'}",
    "cluster.reviser.replicas=2",
    "cluster.reviser.cpus=0.5",
    "cluster.policy.cpus=0.5",
]


@dataclass(frozen=True, slots=True)
class Job:
    """Problems and strategies for two replicas that draw and a verifier on two cores: of a `reviser`, where chains are among
    the strategies, and a policy's beside them. A `remote` reviser holds no task: the policy's ask it for its draws."""

    problems: int
    strategies: tuple[str, ...]
    reviser: bool = False
    remote: bool = False

    @property
    def outcomes(self) -> int:
        return self.problems * len(self.strategies)

    @property
    def tasks(self) -> int:
        """Chains of a problem are a task of their own, unless the policy has a part in each."""
        return self.problems * (1 + (self.reviser and not self.remote))

    def replicas(self, kind: str) -> int:
        """How many there are of a model that draws."""
        return 1 if self.reviser and kind == "policy" else 2

    def holds_tasks(self, kind: str) -> bool:
        """Whether tasks are lost with such an actor."""
        return kind == "policy" or (kind == "reviser" and not self.remote)

    def words(self, folder: Path, budget: int) -> list[str]:
        """The command that runs it in a folder under a budget in FLOPs."""
        return [
            "evaluate",
            "domain=arithmetic",
            f"folder={folder}",
            f"dataset.count={self.problems}",
            f"strategies=[{','.join(self.strategies)}]",
            f"budget.flops={budget}",
            "report=table",
            "cluster.verifier.cpus=0.5",
            *(REVISER if self.reviser else ["cluster.policy.replicas=2", "cluster.policy.cpus=0.75"]),
        ]


JOB = Job(30, ("greedy", "majority(n=4)", "best_of_n(n=4)", "beam(n=4)", "best_of_n(n=16)", "beam(n=16)"))
"""Some fifteen seconds of work."""

SHORT = Job(10, JOB.strategies)
"""Some five seconds: more than actors live on after their driver."""


CHAINS = Job(
    20,
    (
        "greedy",
        "best_of_n(n=4)",
        "revision(sequential=4,parallel=2)",
        "revision(sequential=8,parallel=2,select=majority)",
    ),
    reviser=True,
)
"""The same of chains: most of the work is the reviser's."""

ASKED = Job(
    20,
    (
        "best_of_n(n=4)",
        "revision(sequential=6,parallel=2,first=policy)",
        "revision_search(of='best_of_n(n=4)',search='beam(n=8)',best=2)",
    ),
    reviser=True,
    remote=True,
)
"""The same of chains and trees that begin with the policy's samples, and go on with draws of a reviser elsewhere."""


class Command:
    """A `flopwise` command in a process of its own; what it says goes to one file, as a user reads it."""

    def __init__(self, words: list[str], place: Path) -> None:
        place.mkdir(parents=True)
        # Sockets have short names only, so this folder cannot be under pytest's.
        self._ray = Path(tempfile.mkdtemp(prefix="flopwise-"))
        script = shutil.which("flopwise", path=str(Path(sys.executable).parent))
        assert script, "the package's command is not installed beside this Python"
        environment = {name: text for name, text in os.environ.items() if name != "RAY_ADDRESS"}
        self._tally = place / "tally"
        self._tally.mkdir()
        path = [str(Path(__file__).parent / "tally"), *filter(None, [environment.get("PYTHONPATH")])]
        environment |= {"FAULTS_TALLY": str(self._tally), "PYTHONPATH": os.pathsep.join(path)}
        self._out = place / "out"
        self.began = time.monotonic()
        with self._out.open("w") as out:
            self._process = subprocess.Popen(
                [script, *words],
                cwd=ROOT,
                env=environment | {"RAY_TMPDIR": str(self._ray)},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._size, self._spoke = 0, self.began
        self.silence = 0.0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.poll()

    @property
    def said(self) -> str:
        return self._out.read_text()

    @property
    def lines(self) -> str:
        """What it has said before its report."""
        return self.said.partition("95% intervals")[0]

    @property
    def left(self) -> int:
        """Bytes that its Ray left on disk."""
        found = 0
        for file in self._ray.rglob("*"):
            # Agents of Ray's live on for a while.
            with contextlib.suppress(OSError):
                found += file.stat().st_size if file.is_file() else 0
        return found

    def done(self, pid: int | None = None) -> int:
        """FLOPs that its replicas that draw have really used so far, or that were used for the tasks of the one in process
        `pid`, whoever drew."""
        if pid is not None:
            return sum(struct.unpack("<2q", (self._tally / str(pid)).read_bytes()))
        return sum(struct.unpack("<2q", one.read_bytes())[0] for one in self._tally.iterdir())

    def listen(self) -> None:
        """Note for how long it has said nothing."""
        size, now = self._out.stat().st_size, time.monotonic()
        self.silence = max(self.silence, now - self._spoke)
        if size != self._size:
            self._size, self._spoke = size, now

    def interrupt(self) -> None:
        """What a terminal does at Ctrl-C: SIGINT to the whole group."""
        os.killpg(self.pid, signal.SIGINT)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self, seconds: float) -> int:
        return self._process.wait(seconds)

    def clear(self) -> None:
        """Leave nothing behind, whatever became of it."""
        if self.code is None:
            self.kill()
        shutil.rmtree(self._ray, ignore_errors=True)


@dataclass(slots=True)
class Charge:
    """A lease that was lost, when the log was seen to say so, and what it was charged."""

    seen: float
    lease: int
    task_id: str
    flops: int


@dataclass(slots=True)
class LogTail:
    """What the log of a run says, read as it grows: outcomes by key with the seconds they took, open leases, what each lease
    wasted, what those that were not lost with their replica were charged, by replica, and when leases, losses and lines at
    all were seen."""

    folder: Path
    committed: dict[str, float] = field(default_factory=dict)
    holds: dict[int, Hold] = field(default_factory=dict)
    leased: list[tuple[float, Hold]] = field(default_factory=list)
    lost: list[Charge] = field(default_factory=list)
    wasted: Counter[int] = field(default_factory=Counter)
    lines: list[float] = field(default_factory=list)
    paid: Counter[str] = field(default_factory=Counter)
    _read: dict[str, int] = field(default_factory=dict)

    def skip(self) -> None:
        """Leave out what is there already."""
        self._read |= {segment.name: segment.stat().st_size for segment in segments(self.folder)}

    def look(self) -> None:
        if not (self.folder / "log").is_dir():
            return
        for segment in segments(self.folder):
            try:
                with segment.open("rb") as file:
                    file.seek(self._read.get(segment.name, 0))
                    text = file.read()
            except FileNotFoundError:
                continue
            whole, mark, _ = text.rpartition(b"\n")
            self._read[segment.name] = self._read.get(segment.name, 0) + len(whole) + len(mark)
            for row in whole.splitlines():
                self._take(json.loads(row.partition(b" ")[2]))

    def _take(self, record: dict[str, Any]) -> None:
        now = time.monotonic()
        self.lines.append(now)
        for row in record.get("holds", ()):
            hold = Hold(*row)
            if hold.lease not in self.holds:
                self.leased.append((now, hold))
            self.holds[hold.lease] = hold
        for row in record.get("outcomes", ()):
            self.committed[row["key"]] = row["wall_seconds"]
        for row in record.get("ledger", ()):
            if row["kind"] in WASTE:
                self.wasted[row["lease"]] += row["flops"]
            if (row["purpose"], row["kind"]) == ("unknown", "lost"):
                self.lost.append(Charge(now, row["lease"], row["task_id"], row["flops"]))
            elif row["lease"] in self.holds:
                self.paid[self.holds[row["lease"]].replica] += row["flops"]
        for lease in record.get("closed", ()):
            self.holds.pop(lease, None)


@dataclass(slots=True)
class Watch:
    """A command under way, with its folder. `titles` are the processes under it at the last look, by pid; `names` the
    actors that were seen to start in them."""

    command: Command
    log: LogTail
    titles: dict[int, str] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def look(self) -> None:
        self.command.listen()
        self.log.look()
        self.titles = descendants(self.command.pid)
        for pid, title in self.titles.items():
            # Ray's title of a constructor: "ray::NAME-RUN:CLASS.__init__".
            if title.startswith("ray::") and title.endswith(".__init__") and ":" in title[5:]:
                self.names[pid] = title[5:].rpartition(":")[0].rpartition("-")[0]

    def processes(self, kind: str) -> dict[int, bool]:
        """Processes of the actors of a class, and whether they are up (made, and not being made)."""
        return {
            pid: not title.endswith("__init__")
            for pid, title in self.titles.items()
            if title.startswith(f"ray::{kind}") or (title.startswith("ray::") and f":{kind}." in title)
        }

    def until(self, condition: Callable[[], bool], what: str, seconds: float = LONGEST) -> None:
        """Look until the condition holds; fails where that takes long."""
        limit = time.monotonic() + seconds
        while True:
            self.look()
            if condition():
                return
            assert time.monotonic() < limit, f"waited in vain for {what}:\n{self.command.said}"
            time.sleep(LOOK)


class Living:
    """The processes under a command, to be looked for when it is gone."""

    def __init__(self, root: int) -> None:
        self._marks = {pid: process_mark(pid) for pid in descendants(root)}

    def left(self) -> dict[int, str]:
        """Those that live still, with those they have started, and their titles."""
        found: dict[int, str] = {}
        for pid, mark in self._marks.items():
            if mark is not None and process_mark(pid) == mark:
                found |= {pid: _title(pid)} | descendants(pid)
        return found


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
