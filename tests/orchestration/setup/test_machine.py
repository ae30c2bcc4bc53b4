"""What a machine or a cluster cannot take is refused in a moment, by the setting or the variable that says it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from actors.engines.plan import ReplicaShare
from actors.errors import UserError
from orchestration.setup.machine import check_machine
from orchestration.setup.settings import ClusterSettings


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for name in (
        "RAY_ADDRESS",
        "RAY_TMPDIR",
        "TMPDIR",
        "RAY_AUTH_TOKEN",
        "RAY_AUTH_TOKEN_PATH",
        "RAY_AUTH_MODE",
    ):
        monkeypatch.delenv(name, raising=False)


def check(address: str | None = None, **share: object) -> None:
    check_machine(ClusterSettings(address=address), {"policy": ReplicaShare(**share)})  # type: ignore[arg-type]


@pytest.fixture
def port() -> Iterator[int]:
    """One that is taken, so that nobody comes to listen at it."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield int(one.getsockname()[1])


@pytest.mark.parametrize(
    "address", ["foo", "10.0.0.1", "10.0.0.1:", "10.0.0.1:99999", "http://a:1", "a b:1", ":6379"]
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(UserError, match=r"^cluster.address = .*: write host:port"):
        check(address)


def test_an_address_where_nobody_answers(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UserError, match=r"^cluster.address = .*: nobody answers there .Connection refused.: start Ray"
    ):
        check(f"127.0.0.1:{port}")
    with pytest.raises(UserError, match=r"nobody answers there"):
        check(f"ray://127.0.0.1:{port}")
    with pytest.raises(UserError, match=r"nobody answers there"):
        check("no-such-host.invalid:6379")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(UserError, match=r"^RAY_ADDRESS = .*: nobody answers there"):
        check()


def test_an_address_where_somebody_answers_and_words_of_rays() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        check(f"127.0.0.1:{server.getsockname()[1]}")
    check("auto")


def test_gpus_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.cluster.ray_start.gpus_here", lambda: 0)
    with pytest.raises(UserError, match=r"^cluster.policy.gpus = 1.0: .*this machine has none"):
        check(gpus=1.0)
    with pytest.raises(
        UserError, match=r"^cluster.policy.device = 'cuda': it needs a GPU, and this machine has none"
    ):
        check(device="cuda")
    monkeypatch.setattr("actors.cluster.ray_start.gpus_here", lambda: 1)
    check(gpus=0.5, replicas=2)
    with pytest.raises(UserError, match=r"the replicas take 2 GPUs .policy 2 x 1. and this machine has 1"):
        check(gpus=1.0, replicas=2)


def test_a_folder_that_is_too_long_for_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.setenv(name, f"/tmp/{'l' * 60}")
        with pytest.raises(UserError, match=rf"^{name} = .*: it is too long for Ray's sockets.* 39 bytes"):
            check()
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    check()


@pytest.mark.parametrize("name", ["HOME", "RAY_TMPDIR"])
def test_places_where_ray_may_not_write(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "/proc/none")
    with pytest.raises(UserError, match=rf"^{name} = '/proc/none': Ray keeps its .*, and may not write"):
        check()


def test_a_token_elsewhere_needs_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/none")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "token")
    check()
