"""`flopwise status` on folders in every state, made by hand, and what it needs."""

import json
import re
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from actors.store.log import FolderLock
from actors.work import Load
from orchestration.commands import status as command
from orchestration.commands.main import main
from orchestration.runs.gauge import Gauge, Pass
from orchestration.runs.run import Run
from orchestration.runs.status import STATUS_FORMAT, Status, process_mark, read_status
from tests.support.handmade import write_run
from tests.support.imports import loaded_by
from tests.support.log_files import ledger_part, logged
from tests.support.standing import TOTALS, at, read, writer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of six outcomes, with a ledger."""
    folder = write_run(tmp_path / "run", problems=3, ladder=(1,))
    rows = [
        {"purpose": "policy", "kind": "kept", "flops": 6_000_000},
        {"purpose": "policy", "kind": "pruned", "flops": 1_000_000},
        {"purpose": "verifier", "kind": "kept", "flops": 3_000_000},
    ]
    ledger_part(folder, 1, rows)
    return folder


def write(folder: Path, **changes: Any) -> Status:
    """A status.json of a run of this process, as it is in the midst of it, but for `changes`."""
    gauge = Gauge(TOTALS.outcomes_left)
    gauge.observe(at(1, 1))
    reading = gauge.observe(at(11, 10, budget=10**9, reserved=5_000_000, wasted=2_000_000))
    with writer(folder):
        status = replace(read(folder), reading=reading)
    status = replace(status, **({"state": "running"} | changes))
    (folder / "status.json").write_text(json.dumps({"format": STATUS_FORMAT} | asdict(status)))
    assert read_status(folder) == status
    return status


def said(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["status", str(folder), *options]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return " ".join(captured.out.split())


def test_a_run_that_goes_on(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = write(folder)
    out = said(folder, capsys)
    assert f"running on {status.host}, pid {status.pid}, since {command.moment(status.started)}" in out
    for part in (
        "problems 15 of 20 outcomes 30 of 40, 20 of them before this start",
        "in folder 6 outcomes: 6 answered",
        "tokens 1,000 drawn/s, 500 scored/s",
        "time 00:11 so far, left: about 00:11",
        "replicas policy 2 of 2 up, 80% busy, verifier 1 of 1 up, 25% busy",
        "budget 1.30e7 of 1.00e9 (1%) in paper FLOPs; 2.00e6 of it wasted; 5.00e6 more reserved",
        "policy 6.00e6 1.00e6 70.0%",
        "verifier 3.00e6 - 30.0%",
        "all 9.00e6 1.00e6 100.0%",
    ):
        assert part in out, part
    assert "waiting" not in out
    assert "oldest" not in out


def test_why_it_waits(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gauge = Gauge(TOTALS.outcomes_left)
    gauge.observe(at(1, 1))
    what = "a policy replica (2 x 1 CPU asked for)"
    write(
        folder,
        reading=gauge.observe(
            at(60, 1, load={"policy": Load(60_000), "verifier": Load(30_000, 15.0, 1)}, waiting_for=what)
        ),
    )
    out = said(folder, capsys)
    assert "policy 0 of 2 up" in out
    assert f"waiting for {what}" in out
    assert "nothing ended for 30 s; oldest tasks: p1 (00:41), p2 (00:12)" in out


def test_a_run_without_a_verifier_or_a_budget(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reading = Gauge(20).observe(at(5, 0, load={"policy": Load(5_000, 8.0, 2)}))
    write(folder, reading=reading, replicas={"policy": 2})
    out = said(folder, capsys)
    assert "verifier 0" not in out
    assert "scored/s" not in out
    assert "spent 5.00e6 in paper FLOPs; 0.00e0 more reserved" in out
    assert "left: not known yet" in out


def test_before_the_scheduler_has_said_a_word(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, reading=None)
    out = said(folder, capsys)
    assert "problems 10 of 20 outcomes 20 of 40" in out
    assert "tokens" not in out


def test_a_killed_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = write(folder, process=1)
    out = said(folder, capsys)
    assert "killed: nobody writes this folder; its last word is of" in out
    assert "go on with: flopwise evaluate 'a b'" in out
    assert "outcomes 30 of 40, 20 of them before this start at its last word" in out
    # By the ledger, which may know more.
    assert "budget 1.00e7 of 1.00e9 (1%) in paper FLOPs" in out
    assert "left:" not in out
    assert "in hand" not in out
    assert status.process != process_mark(status.pid)


def test_what_a_killed_run_had_in_hand(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    holds = [
        (7, "p1/0", 1, "policy-0", 4_000_000),
        (8, "p2/0", 1, "policy-0", 1_000_000),
        (9, "p3/0", 2, "policy-1", 5),
    ]
    logged(folder, 2, {"holds": holds}, {"closed": [9]})
    write(folder, process=1)
    assert "open 2 tasks in hand were lost; the next start charges them at most 5.00e6 FLOPs" in said(
        folder, capsys
    )
    # What goes on has them in hand still.
    write(folder)
    assert "lost" not in said(folder, capsys)


def test_the_command_that_goes_on_is_one_line_on_any_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    long = "flopwise evaluate " + " ".join(f"one.setting.{n}={n}" for n in range(20))
    write(folder, state="stopped", command=long)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["status", str(folder)]) == 0
    assert f"\ngo on with: {long}\n" in capsys.readouterr().out


def test_a_killed_run_that_left_no_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"state": "running"}))
    out = said(folder, capsys)
    assert "killed: nobody writes this folder" in out
    assert "the same command goes on where it stopped" in out
    lock = FolderLock(folder)
    assert "running in folder 6 outcomes" in said(folder, capsys)
    lock.release()


def test_another_machine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, host="node-7", written=time.time() - 3)
    told = re.search(r"\(another machine: told from its last word, (\d+) s ago\)", said(folder, capsys))
    assert told is not None
    assert 3 <= int(told[1]) < 60
    write(folder, host="node-7", written=time.time() - 600)
    out = said(folder, capsys)
    assert "silent: no word for 10:0" in out
    assert "on node-7" in out
    assert "this machine cannot see whether it lives" in out


def test_a_run_that_ended(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = write(folder, state="finished")
    out = said(folder, capsys)
    assert f"finished at {command.moment(status.written)}" in out
    assert "go on" not in out
    assert "tokens 11,000 drawn in 00:11" in out
    status = write(folder, state="stopped")
    out = said(folder, capsys)
    assert f"stopped at {command.moment(status.written)}" in out
    assert "go on with: flopwise evaluate 'a b'" in out
    write(folder, state="failed", reason="OSError: [Errno 28] No space left on device")
    out = said(folder, capsys)
    assert ": OSError: [Errno 28] No space left on device " in out
    assert "go on with: flopwise evaluate 'a b'" in out
    assert "waiting for" not in out


def test_a_finished_run_without_a_status(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "finished in folder 6 outcomes: 6 answered" in said(folder, capsys)


@pytest.mark.parametrize("options", [[], ["--watch"]])
def test_a_folder_without_a_run(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(tmp_path), *options]) == 2
    mend = "flopwise evaluate folder=... starts one"
    told = f"error: run = '{tmp_path}': there is no run in this folder; "
    assert capsys.readouterr() == ("", f"{told}{mend}\n")
    inside = write_run(tmp_path / "run", problems=1)
    assert main(["status", str(tmp_path), *options]) == 2
    assert capsys.readouterr() == ("", f"{told}name one of {inside}\n")


def test_a_finished_run_of_several_seeds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    totals = replace(TOTALS, passes=(Pass(3, 10, 8), Pass(1, 10, 12)))
    write(folder, state="finished", totals=totals, reading=Gauge(20).observe(at(11, 20)))
    assert "problems 20 of 20 with all 2 seeds outcomes 40 of 40" in said(folder, capsys)
    write(folder, state="stopped", totals=totals, reading=Gauge(20).observe(at(11, 19)))
    assert "of 20 of seed 1 outcomes 39 of 40" in said(folder, capsys)


def test_mistakes_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(folder.parent / "runn")]) == 2
    assert f"there is no such folder (did you mean '{folder}'?)" in capsys.readouterr().err
    for words in ([], ["a", "b"], ["count=3"]):
        assert main(["status", *words]) == 2
        assert "name one run, as in: flopwise status runs/evaluate" in capsys.readouterr().err
    assert main(["status", str(folder), "--wach"]) == 2
    assert "did you mean '--watch'?" in capsys.readouterr().err


def test_watching_ends_with_the_run(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder)
    waits: list[float] = []

    def later(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            write(folder, state="finished")

    monkeypatch.setattr(command.time, "sleep", later)
    out = said(folder, capsys, "--watch")
    assert waits == [2.0, 2.0]
    assert (out.count("running on"), out.count("finished at")) == (2, 1)


def test_ctrl_c_ends_the_watching_alone(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder)

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", interrupted)
    assert "running on" in said(folder, capsys, "--watch")


def test_large_tables_are_not_read_at_every_look(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, reads = [0.0], []

    def slow(_: object) -> dict[str, int]:
        reads.append(clock[0])
        clock[0] += 1.0
        return {"answered": 6}

    write(folder)
    monkeypatch.setattr(Run, "states", slow)
    monkeypatch.setattr(command.time, "monotonic", lambda: clock[0])
    looks = command._looks(folder)
    for _ in range(30):
        assert next(looks).states == {"answered": 6}
        clock[0] += 2.0
    assert reads == [0.0, 21.0, 42.0]
    write(folder, state="finished")
    next(looks)
    assert len(reads) == 4


def test_it_needs_neither_ray_nor_torch(folder: Path) -> None:
    write(folder)
    code = f"from orchestration.commands.main import main\nassert main(['status', {str(folder)!r}]) == 0"
    assert loaded_by(code, ("torch", "ray", "transformers", "hydra", "matplotlib")) == []
