"""How fast answers are read, compared and voted on, on one core.

    python -m tests.benchmarks.answers [--numbers 20000] [--samples 64]

Numbers: answers of the number grader a second, as GSM8K's solutions end. Mathematics: the vote on one problem of so many
samples, by how alike they are, with a grader whose process is up; none of their expressions was read before. Seconds are of
the processor, of this process and of the grader's: what one core takes, whatever else runs.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from actors.strategy import ballot_of
from orchestration.problems import MathGrader, NumberGrader
from orchestration.problems.graders.ballots import classes
from orchestration.problems.graders.math import _value

FORMS = (
    r"\frac{{{a}}}{{{b}}}",
    r"{a}\sqrt{{{b}}}",
    r"x^2+{a}x+{b}",
    r"({a}, \frac{{{b}}}{{7}})",
    r"\{{{a}, {b}\}}",
    r"\frac{{{a}\pi}}{{{b}}}",
    r"{a}+{b}i",
    r"{a}\text{{ cm}}",
)
ENDS = (
    "#### {n}",
    "#### {n:,}",
    "#### ${n}.00",
    "#### **{n}**",
    "#### {n} dollars",
    "#### {n}.5",
    "#### {n}%",
    "#### {n}/7",
)


def solutions(count: int, ends: tuple[str, ...], seed: int) -> list[str]:
    rng = random.Random(seed)
    return [
        "So we add 3 and 4.\n" * 10 + ends[i % len(ends)].format(n=rng.randrange(10**6)) for i in range(count)
    ]


def samples(count: int, distinct: int, seed: int) -> list[str]:
    """Solutions of one problem, of `distinct` kinds."""
    rng = random.Random(seed)
    kinds = [
        FORMS[i % len(FORMS)].format(a=rng.randrange(2, 10**4), b=rng.randrange(2, 10**4))
        for i in range(distinct)
    ]
    return [f"Thus we have it. $\\boxed{{{kinds[i % distinct]}}}$" for i in range(count)]


def processor_seconds() -> float:
    """What this process and its children have used."""
    tasks = Path("/proc/self/task").iterdir()
    ticks = 0
    for pid in [pid for task in tasks for pid in (task / "children").read_text().split()]:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        ticks += int(user) + int(system)
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def vote(grader: MathGrader, texts: list[str]) -> tuple[float, int]:
    """Seconds of the processor, and classes."""
    _value.cache_clear()
    before = processor_seconds()
    found = [grader.extract(text) for text in texts]
    kinds = len(set(classes([ballot_of(one) for one in found if one is not None])))
    return processor_seconds() - before, kinds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--numbers", type=int, default=20_000)
    parser.add_argument("--samples", type=int, default=64)
    options = parser.parse_args()
    table = Table("", "answers", "seconds", "a second", "classes", title="answers on one core")
    number = NumberGrader()
    for what, ends in (("plain numbers", ENDS[:1]), ("numbers of all kinds", ENDS)):
        texts = solutions(options.numbers, ends, 1)
        before = time.process_time()
        for text in texts:
            number.correct(number.extract(text), "18")
        spent = time.process_time() - before
        table.add_row(what, f"{len(texts):,}", f"{spent:.2f}", f"{len(texts) / spent:,.0f}", "-")
    grader = MathGrader()
    # Its process is up, and has built what its parser builds with the first texts of a kind.
    vote(grader, samples(64, 64, 0))
    for distinct in (4, 16, options.samples):
        spent, kinds = vote(grader, samples(options.samples, distinct, 7))
        what = f"a vote on mathematics, {distinct} kinds"
        table.add_row(
            what, str(options.samples), f"{spent:.2f}", f"{options.samples / spent:,.0f}", str(kinds)
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
