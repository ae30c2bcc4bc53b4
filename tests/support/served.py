"""The small server of token ids from a test's side: started, told what to serve and how to fail, asked what it was sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.places import ROOT

KEY = "a-secret-of-the-server"
KEY_VARIABLE = "FLOPWISE_TESTS_KEY"
"""Replicas find it in the environment in which Ray was started, whichever test was the first to."""


class ServerProcess:
    """`tests.support.openai_server` in a process of its own; it ends with `kill`, or with this one."""

    def __init__(self, port: int = 0) -> None:
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.openai_server", str(port)],
            env=os.environ | {"PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def serve(self, name: str, folder: Path, **more: Any) -> str:
        """Serve the model of a folder anew; its address."""
        self.tell(name, folder=str(folder), **more)
        return f"http://127.0.0.1:{self.port}/{name}/v1"

    def tell(self, name: str, **told: Any) -> dict[str, Any]:
        data = json.dumps({"name": name, **told}).encode()
        address = f"http://127.0.0.1:{self.port}/control"
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(urllib.request.Request(address, data), timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def asked(self, name: str) -> list[dict[str, Any]]:
        """The completions that were asked for."""
        return list(self.tell(name)["asked"])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@cache
def shared_server() -> ServerProcess:
    """One for all tests of this process, with which it ends."""
    return ServerProcess()
