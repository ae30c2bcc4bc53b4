"""Runs pure functions in helper processes that can be killed: for parsers that may never return.

It knows nothing of what it runs. Invariant: a call returns within its deadline plus a process start, whatever
the function does; a killed, crashed or failing call gives None and the next one finds a fresh process.

Helpers are started as `python -m module`, never forked: a fork of a process with threads (torch, Ray) can
hang, and multiprocessing's spawn runs the caller's main script again.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

from actors.errors import UserError

_START_SECONDS = 120.0
_MEMORY_BYTES = 4 * 2**30


class DeadlinePool:
    """`workers` helper processes that answer calls of a module's functions (see `serve`); thread-safe.

    They start with the first calls that need them and end with this object or this process.
    """

    def __init__(self, module: str, workers: int, deadline: float) -> None:
        self._module, self._deadline = module, deadline
        self._idle: queue.LifoQueue[_Helper | None] = queue.LifoQueue()
        for _ in range(workers):
            self._idle.put(None)
        self._helpers: set[_Helper] = set()
        self._lock = threading.Lock()
        weakref.finalize(self, _stop_all, self._helpers)

    def call(self, function: str, *arguments: str) -> Any:
        """Return the function's JSON result; None if it failed, died or passed the deadline."""
        helper = self._idle.get()
        try:
            if helper is None:
                helper = _Helper(self._module, self._deadline)
                with self._lock:
                    self._helpers.add(helper)
            try:
                return helper.ask(function, arguments, self._deadline)
            except (EOFError, OSError, TimeoutError):
                helper.stop()
                with self._lock:
                    self._helpers.discard(helper)
                helper = None
                return None
        finally:
            self._idle.put(helper)


@functools.cache
def shared_pool(module: str, workers: int, deadline: float) -> DeadlinePool:
    """The one pool that this process has of a module, so many workers and this deadline."""
    return DeadlinePool(module, workers, deadline)


class _Helper:
    """One helper process and the socket to it. JSON crosses, never pickles: arguments are a model's text."""

    def __init__(self, module: str, deadline: float) -> None:
        ours, theirs = socket.socketpair()
        path = os.pathsep.join(filter(None, sys.path))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno()), str(deadline)],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={
                    **os.environ,
                    "OMP_NUM_THREADS": "1",
                    "PYTHONPATH": path,
                },
            )
        self._connection = Connection(ours.detach())
        # Imports are no part of a call's deadline.
        if not self._connection.poll(_START_SECONDS):
            self.stop()
            raise RuntimeError(f"{module} did not start within {_START_SECONDS:.0f} s")
        try:
            self._connection.recv_bytes()
        except EOFError:
            self.stop()
            raise RuntimeError(
                f"{module} ended while starting: run `python -m {module} 0 1` to see why"
            ) from None

    def ask(self, function: str, arguments: tuple[str, ...], deadline: float) -> Any:
        self._connection.send_bytes(json.dumps([function, *arguments]).encode())
        if not self._connection.poll(deadline):
            raise TimeoutError
        return json.loads(self._connection.recv_bytes())

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._connection.close()


def _stop_all(helpers: set[_Helper]) -> None:
    for helper in list(helpers):
        helper.stop()
    helpers.clear()


def serve(functions: Mapping[str, Callable[..., Any]]) -> None:
    """Answer calls on the socket that the command line names until the caller is gone: a helper's main."""
    if len(sys.argv) != 3:
        raise UserError("this module is started by flopwise itself, with a socket and a deadline")
    connection, deadline = Connection(int(sys.argv[1])), float(sys.argv[2])
    _limit_memory()
    connection.send_bytes(b"ready")
    while True:
        try:
            name, *arguments = json.loads(connection.recv_bytes())
        except EOFError:
            return
        # If the caller dies in the middle of a call that never returns, nobody else would end this process.
        signal.alarm(math.ceil(deadline) + 5)
        try:
            result = functions[name](*arguments)
        except Exception:  # a parser may raise anything on a model's text: that text is unreadable
            result = None
        signal.alarm(0)
        connection.send_bytes(json.dumps(result).encode())


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
