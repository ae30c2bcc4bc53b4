"""Problems made of seeds, whose samples are right with a chance of their own, and what a verifier would say of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from actors.seeds import derive
from orchestration.allocation.evidence import Evidence, Pile
from orchestration.allocation.fitting import Seen, Trace
from orchestration.allocation.value_table import PROMPT, START, Offer

OFFER = Offer((1, 2, 4, 8), ("beam(n=4)", "beam(n=16)"))
PROMPTED = replace(OFFER, prompt=True)


def made_traces(problems: int, *, seed: int = 0, orders: int = 2, pure_noise: bool = False) -> list[Trace]:
    """Chances between hopeless and easy (all alike in pure noise); wrong samples have four answers to choose from."""
    traces = []
    for number in range(problems):
        rng = np.random.default_rng(derive(seed, "made", number))
        rate = 0.5 if pure_noise else float(rng.beta(0.6, 0.6))
        found = {
            search: _search(rng, min(1.0, rate + gain * rate * (1 - rate)), size)
            for search, gain, size in (("beam(n=4)", 0.8, 4), ("beam(n=16)", 1.4, 16))
        }
        right = rng.random(8) < rate
        answers = np.where(right, 0, rng.integers(1, 5, 8))
        values = 1 / (1 + np.exp(-(np.where(right, 1.0, -1.0) + rng.normal(0, 1, 8))))
        for _ in range(orders):
            order = rng.permutation(8)
            traces.append(_trace(f"p{number}", answers[order], values[order], found))
    return traces


def with_prompt(traces: list[Trace], values: Mapping[str, float], flops: int = 300) -> list[Trace]:
    """The same, where the verifier had judged each prompt before anything was drawn of it."""
    return [_judged(trace, values[trace.problem], flops) for trace in traces]


def _judged(trace: Trace, value: float, flops: int) -> Trace:
    moves = {
        move: replace(seen, evidence=replace(seen.evidence, prompt=value))
        for move, seen in trace.moves.items()
    }
    moves[START, PROMPT] = Seen(Evidence(0, prompt=value), False, flops)
    return Trace(trace.problem, moves)


def _search(rng: np.random.Generator, rate: float, size: int) -> tuple[int, float]:
    return (0 if rng.random() < rate else int(rng.integers(1, 5))), float(rng.random())


def _evidence(answers: np.ndarray, values: np.ndarray) -> tuple[Evidence, int]:
    piles = {
        int(a): Pile(
            int((answers == a).sum()),
            math.fsum(values[answers == a].tolist()),
            float(values[answers == a].max()),
        )
        for a in dict.fromkeys(answers.tolist())
    }
    order = sorted(piles, key=lambda a: -piles[a].weight)
    return Evidence(len(answers), tuple(piles[a] for a in order)), order[0]


def _trace(
    problem: str, answers: np.ndarray, values: np.ndarray, found: dict[str, tuple[int, float]]
) -> Trace:
    standing: dict[str, int | None] = {START: None}
    moves: dict[tuple[str, str], Seen] = {}
    for source, target in OFFER.moves:
        if target not in found:
            evidence, winner = _evidence(answers[: int(target)], values[: int(target)])
            standing[target] = winner
            flops = 1_000 * (int(target) - int(source))
            moves[source, target] = Seen(evidence, winner == 0, flops)
    for source, target in OFFER.moves:
        if target in found:
            answer, score = found[target]
            before = found[source][0] if source in found else standing[source]
            evidence = Evidence(
                1, (Pile(1, score, score),), same=None if before is None else before == answer
            )
            moves[source, target] = Seen(evidence, answer == 0, 3_500 if target == "beam(n=4)" else 14_000)
    return Trace(problem, moves)
