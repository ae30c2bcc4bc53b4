"""The driver script that the README shows, run as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def test_the_driver_script_runs_and_prints_its_table(tmp_path: Path) -> None:
    [script] = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(script.strip().splitlines()) < 15
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if "FLOPs a problem" in line]
    assert {line.split()[0] for line in rows} >= {"greedy", "majority(n=8)", "beam(n=4,width=4)"}
    results = [line for line in done.stdout.splitlines() if re.match(r"(legs|sums)-\w+ ", line)]
    assert len(results) == 60
    assert (tmp_path / "runs" / "driver" / "report").is_dir()


@pytest.mark.parametrize("command", ["make run", "make test"])
def test_the_two_commands_that_do_everything_are_targets(command: str) -> None:
    assert f"\n{command.removeprefix('make ')}:" in (README.parent / "Makefile").read_text()
    assert command in README.read_text()
