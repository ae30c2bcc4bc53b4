"""Whether this machine, or the cluster that is named, can take a run: room for the replicas, a Ray that answers, a place
for a Ray of its own.

It asks files, the environment and one port, and starts nothing. Invariant: what would keep a run from starting is refused
in a few seconds, by the setting or variable that says it.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from actors.engines.plan import ReplicaShare
from actors.errors import UserError, counted
from actors.strategy import Role
from orchestration.setup.settings import ClusterSettings

ANSWER_S = 5.0
"""Seconds that a cluster's head may take to answer."""

_ADDRESS = re.compile(r"(?:ray://)?(?P<host>[\w.-]+|\[[\da-fA-F:.]+\]):(?P<port>\d{1,5})")

_WORDS = ("auto", "local")
"""What Ray takes besides an address."""

_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""Where Ray puts the longest of its sockets, below its folder of temporary files."""

_LONGEST_SOCKET = 107
"""Bytes; Linux allows no more."""


def check_machine(cluster: ClusterSettings, shares: Mapping[Role, ReplicaShare]) -> None:
    """Raise UserError where replicas of these shares could not start."""
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        return
    address = cluster.address or os.environ.get("RAY_ADDRESS")
    if address:
        _check_address("cluster.address" if cluster.address else "RAY_ADDRESS", address)
        return
    _check_cpus(shares)
    _check_gpus(shares)
    _check_temporary()
    _check_home()


def _check_address(field: str, address: str) -> None:
    """Raise UserError for what is no address, and where nobody answers: Ray itself would try for minutes."""
    if address in _WORDS:
        return
    found = _ADDRESS.fullmatch(address)
    instead = (
        "null starts Ray on this machine"
        if field == "cluster.address"
        else "without it Ray starts on this machine"
    )
    if found is None or not 0 < int(found["port"]) < 1 << 16:
        raise UserError.of(field, address, f"write host:port, as in 10.0.0.1:6379, or auto; {instead}")
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), ANSWER_S).close()
    except OSError as error:
        why = error.strerror or str(error)
        mend = f"nobody answers there ({why}): start Ray on that machine (ray start --head), or mend the address; {instead}"
        raise UserError.of(field, address, mend) from None


def _check_cpus(shares: Mapping[Role, ReplicaShare]) -> None:
    """Who fits nowhere would wait for ever."""
    need, there = sum(one.cpus * one.replicas for one in shares.values()), os.cpu_count() or 1
    if need > there + 1e-6:
        role, most = max(shares.items(), key=lambda item: item[1].cpus * item[1].replicas)
        asked = ", ".join(f"{name} {one.replicas} x {one.cpus:g}" for name, one in shares.items())
        mend = (
            f"the replicas take {counted(need, 'CPU')} ({asked}) and this machine has {there}: lower the replicas or their "
            "cpus, or join a cluster by cluster.address"
        )
        raise UserError.of(f"cluster.{role}.replicas", most.replicas, mend)


def _check_gpus(shares: Mapping[Role, ReplicaShare]) -> None:
    asking = {role: one for role, one in shares.items() if one.gpus or one.device == "cuda"}
    if not asking:
        return
    from actors.cluster.ray_start import gpus_here

    there = gpus_here()
    need = sum(one.gpus * one.replicas for one in asking.values())
    role, most = max(asking.items(), key=lambda item: item[1].gpus * item[1].replicas)
    has = f"this machine has {there or 'none'} (CUDA_VISIBLE_DEVICES counts)"
    if need > there + 1e-6:
        asked = ", ".join(f"{name} {one.replicas} x {one.gpus:g}" for name, one in asking.items())
        take = f"the replicas take {counted(need, 'GPU')} ({asked})"
        mend = f"{take} and {has}: lower them, or join a cluster by cluster.address"
        raise UserError.of(f"cluster.{role}.gpus", most.gpus, mend)
    if not there:
        mend = f"it needs a GPU, and {has}: set it to cpu, or join a cluster by cluster.address"
        raise UserError.of(f"cluster.{role}.device", most.device, mend)


def _check_temporary() -> None:
    """Raise UserError where Ray cannot keep its sockets."""
    name = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR"
    folder = os.environ.get(name)
    if sys.platform != "linux" or not folder:
        return
    spare = _LONGEST_SOCKET - len(os.fsencode(folder + _SOCKET))
    if spare < 0:
        most = len(os.fsencode(folder)) + spare
        mend = f"it is too long for Ray's sockets, which leave it {most} bytes: set RAY_TMPDIR=/tmp, or another short folder"
        raise UserError.of(name, folder, mend)
    if not _may_make(Path(folder) / "ray"):
        raise UserError.of(
            name,
            folder,
            "Ray keeps its files there, and may not write: set RAY_TMPDIR to a folder that you may write",
        )


def _check_home() -> None:
    """Raise UserError where Ray cannot keep the token that its processes know one another by."""
    if any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        return
    token = Path(os.path.expanduser("~")) / ".ray" / "auth_token"
    if os.environ.get("RAY_AUTH_MODE") == "disabled" or token.is_file() or _may_make(token):
        return
    mend = "Ray keeps its token there (.ray/auth_token), and may not write: set HOME to a folder that you may write"
    raise UserError.of("HOME", os.environ.get("HOME"), mend)


def _may_make(path: Path) -> bool:
    """Whether a file may be made there, with the folders that lack; tried, for some places refuse what their permissions
    allow."""
    there = next((one for one in path.parents if one.exists()), Path("/"))
    try:
        with tempfile.TemporaryDirectory(prefix=".flopwise-", dir=there):
            return True
    except OSError:
        return False
