"""Runs pure functions in helper processes that can be killed: for parsers that may never return.

It knows nothing of what it runs. A call has so many seconds of its helper's processor, which the kernel counts: on a loaded
machine it takes longer and is answered all the same. A limit in seconds of the clock, many times as long, stands behind it.
Invariant: a call ends, whatever the function does, and the next one finds a helper that works; a failure that another process
or another moment might not have is an exception, never a result.

Helpers are started as `python -m module`, never forked: a fork of a process with threads (torch, Ray) can
hang, and multiprocessing's spawn runs the caller's main script again.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
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

from actors.errors import ServiceLost, UserError

_LOG = logging.getLogger(__name__)

_START_SECONDS = 600.0
"""Of the clock, in which a helper has imported what it needs: on a machine that is overloaded that may take minutes."""

_MEMORY_BYTES = 4 * 2**30
_TRIES = 2

PATIENCE = 30.0
"""Seconds of the clock that a call may take for each second of the processor that it may use, a minute at the least."""


class NoAnswer(Exception):
    """The call is at fault: it used up its time, or each process that it was given to ended on it."""


class Stalled(ServiceLost):
    """The machine is at fault: there was no answer, and no time of the processor to find it in."""


class DeadlinePool:
    """`workers` helper processes that answer calls of a module's functions (see `serve`); thread-safe.

    A call may use `deadline` seconds of the processor, and take `wall` seconds of the clock (None: by `PATIENCE`). Helpers
    start with the first calls that need them and end with this object or this process.
    """

    def __init__(self, module: str, workers: int, deadline: float, wall: float | None = None) -> None:
        self._module, self._deadline = module, deadline
        self._wall = max(60.0, PATIENCE * deadline) if wall is None else wall
        self._idle: queue.LifoQueue[_Helper | None] = queue.LifoQueue()
        for _ in range(workers):
            self._idle.put(None)
        self._helpers: set[_Helper] = set()
        self._lock = threading.Lock()
        weakref.finalize(self, _stop_all, self._helpers)

    def call(self, function: str, *arguments: str) -> Any:
        """Return the function's JSON result, None where it raised.

        Raises NoAnswer where the call used up its time, and Stalled where it got none. A helper that ended on it, or stalled,
        may not have been the call's fault: it is made once more, in a fresh one.
        """
        helper = self._idle.get()
        try:
            for attempt in range(1, _TRIES + 1):
                try:
                    if helper is None:
                        helper = self._start()
                    return helper.ask(function, arguments)
                except BaseException as error:
                    if helper is not None:
                        self._stop(helper)
                    helper = None
                    if not isinstance(error, _Ended | Stalled) or attempt == _TRIES:
                        raise
        finally:
            self._idle.put(helper)

    def _start(self) -> _Helper:
        helper = _Helper(self._module, self._deadline, self._wall)
        with self._lock:
            self._helpers.add(helper)
        return helper

    def _stop(self, helper: _Helper) -> None:
        helper.stop()
        with self._lock:
            self._helpers.discard(helper)


@functools.cache
def shared_pool(module: str, workers: int, deadline: float) -> DeadlinePool:
    """The one pool that this process has of a module, so many workers and this deadline."""
    return DeadlinePool(module, workers, deadline)


class _Ended(NoAnswer):
    """The helper ended by itself."""


class _Helper:
    """One helper process and the socket to it. JSON crosses, never pickles: arguments are a model's text."""

    def __init__(self, module: str, deadline: float, wall: float) -> None:
        self._deadline, self._wall = deadline, wall
        ours, theirs = socket.socketpair()
        path = os.pathsep.join(filter(None, sys.path))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(theirs.fileno()), str(deadline), str(wall)],
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
            raise Stalled(f"{module} did not start within {_START_SECONDS:.0f} s")
        try:
            self._connection.recv_bytes()
        except EOFError:
            self.stop()
            raise RuntimeError(
                f"{module} ended while starting: run `python -m {module} 0 1 60` to see why"
            ) from None

    def ask(self, function: str, arguments: tuple[str, ...]) -> Any:
        try:
            self._connection.send_bytes(json.dumps([function, *arguments]).encode())
            if not self._connection.poll(self._wall):
                less = f"less than {self._deadline:g} s of a processor"
                raise Stalled(
                    f"a helper process had no answer after {self._wall:g} s, and {less}: the machine is overloaded"
                )
            return json.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            code = self._process.wait()
            if code == -signal.SIGPROF:
                raise NoAnswer(f"it used up its {self._deadline:g} s of a processor") from None
            raise _Ended(f"{_TRIES} processes ended on it, the last one with exit code {code}") from None

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
    if len(sys.argv) != 4:
        raise UserError("this module is started by flopwise itself, with a socket, a deadline and a limit")
    connection, deadline, wall = Connection(int(sys.argv[1])), float(sys.argv[2]), float(sys.argv[3])
    _limit_memory()
    # The kernel's to handle, so that a function which never comes back to Python ends too.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    connection.send_bytes(b"ready")
    while True:
        try:
            name, *arguments = json.loads(connection.recv_bytes())
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_PROF, deadline)
        # If the caller dies in the middle of a call that never returns, nobody else would end this process.
        signal.alarm(math.ceil(wall) + 5)
        try:
            result = functions[name](*arguments)
        except Exception:  # a parser may raise anything on a model's text: that text is unreadable
            result = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        connection.send_bytes(json.dumps(result).encode())


def warn(what: str, answer: str) -> None:
    """Say in the log what becomes of an answer that a call had no result for."""
    _LOG.warning("the answer %r %s", answer[:200], what)


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
