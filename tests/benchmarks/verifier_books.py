"""What a policy replica does beside its verifiers' work: who scores which problem.

    python -m tests.benchmarks.verifier_books

Load: the busiest of 128 verifiers as a multiple of the mean, and how many have nothing to do, for ten thousand problems of
one seed, with ids as data sets give them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from actors.replicas.remote_scorer import rendezvous

VERIFIERS, PROBLEMS = 128, 10_000

IDS: dict[str, Callable[[int], str]] = {
    "arithmetic-17": lambda i: f"arithmetic-{i}",
    "test/algebra/17.json": lambda i: f"test/algebra/{i}.json",
    "hash (16 hex digits)": lambda i: hashlib.blake2b(b"%d" % i, digest_size=8).hexdigest(),
}


def by_sum(problem_id: str) -> int:
    """The old way."""
    return sum(problem_id.encode()) % VERIFIERS


def by_hash(problem_id: str) -> int:
    return rendezvous(f"0/{problem_id}", VERIFIERS)[0]


def load(console: Console) -> None:
    table = Table("ids", "idle, before", "busiest, before", "idle, after", "busiest, after", "busiest, ratio")
    for name, make in IDS.items():
        told, shares = [name], []
        for home in (by_sum, by_hash):
            counts = Counter(home(make(i)) for i in range(PROBLEMS))
            shares.append(max(counts.values()) * VERIFIERS / PROBLEMS)
            told += [f"{VERIFIERS - len(counts)}", f"{shares[-1]:.2f} x mean"]
        table.add_row(*told, f"{shares[0] / shares[1]:.1f}")
    console.print(f"{PROBLEMS:,} problems on {VERIFIERS} verifiers", table)


def main() -> None:
    console = Console()
    load(console)


if __name__ == "__main__":
    main()
