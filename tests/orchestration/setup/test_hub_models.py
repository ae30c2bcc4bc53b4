"""A model named as on a hub: one that runs here and speaks as the real one does for a model's files."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.support.places import ROOT

COMMIT = "a" * 40


@pytest.fixture
def hub(models: tuple[Path, Path], tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Address of a hub with one model, `org/tiny`, with code and a pickle beside it, and what it is asked."""
    files = {one.name: one.read_bytes() for one in models[0].iterdir() if one.is_file()}
    files |= {
        "modeling_tiny.py": b"raise SystemExit",
        "pytorch_model.bin": b"pickle",
        "onnx/config.json": b"{}",
    }
    told = {"id": "org/tiny", "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
    tree = [
        {"type": "file", "path": name, "size": len(content), "oid": "c" * 40}
        for name, content in files.items()
    ]
    asked: list[str] = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self.wfile.write(self._answer())

        def _answer(self) -> bytes:
            path = unquote(self.path).partition("?")[0]
            asked.append(path)
            if path.startswith(f"/api/models/org/tiny/tree/{COMMIT}"):
                content = json.dumps(tree).encode()
            elif path.startswith("/api/models/org/tiny"):
                content = json.dumps(told).encode()
            else:
                content = files.get(path.removeprefix(f"/org/tiny/resolve/{COMMIT}/"), b"")
            self.send_response(200 if content else 404)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hash(path) & (1 << 63) - 1:040x}"')
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            return content

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def found(cache: Path, endpoint: str, name: str) -> subprocess.CompletedProcess[str]:
    """What a process of its own reads of a model: the hub's address is read when its package is imported."""
    code = (
        "from orchestration.setup.model_folders import read_model\n"
        f"folder = read_model({name!r}, 'policy')\n"
        "print(len(folder.vocabulary), *sorted(one.name for one in folder.path.iterdir()))\n"
    )
    settings = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "HF_HUB_OFFLINE": "0",
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **settings},
        cwd=cache.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_weights_and_texts_are_fetched_and_nothing_that_runs(
    tmp_path: Path, hub: tuple[str, list[str]], models: tuple[Path, Path]
) -> None:
    endpoint, asked = hub
    one = found(tmp_path / "cache", endpoint, "org/tiny")
    names = one.stdout.split()[1:]
    assert names == sorted(file.name for file in models[0].iterdir()), one.stderr
    assert not [path for path in asked if path.endswith((".py", ".bin", "onnx/config.json"))]
    # With the hub gone.
    again = found(tmp_path / "cache", "http://127.0.0.1:9", "org/tiny")
    assert again.stdout == one.stdout, again.stderr


def test_a_name_that_the_hub_does_not_have(tmp_path: Path, hub: tuple[str, list[str]]) -> None:
    one = found(tmp_path / "cache", hub[0], "org/tniy")
    assert (
        "UserError: policy.path = 'org/tniy': there is no such folder, and it is on no hub that" in one.stderr
    )
    assert "run hf download org/tniy --local-dir models/tniy once" in one.stderr
