"""The global price over a crowd of prompts whose chances are known: how near to the optimum, and what it takes.

    python -m tests.benchmarks.price [--prompts 1000000] [--each 700 1500 4000]

The prompts come from a value table (three kinds: easy, middling, hopeless), each move taking half to one and a half
times its mean; `each` is the budget a prompt in FLOPs, a sample being a thousand. The optimum is what no rule can beat
that knows the chances: a linear program's value. Memory is the kernel's word on a process of its own, with ten thousand
prompts and with all of them.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

from orchestration.allocation.price import GlobalPrice
from tests.support.crowd import Crowd, optimum
from tests.support.value_tables import halving_table

FEW = 10_000


def child(prompts: int, each: int) -> None:
    table = halving_table()
    budget = prompts * each
    began = time.perf_counter()
    told = Crowd(table, GlobalPrice(table, budget=budget, prompts=prompts), budget, prompts).run()
    seconds = time.perf_counter() - began
    best = optimum(table, budget, prompts)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(told.right, best, told.used, told.unpaid, seconds, peak)


def measured(prompts: int, each: int) -> list[float]:
    words = [sys.executable, "-m", "tests.benchmarks.price", "--child", str(prompts), str(each)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1_000_000)
    parser.add_argument("--each", type=int, nargs="+", default=[700, 1500, 4000])
    parser.add_argument("--child", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    columns = (
        "FLOPs a prompt",
        "prompts",
        "right",
        "optimum",
        "ratio",
        "used",
        "got nothing",
        "seconds",
        "peak MB",
    )
    table = Table(*columns, title="one price, solved as prompts come")
    for each in options.each:
        peaks = []
        for prompts in (FEW, options.prompts):
            right, best, used, unpaid, seconds, peak = measured(prompts, each)
            peaks.append(peak)
            table.add_row(
                f"{each:,}",
                f"{prompts:,}",
                f"{right:.4f}",
                f"{best:.4f}",
                f"{right / best:.4f}",
                f"{used:.2%}",
                f"{unpaid:,.0f}",
                f"{seconds:.1f}",
                f"{peak:.1f}",
            )
        table.add_row(
            f"{each:,}", "memory of many against few", "", "", "", "", "", "", f"{peaks[1] / peaks[0]:.3f}"
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
