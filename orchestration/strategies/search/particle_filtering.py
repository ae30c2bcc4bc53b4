"""Particle filtering (Puri et al. 2025, arXiv 2502.01618): particles are resampled by the verifier's scores, step by step.

Draw N first steps and score them; then resample N particles with weights softmax(logit(value) / T), draw each on by one
step, and so on until no particle can go on. At T = 1 a weight is the odds value / (1 - value). As in the paper, the
weight is that of the last score, not of what it gained, and finished particles are resampled with the others.

Where this departs from the authors' code:
- Resampling is systematic, not multinomial: the expected number of copies is the same, and each particle gets it rounded
  up or down, in the order of places.
- A copy of a live particle goes on with draws of its own; copies of a finished one hold particles, but are one candidate
  with one vote.
- A particle cut off by the token limit has no weight. Only the end token finishes one, not a "boxed".
- The answer is the weighted vote of the last particles that finished; that of the best one, as there, if `weighted` is false.

It costs N generations by the paper's accounting: at most N steps are drawn and scored in every round. It knows nothing of
tokens but their count. Invariant: a resampling follows from run seed, strategy, problem, round and scores; a place is drawn
once, and first steps are those of `beam`; an ended particle is never extended; a vote belongs to one draw.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from actors.seeds import derive
from actors.strategy import Forecast, Grouping, Models, Prompt, Sampling, Solution
from orchestration.strategies import forecasting
from orchestration.strategies.call import grouping_of
from orchestration.strategies.drawing import solution_of, together, whole_samples
from orchestration.strategies.search.growth import Growth
from orchestration.strategies.search.tree import Node
from orchestration.strategies.selection import AGGREGATIONS, Aggregation, best, weighted
from orchestration.strategies.settings import (
    canonical,
    check_choice,
    check_count,
    check_flag,
    check_positive,
    check_temperature,
    check_top_p,
)

# Values are kept so far from 0 and 1 that their logit is finite, as in the authors' library.
_EDGE = 1e-7


@dataclass(frozen=True, slots=True)
class ParticleFiltering:
    """`n` particles, resampled before each step; the answer with the largest sum of values, or (`weighted` false) of the
    best particle.

    `softmax_temperature` divides the logits: near 0 all particles become copies of the best, at large values none is
    dropped. `rounds` counts drawings, the first steps included. `aggregation` makes a particle's value of its step
    scores; the paper's is "last". `n` = 1 is one whole sample.

    If none of the last particles can vote, finished ones that were dropped on the way are taken back; if there are none,
    unfinished ones vote where an answer can be read. When the purse runs empty, no further round begins; if nothing is
    finished by then, the best particle is completed by one plain sample, should the purse still allow it.
    """

    by_steps: ClassVar[bool] = True
    n: int
    softmax_temperature: float = 1.0
    weighted: bool = True
    rounds: int = 40
    aggregation: Aggregation = "last"
    temperature: float = 1.0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        check_count("particle_filtering.n", self.n)
        softmax = check_positive("particle_filtering.softmax_temperature", self.softmax_temperature)
        object.__setattr__(self, "softmax_temperature", softmax)
        check_flag("particle_filtering.weighted", self.weighted)
        check_count("particle_filtering.rounds", self.rounds)
        check_choice("particle_filtering.aggregation", self.aggregation, AGGREGATIONS)
        object.__setattr__(
            self, "temperature", check_temperature("particle_filtering.temperature", self.temperature)
        )
        object.__setattr__(self, "top_p", check_top_p("particle_filtering.top_p", self.top_p))

    @property
    def text(self) -> str:
        return canonical("particle_filtering", self)

    @property
    def uses_verifier(self) -> bool:
        return True

    @property
    def sequences(self) -> int:
        return self.n

    @property
    def grouping(self) -> Grouping:
        return grouping_of(self.text, self.n)

    def forecast(self, typical: int, most: int) -> Forecast:
        return forecasting.search(self.n, self.rounds, Sampling(self.temperature, self.top_p), typical, most)

    async def solve(self, prompt: Prompt, models: Models) -> Solution:
        """Costs n generations; where the purse ran empty early, the first steps drawn.

        All leaves of the tree are candidates: the last particles by place, each once, then (kept false) those that were
        not resampled. Raises PurseEmpty where nothing was completed nor cut off, and no answer can be read of what there
        is.
        """
        choose = weighted if self.weighted else best
        sampling = Sampling(self.temperature, self.top_p)
        if self.n == 1:
            sample = await whole_samples(models, 1, sampling, with_scores=True)
            return solution_of(sample, choose(sample, self.aggregation))
        growth = Growth(models, sampling, self.aggregation)
        particles = dict.fromkeys(await growth.children(Node(), self.n), 1)
        generations = len(particles)
        dropped: list[Node] = []
        for number in range(1, self.rounds):
            if growth.refused or not any(node.live for node in particles):
                break
            copies = self._resample(growth, particles, derive(models.seed, self.text, prompt.id, number))
            dropped += [node for node, count in copies.items() if not count]
            particles = await _advance(growth, {node: count for node, count in copies.items() if count})
        leaves = await growth.complete(list(particles))
        return await growth.conclude(leaves, dropped, generations, lambda c: choose(c, self.aggregation))

    def _resample(self, growth: Growth, particles: dict[Node, int], seed: int) -> dict[Node, int]:
        """How many copies each distinct particle has after a resampling, those without one included."""
        logits = [
            -math.inf if node.finish == "length" else _logit(growth.value(node)) / self.softmax_temperature
            for node in particles
        ]
        most = max(logits)
        weights = [
            count * math.exp(logit - most) for count, logit in zip(particles.values(), logits, strict=True)
        ]
        counts = systematic(weights, sum(particles.values()), (seed >> 10) / 2**53)
        return dict(zip(particles, counts, strict=True))


async def _advance(growth: Growth, copies: dict[Node, int]) -> dict[Node, int]:
    """Draw each copy of a live particle on by one step; ended ones stay, and so does one whose draws were all refused."""
    live = [node for node in copies if node.live]
    drawn = dict(zip(live, await together(growth.children(node, copies[node]) for node in live), strict=True))
    particles: dict[Node, int] = {}
    for node, count in copies.items():
        particles.update(dict.fromkeys(drawn[node], 1) if drawn.get(node) else {node: count})
    return particles


def _logit(value: float) -> float:
    value = min(max(value, _EDGE), 1 - _EDGE)
    return math.log(value) - math.log1p(-value)


def systematic(weights: Sequence[float], draws: int, start: float) -> list[int]:
    """Systematic resampling: `draws` equally spaced points, the first at `start` in [0, 1) of a spacing, fall on weights
    that are laid end to end; return how many fall on each.

    Weights are not negative and not all zero; one of zero gets none.
    """
    ends = list(accumulate(weights))
    # All points lie before the last end, whatever a difference rounds to.
    before = [draws if end == ends[-1] else math.ceil(draws * (end / ends[-1]) - start) for end in ends]
    return [after - until for until, after in zip([0, *before], before, strict=False)]
