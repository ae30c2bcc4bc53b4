"""The paper's compute-optimal strategy: a bin by predicted difficulty, and in each bin the strategy that was best there.

Difficulty is the mean of the verifier's final values of some samples (Snell et al. 2024, section 3.2). Here these
samples are charged, and used by the strategy that follows; or, as in the paper, `free`: told from samples that the
strategy does not use. The budget is the same for every prompt. Invariant: bins, their strategies and judgement come
from different problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from actors.errors import counted
from orchestration.planning.baselines.uniform import give
from orchestration.planning.bench import Bench
from orchestration.planning.curves import Curves
from orchestration.planning.pools import Pool

BINS = 5


@dataclass(frozen=True, slots=True)
class PerBin:
    """`known` are curves of the calibration problems, `values` each one's mean value over `probe` samples."""

    known: Curves
    values: np.ndarray
    probe: int
    free: bool = False

    @classmethod
    def of(cls, pools: Sequence[Pool], known: Curves, probe: int, *, seed: int, free: bool = False) -> PerBin:
        values = []
        for pool in pools:
            bench = Bench([pool], float("inf"), seed=seed)
            values.append(predicted(bench, 0, probe, free=free))
        return cls(known, np.array(values), probe, free)

    @property
    def name(self) -> str:
        return f"per bin, {counted(self.probe, 'sample')}{' for free' if self.free else ''}"

    def allocate(self, bench: Bench) -> None:
        edges = np.quantile(self.values, np.arange(1, BINS) / BINS)
        bins = np.searchsorted(edges, self.values, side="right")
        each = bench.budget / len(bench)
        choice = [self._choice(bins == one, each) for one in range(BINS)]
        for prompt in range(len(bench)):
            value = predicted(bench, prompt, self.probe, free=self.free)
            give(bench, prompt, choice[int(np.searchsorted(edges, value, side="right"))])

    def _choice(self, rows: np.ndarray, each: float) -> str:
        mine = self.known.of(rows) if rows.any() else self.known
        if not self.free:
            # A search is paid on top of the probe; samples include it.
            probe = mine.flops[:, [mine.options.index(str(self.probe))]]
            extra = np.array([not option.isdigit() for option in mine.options])
            mine = Curves(mine.options, mine.right, mine.flops + np.where(extra, probe, 0.0))
        best = mine.best_within(each)
        return mine.options[0 if best is None else best]


def predicted(bench: Bench, prompt: int, probe: int, *, free: bool) -> float:
    """The mean value of a probe: drawn and charged, or foreseen for free."""
    if free:
        return bench.foreseen(prompt, probe)
    bench.draw(prompt, probe - bench.drawn(prompt))
    values = bench.values(prompt)
    return float(np.mean(values)) if values else 0.0
