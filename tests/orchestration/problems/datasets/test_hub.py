"""A data set's file from a hub: one that runs here and speaks as the real one does for a file."""

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

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.places import ROOT

PLACE = "/datasets/openai/gsm8k/resolve/refs/convert/parquet/main/test/0000.parquet"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Address of a hub with one file, and what it is asked."""
    pq.write_table(
        pa.Table.from_pylist([{"question": "How many?", "answer": "One.\n#### 1"}]), tmp_path / "file"
    )
    content, asked = (tmp_path / "file").read_bytes(), []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            if self._answer():
                self.wfile.write(content)

        def _answer(self) -> bool:
            asked.append(f"{self.command} {unquote(self.path)}")
            # Once its commit is known, a file is asked for by that.
            known = unquote(self.path).replace("a" * 40, "refs/convert/parquet") == PLACE
            self.send_response(200 if known else 404)
            self.send_header("X-Repo-Commit", "a" * 40)
            self.send_header("ETag", '"' + "b" * 40 + '"')
            self.send_header("Content-Length", str(len(content) if known else 0))
            self.end_headers()
            return known

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def taken(cache: Path, endpoint: str, name: str) -> subprocess.CompletedProcess[str]:
    """What a process of its own takes from a hub: its address is read when the package is imported."""
    code = (
        "import json, pyarrow.parquet as pq\n"
        "from orchestration.problems.datasets.hub import hub_file\n"
        f"print(json.dumps(pq.read_table(hub_file({name!r})).to_pylist()))\n"
    )
    settings = {
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(cache),
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "0",
    }
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )


def test_file_is_fetched_once_and_then_is_there(tmp_path: Path, hub: tuple[str, list[str]]) -> None:
    endpoint, asked = hub
    rows = [{"question": "How many?", "answer": "One.\n#### 1"}]
    found = taken(tmp_path / "cache", endpoint, "openai/gsm8k main/test")
    assert json.loads(found.stdout or "null") == rows, found.stderr
    assert f"GET {PLACE}" in asked
    # With the hub gone.
    again = taken(tmp_path / "cache", "http://127.0.0.1:9", "openai/gsm8k main/test")
    assert json.loads(again.stdout or "null") == rows, again.stderr


def test_split_that_is_not_there_says_what_to_download(tmp_path: Path, hub: tuple[str, list[str]]) -> None:
    found = taken(tmp_path / "cache", hub[0], "openai/gsm8k main/tset")
    assert (
        "UserError: dataset.hub = 'openai/gsm8k main/tset': it is on no hub that can be reached ("
        in found.stderr
    )
    assert "hf download openai/gsm8k main/tset/0000.parquet --repo-type dataset" in found.stderr
