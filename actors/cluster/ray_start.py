"""Ray as a driver joins or starts it, with the packages that every process of it is to have.

It knows nothing of actors. Invariant: a Ray that is up already is used as it is, or refused with the reason.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from pathlib import Path
from typing import Any

import ray

from actors.errors import UserError


def start_ray(address: str | None = None, cpus: int | None = None, packages: tuple[Path, ...] = ()) -> None:
    """Join the cluster at `address` (or at RAY_ADDRESS), or start one of this machine's cores, whatever else runs here.

    Every process of this driver gets `packages` (folders of packages, or modules), through Ray's runtime environment.
    Raises UserError where Ray is up here already and has others.
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
    _join_or_start(address, cpus, _environment(packages))
    _sent[_job()] = set(packages)
    if callable(handler) and threading.current_thread() is threading.main_thread():
        # Ray puts a handler of its own in place of the driver's.
        signal.signal(signal.SIGTERM, handler)


# What this process has sent with its jobs: Ray takes packages only as a job begins.
_sent: dict[tuple[str, str], set[Path]] = {}


def _job() -> tuple[str, str]:
    context = ray.get_runtime_context()
    return context.gcs_address, context.get_job_id()


def _environment(packages: tuple[Path, ...]) -> dict[str, Any] | None:
    if not packages:
        return None
    return {"py_modules": [str(package) for package in packages], "excludes": ["__pycache__"]}


def _join_or_start(address: str | None, cpus: int | None, environment: dict[str, Any] | None) -> None:
    if address or os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, log_to_driver=False, configure_logging=False, runtime_env=environment)
        return
    ray.init(
        address="local",
        num_cpus=cpus or os.cpu_count(),
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
        object_store_memory=200 << 20,
        runtime_env=environment,
    )
