"""How often Ray is asked to come up, and what is said where it does not; no Ray is started."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from actors.cluster.ray_start import TRIES, import_path, start_ray
from actors.errors import UserError
from tests.support.places import ROOT

SLOW = RuntimeError(
    "The current node timed out during startup. This could happen because some of the raylet failed"
)


class Ray:
    """Stands for Ray: each call meets the next of `failures`."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.asked: list[dict[str, Any]] = []
        self.ended = 0

    def init(self, **options: Any) -> None:
        self.asked.append(options)
        if self.failures:
            raise self.failures.pop(0)

    def shutdown(self) -> None:
        self.ended += 1


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Ray:
    one = Ray()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", one.init)
    monkeypatch.setattr(ray, "shutdown", one.shutdown)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr("actors.cluster.ray_start._job", lambda: ("here", "1"))
    monkeypatch.setattr("actors.engines.troubles.PAUSE_S", 0.0)
    return one


@pytest.mark.parametrize(
    "trouble",
    [SLOW, ConnectionError("GCS did not answer"), ValueError("Ports 6379 and 6380: address already in use")],
    ids=repr,
)
def test_a_start_that_fails_of_what_passes_is_made_again(fake: Ray, trouble: Exception) -> None:
    fake.failures = [trouble] * (TRIES - 1)
    start_ray(cpus=2)
    assert len(fake.asked) == TRIES
    assert fake.ended == TRIES - 1, "half a Ray may be up"
    assert {one["address"] for one in fake.asked} == {"local"}


def test_a_ray_that_never_starts_is_given_up_in_one_line(fake: Ray) -> None:
    fake.failures = [SLOW] * 99
    with pytest.raises(UserError) as error:
        start_ray()
    assert str(error.value).startswith(
        f"Ray does not start on this machine: {SLOW} (tried {TRIES} times); its logs are in"
    )
    assert len(fake.asked) == TRIES


def test_a_signal_while_ray_starts_is_a_stop(fake: Ray) -> None:
    """Ray's own handler, which stands while it starts, exits with the signal's number."""
    fake.failures = [SystemExit(signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        start_ray()
    fake.failures = [SystemExit(1)]
    with pytest.raises(SystemExit):
        start_ray()


def test_a_cluster_that_does_not_answer_is_named(fake: Ray) -> None:
    fake.failures = [ConnectionError("no route")] * 99
    with pytest.raises(
        UserError, match=r"cluster.address = 'head:6379': it cannot be joined: no route \(tried 3 times\)"
    ):
        start_ray("head:6379")


def test_a_mistake_is_told_at_once(fake: Ray) -> None:
    fake.failures = [ValueError("Malformed address: head")] * 99
    with pytest.raises(
        UserError, match=r"cluster.address = .head.: it cannot be joined: Malformed address: head; null"
    ):
        start_ray("head")
    assert len(fake.asked) == 1


def test_workers_look_for_modules_where_this_process_does(
    fake: Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, script = tmp_path / "here", tmp_path / "scripts"
    for folder in (elsewhere, script):
        folder.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "argv", [str(script / "mine.py")])
    monkeypatch.setattr(sys, "path", [str(script), *sys.path])
    # As the command has it: the current folder is not on its path.
    assert import_path() == [str(script)]
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert import_path() == [str(script), str(elsewhere)]
    (elsewhere / "actors.py").touch()
    assert import_path() == [str(script), str(elsewhere), str(ROOT)]
    start_ray()
    job = fake.asked[0]["job_config"]
    assert job._py_driver_sys_path == import_path()
    assert job._runtime_env_has_working_dir(), "Ray adds no folder of its own"
