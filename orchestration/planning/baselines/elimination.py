"""Zuo and Zhu 2025 (arXiv 2506.12721): rounds of one sample each; a prompt whose best reward reaches gamma is done.

Those that are done drop out, the rest share what is left evenly, round by round (their elimination rule).
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestration.planning.bench import Bench


@dataclass(frozen=True, slots=True)
class Elimination:
    gamma: float = 0.9
    name: str = "Zuo-Zhu elimination"

    def allocate(self, bench: Bench) -> None:
        active = list(range(len(bench)))
        while active and bench.worst <= bench.left:
            drawn = [prompt for prompt in active if bench.draw(prompt)]
            active = [prompt for prompt in drawn if max(bench.values(prompt)) < self.gamma]
