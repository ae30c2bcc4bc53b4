"""What a user sees of a run that does not come to its end: signals to a real process, and failures under way."""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.errors import UserError
from actors.work import Load
from orchestration.commands.main import main
from orchestration.problems import PromptFormat
from orchestration.runs import evaluation
from orchestration.runs.gauge import Pass
from orchestration.runs.prompts import Prompts
from orchestration.runs.run import Run
from orchestration.runs.session import Session
from orchestration.runs.status import read_status, standing
from tests.support.log_files import logged
from tests.support.places import ROOT
from tests.support.standing import at

NO_PROMPTS = Prompts(PromptFormat(), Path(), "2026-01-01")


def wait_until(child: subprocess.Popen[str], condition: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert child.poll() is None, "the run ended too soon"
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.1)


def made(folder: Path) -> int:
    """Outcomes that a run says it made."""
    status = read_status(folder)
    return 0 if status is None or status.reading is None else status.reading.progress.outcomes


def test_sigterm_is_the_first_ctrl_c(words: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run of mine"
    given = [*words, "dataset.count=3000", "strategies=[greedy,majority(n=2)]", f"folder={folder}"]
    command = [sys.executable, "-m", "orchestration.commands.main", "evaluate", *given]
    out = (tmp_path / "out").open("w")
    child = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=out, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(child, lambda: made(folder) > 0)
        assert standing(folder, read_status(folder), time.time()) == "running"
        child.send_signal(signal.SIGTERM)
        _, err = child.communicate(timeout=200)
    finally:
        child.kill()
        out.close()
    assert child.returncode == 130
    assert "finishing what is nearly done; Ctrl-C again stops at once" in (tmp_path / "out").read_text()
    assert "Traceback" not in err
    assert "SIGTERM received" not in err
    *_, last, way_on = err.splitlines()
    assert shlex.split(way_on.removeprefix("go on with: ")) == ["flopwise", "evaluate", *given]
    # What it says is done is there.
    done = sum(Run(folder).states().values())
    assert done < 6000
    assert last == (
        f"stopped with {done // 2:,} of 3,000 problems and {done:,} of 6,000 outcomes done, which are kept"
    )
    status = read_status(folder)
    assert status is not None
    assert (status.state, made(folder)) == ("stopped", done)
    assert f"go on with: {status.command}" == way_on
    assert not list((folder / "log").glob("segment-*")), "its folder is Parquet alone"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            UserError("folder = 'x': No space left on device: make room"),
            2,
            "error: folder = 'x': No space left",
        ),
        (RuntimeError("every replica died"), 1, "error: RuntimeError: every replica died"),
        (BrokenPipeError(32, "Broken pipe"), 1, "error: BrokenPipeError: [Errno 32] Broken pipe"),
    ],
)
def test_a_failure_under_way_names_the_command_that_goes_on(
    error: Exception,
    code: int,
    line: str,
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = ["evaluate", *words, f"folder={tmp_path / 'run of mine'}"]

    def fails(
        _: object, on_start: Callable[..., None], on_progress: Callable[..., None], command: str
    ) -> None:
        on_start(
            Session(NO_PROMPTS, [Pass(0, 1, 8)], problems=5, problems_done=1, outcomes=10, outcomes_done=2)
        )
        on_progress(at(2, 4))
        raise error

    monkeypatch.setattr(evaluation, "evaluate", fails)
    assert main(given) == code
    err = capsys.readouterr().err.splitlines()
    assert err[-3].startswith(line)
    assert err[-2] == "failed with 3 of 5 problems and 6 of 10 outcomes done, which are kept"
    assert err[-1] == f"go on with: {shlex.join(['flopwise', *given])}"
    # Only what is no mistake of the user's keeps its traceback.
    assert any("Traceback" in one for one in err) == isinstance(error, RuntimeError)


HOLDS = [(7, "p1/0", 1, "policy-0", 4_000_000), (8, "p2/0", 1, "policy-0", 1_000_000)]


@pytest.mark.parametrize(
    ("holds", "lost"),
    [
        ([], []),
        (HOLDS, ["2 tasks in hand were lost; the next start charges them at most 5.00e6 FLOPs"]),
        (HOLDS[:1], ["a task in hand was lost; the next start charges it at most 4.00e6 FLOPs"]),
    ],
)
def test_what_a_second_ctrl_c_lost_is_said(
    holds: list[object],
    lost: list[str],
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()

    def stopped(
        _: object, on_start: Callable[..., None], on_progress: Callable[..., None], command: str
    ) -> None:
        on_start(Session(NO_PROMPTS, [Pass(0, 0, 10)], problems=5, outcomes=10))
        on_progress(at(2, 4))
        logged(folder, 1, {"holds": holds})
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "evaluate", stopped)
    assert main(["evaluate", *words, f"folder={folder}"]) == 130
    err = capsys.readouterr().err.splitlines()
    assert err[:-2] == lost
    assert err[-2] == "stopped with 2 of 5 problems and 4 of 10 outcomes done, which are kept"


@pytest.mark.parametrize(
    ("done", "drawn", "said"),
    [
        (
            0,
            9,
            [
                "nothing in hand ended in time: a larger cluster.grace (here 30 seconds), or fewer problems at once "
                "(cluster.policy.max_sequences), lets more end after the first Ctrl-C",
                "stopped before anything had ended: there is nothing yet to be kept",
            ],
        ),
        (0, 0, ["stopped before anything had ended: there is nothing yet to be kept"]),
        (2, 0, ["stopped with 1 of 5 problems and 2 of 10 outcomes done, which are kept"]),
    ],
)
def test_where_nothing_had_ended_nothing_is_promised(
    done: int,
    drawn: int,
    said: list[str],
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(
        _: object, on_start: Callable[..., None], on_progress: Callable[..., None], command: str
    ) -> None:
        passes = [Pass(0, done // 2, 10 - done)]
        on_start(Session(NO_PROMPTS, passes, 5, problems_done=done // 2, outcomes=10, outcomes_done=done))
        on_progress(at(2, 0, load={"policy": Load(drawn, replicas=2)}))
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "evaluate", stopped)
    (tmp_path / "run").mkdir()
    assert main(["evaluate", *words, f"folder={tmp_path / 'run'}"]) == 130
    assert capsys.readouterr().err.splitlines()[:-1] == said


def test_a_start_that_is_stopped_at_once_has_drawn_nothing(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_: object, on_start: Callable[..., None], *__: object) -> None:
        on_start(Session(NO_PROMPTS, [Pass(0, 0, 10)], problems=5, outcomes=10))
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "evaluate", stopped)
    given = ["evaluate", *words, f"folder={tmp_path / 'run'}"]
    assert main(given) == 130
    way_on = f"go on with: {shlex.join(['flopwise', *given])}"
    assert capsys.readouterr().err.splitlines()[1:] == ["stopped before anything was drawn", way_on]


@pytest.mark.parametrize(
    ("holds", "charged"),
    [
        (
            HOLDS,
            "charged: 5.00e6 FLOPs for 2 tasks that were in hand, and lost, when the last start was cut off",
        ),
        (
            HOLDS[1:],
            "charged: 1.00e6 FLOPs for a task that was in hand, and lost, when the last start was cut off",
        ),
        ([], ""),
    ],
)
def test_the_next_start_says_what_it_charges_for_what_was_lost(
    holds: list[object],
    charged: str,
    words: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "_stream", stopped)
    given = ["evaluate", *words, "strategies=[greedy]", f"folder={tmp_path / 'run'}"]
    assert main(given) == 130
    assert "charged" not in capsys.readouterr().out
    logged(tmp_path / "run", 1, {"holds": holds})
    assert main(given) == 130
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("charged")] == ([charged] if charged else [])
    assert "; 1 strategy\n" in out


def test_a_failure_before_any_work_is_told_alone(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object, on_start: Callable[..., None], *__: object) -> None:
        on_start(Session(NO_PROMPTS, [Pass(0, 0, 10)], problems=5, outcomes=10))
        raise UserError("cluster cpus = 9: this machine has 2")

    monkeypatch.setattr(evaluation, "evaluate", fails)
    assert main(["evaluate", *words, f"folder={tmp_path / 'run'}"]) == 2
    assert capsys.readouterr().err == "error: cluster cpus = 9: this machine has 2\n"
