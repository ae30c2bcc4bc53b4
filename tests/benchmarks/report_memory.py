"""What memory a report takes by the number of outcomes: ten thousand and a million of them, each in a process of its own.

    python -m tests.benchmarks.report_memory [--outcomes 1000000] [--samples 4] [--figures]

The folders are generated in the run's own schema, four outcomes a problem; `make_report` is what is measured, from its
imports to its files. Beside it stands what the report did before: whole tables, and their columns as Python's lists. Peak
resident memory is the kernel's word on each process, so it depends on nothing else that the machine does.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from orchestration.report.write import make_report
from orchestration.runs.run import Run
from orchestration.setup.settings import ReportSettings
from tests.support.generated import generate, strategies_of

FEW = 10_000
_AS_LISTS = ("answer", "scores", "steps", "step_tokens", "logprobs")


def lists(folder: Path, samples: int) -> None:
    """The old way's reading alone: all outcomes, and the candidates of the largest set."""
    run = Run(folder)
    outcomes = run.outcomes()
    states = outcomes.select(["problem_id", "state", "reason"]).to_pylist()
    problems = run.problems().to_pylist()
    columns = ["problem_id", "seed", "index", "correct", "finish_reason", *_AS_LISTS]
    rows = run.candidates(strategy=f"best_of_n(n={samples})", columns=columns)
    rows = rows.sort_by([(name, "ascending") for name in ("problem_id", "seed", "index")])
    kept = [rows[name].to_pylist() for name in _AS_LISTS]
    assert states
    assert problems
    assert kept


def peak(way: str, folder: Path, samples: int, *, figures: bool) -> tuple[float, float]:
    """Megabytes that a process of its own had at its peak, and its seconds."""
    words = [sys.executable, "-m", "tests.benchmarks.report_memory", "--child", way, str(folder)]
    words += ["--samples", str(samples), *(["--figures"] if figures else [])]
    started = time.perf_counter()
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1]), time.perf_counter() - started


def child(way: str, folder: Path, samples: int, *, figures: bool) -> None:
    if way == "lists":
        lists(folder, samples)
    else:
        make_report(Run(folder), ReportSettings(figures=["png", "svg"] if figures else []))
    # Not what getrusage says: that remembers the process which this one was forked from.
    status = Path("/proc/self/status").read_text()
    print(int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--outcomes", type=int, default=1_000_000, help="outcomes of the larger folder")
    parser.add_argument("--samples", type=int, default=4, help="samples of a problem")
    parser.add_argument("--figures", action="store_true", help="draw the figures, too")
    parser.add_argument("--child", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], Path(options.child[1]), options.samples, figures=options.figures)
        return
    table = Table("", f"{FEW:,} outcomes", f"{options.outcomes:,}", "ratio", title="peak resident memory, MB")
    with tempfile.TemporaryDirectory() as place:
        folders = []
        for outcomes in (FEW, options.outcomes):
            problems = outcomes // len(strategies_of(options.samples))
            ability = np.random.default_rng(0).random(problems)
            folders.append(generate(Path(place) / str(outcomes), ability, samples=options.samples))
        for title, way in (("before: whole tables as lists, read alone", "lists"), ("the report", "report")):
            few, many = (peak(way, folder, options.samples, figures=options.figures) for folder in folders)
            table.add_row(
                title,
                f"{few[0]:,.0f} ({few[1]:.0f} s)",
                f"{many[0]:,.0f} ({many[1]:.0f} s)",
                f"{many[0] / few[0]:.2f}",
            )
    Console().print(table)


if __name__ == "__main__":
    main()
