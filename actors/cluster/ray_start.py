"""Ray as a driver joins or starts it, with the packages that every process of it is to have.

It knows nothing of actors. Invariants: a Ray that is up already is used as it is, or refused with the reason; one that
does not come up is tried again before it is given up, in one line.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray._private import services
from ray.job_config import JobConfig

from actors.engines.troubles import insist, kind_of
from actors.errors import UserError

TRIES = 3
"""Starts of Ray, or calls at a cluster, before it is given up."""


def start_ray(address: str | None = None, cpus: int | None = None, packages: tuple[Path, ...] = ()) -> None:
    """Join the cluster at `address` (or at RAY_ADDRESS), or start one of this machine's cores, whatever else runs here.

    Every process of this driver gets `packages` (folders of packages, or modules), through Ray's runtime environment.
    Raises UserError where Ray is up here already and has others, and where it does not come up.
    """
    if ray.is_initialized():
        if not set(packages) <= _sent.get(_job(), set()):
            mend = (
                "Ray is up in this process already, without them: end it before (ray.shutdown()), or start it with "
                "runtime_env={'py_modules': [...]} and leave them out here"
            )
            raise UserError.of("cluster.packages", [str(package) for package in packages], mend)
        return
    # At each start Ray would tell that token authentication, its default, is on.
    logging.getLogger("ray._private.authentication.authentication_token_setup").setLevel(logging.ERROR)
    handler = signal.getsignal(signal.SIGTERM)
    with _groups_of_their_own(), _stopped_by_a_signal():
        _insist(address or os.environ.get("RAY_ADDRESS"), cpus, _environment(packages))
    _sent[_job()] = set(packages)
    if callable(handler) and threading.current_thread() is threading.main_thread():
        # Ray puts a handler of its own in place of the driver's.
        signal.signal(signal.SIGTERM, handler)


def _job_config() -> Any:
    """A job whose processes look for modules where this one does. By itself Ray puts the current folder before everything:
    a user's own statistics.py there would take the place of Python's, and an actors.py that of flopwise's."""
    config = JobConfig(_py_driver_sys_path=import_path())
    # Ray adds no folder to those of a job that it believes to have one of its own.
    config._runtime_env_has_working_dir = lambda: True
    return config


def import_path() -> list[str]:
    """Folders that a worker puts first on its path, the last before the others: this process's script and current folder,
    where it looks for modules itself; and flopwise's own, where one of those has something of the name of its packages."""
    known = {os.path.realpath(one) for one in sys.path}
    script = os.path.dirname(os.path.realpath(sys.argv[0]))
    folders = [one for one in dict.fromkeys((script, os.path.realpath(os.curdir))) if one in known]
    own = Path(__file__).resolve().parents[2]
    names = [path.stem for path in (own / "actors", own / "orchestration", own / "conf", own / "flopwise.py")]
    taken = any(
        os.path.isdir(os.path.join(folder, name)) or os.path.isfile(os.path.join(folder, f"{name}.py"))
        for folder in folders
        for name in names
        if folder != str(own)
    )
    return [*folders, str(own)] if taken else folders


def gpus_here() -> int:
    """GPUs that a Ray of this machine would have."""
    from ray._private.accelerators import get_accelerator_manager_for_resource

    manager = get_accelerator_manager_for_resource("GPU")
    count: int = manager.get_current_node_num_accelerators()
    visible: list[str] | None = manager.get_current_process_visible_accelerator_ids()
    return count if visible is None else min(count, len(visible))


# What this process has sent with its jobs: Ray takes packages only as a job begins.
_sent: dict[tuple[str, str], set[Path]] = {}


def _job() -> tuple[str, str]:
    context = ray.get_runtime_context()
    return context.gcs_address, context.get_job_id()


def _environment(packages: tuple[Path, ...]) -> dict[str, Any] | None:
    if not packages:
        return None
    return {"py_modules": [str(package) for package in packages], "excludes": ["__pycache__"]}


def _insist(address: str | None, cpus: int | None, environment: dict[str, Any] | None) -> None:
    """Join or start, and where that fails of what may pass (a port that another took, a machine too busy to start it in
    time), from the beginning once more."""
    tries = 0

    def begin() -> None:
        nonlocal tries
        tries += 1
        try:
            _join_or_start(address, cpus, environment)
        except Exception:
            # Half a Ray may be up: the next one has a session and ports of its own.
            ray.shutdown()
            raise

    try:
        insist(begin, tries=TRIES, passes=_may_pass)
    except Exception as error:
        raise _given_up(address, tries, error) from error


def _may_pass(error: Exception) -> bool:
    kind = kind_of(error)
    return kind == "trouble" or (kind == "unknown" and not isinstance(error, ValueError | TypeError))


def where_to_look() -> str:
    """What is to be said wherever Ray itself does not do what it is asked on this machine."""
    logs = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "session_*" / "logs"
    return f"its logs are in {logs}; where the machine is busy, give the same command when less runs on it"


def _given_up(address: str | None, tries: int, error: Exception) -> UserError:
    lines = str(error).strip().splitlines() or [repr(error)]
    why = f"{lines[0][:300]} (tried {tries} times)" if tries > 1 else lines[0][:300]
    if address is not None:
        return UserError.of(
            "cluster.address", address, f"it cannot be joined: {why}; null starts Ray on this machine"
        )
    return UserError(f"Ray does not start on this machine: {why}; {where_to_look()}")


@contextmanager
def _groups_of_their_own() -> Iterator[None]:
    """Each process of Ray that is started meanwhile leads a process group: a signal to the driver's (of `timeout`, of a batch
    scheduler, of a shell's job control) reaches the driver alone, which ends them in good order."""
    if sys.platform != "linux":
        # Elsewhere the driver's group is how Ray finds them once the driver is dead; Linux ends them by itself.
        yield
        return
    popen = services.ConsolePopen
    services.ConsolePopen = partial(popen, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = popen


@contextmanager
def _stopped_by_a_signal() -> Iterator[None]:
    """SIGTERM is a stop like Ctrl-C, also while Ray's own handler stands: that one exits with the signal's number."""
    try:
        yield
    except SystemExit as exit:
        if exit.code != signal.SIGTERM:
            raise
        raise KeyboardInterrupt from None


def _join_or_start(address: str | None, cpus: int | None, environment: dict[str, Any] | None) -> None:
    if address is not None:
        ray.init(
            address=address,
            log_to_driver=False,
            configure_logging=False,
            runtime_env=environment,
            job_config=_job_config(),
        )
        return
    ray.init(
        address="local",
        num_cpus=cpus or os.cpu_count(),
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=200 << 20,
        runtime_env=environment,
        job_config=_job_config(),
    )
