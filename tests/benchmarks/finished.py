"""Finished solutions compete, or vote: `python -m tests.benchmarks.finished`.

The bundled models cannot tell the two apart: their right solutions of one problem all have the same number of steps, and
what a search keeps ends in one round. So the policy and the verifier here are made of hashes, and the task is a plain one: a
solution needs so many moves; a step makes one of them or several, and each may go wrong, which no later step mends. What the
verifier says of a step is a guess at the chance that the policy ends right from there, with noise of two kinds: half is
that of the text, half is shared by all texts of a problem that begin with the same mistake, or with none, so that more draws
do not average it away. On whole solutions of one problem it is as good as the bundled verifier (AUROC 0.87). Searches and
votes are the real ones. Invariant: what is drawn or said depends on problem, place and text alone, so both choices meet the
same problems and the same luck.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import exp, sqrt
from statistics import NormalDist

import numpy as np

from actors.seeds import derive
from actors.strategy import Prompt, Sample, Sampling, Solution
from orchestration.analysis.statistics import auroc_within
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.search.dvts import Dvts
from orchestration.strategies.search.lookahead import Lookahead
from orchestration.strategies.search.rounds import FINISHED

Search = Beam | Dvts | Lookahead
Text = tuple[int, ...]

KINDS: tuple[Callable[[int], Search], ...] = (Beam, Dvts, Lookahead)
BUDGETS = (4, 16, 64)
SEARCHES = [replace(kind(n), finished=how) for kind in KINDS for n in BUDGETS for how in FINISHED]

# A step is one token: its moves, its wording and its mistake (0: none), a digit of this base each.
_BASE = 100
_MISTAKES = 6

# How far right and wrong solutions lie apart for the verifier, in standard deviations of its noise.
_APART = 1.6

_GREEDY = Sampling(0.0)


def chance(*parts: object) -> float:
    """A number in (0, 1) that follows from the parts."""
    return (derive(*parts) + 0.5) / 2**63  # type: ignore[arg-type]


@dataclass
class Problem:
    """`moves` to make, each wrong with probability `slip`; a step makes up to `stride` at once, each number as likely as the
    others. It is its own models; `drawn` counts steps and `read` has the texts that were scored.
    """

    seed: int
    moves: int
    slip: float
    stride: int
    max_tokens: int = 64
    drawn: int = 0
    read: set[Text] = field(default_factory=set)
    steps: dict[tuple[Text, Text, bool], int] = field(default_factory=dict)
    values: dict[Text, float] = field(default_factory=dict)

    @classmethod
    def of(cls, seed: int, stride: int) -> Problem:
        """One that a whole sample solves with a probability between 5 and 95%."""
        moves = (2 + derive("moves", seed) % 4) * (1 + stride)
        solved = 0.05 + 0.9 * chance("slip", seed)
        return cls(seed, moves, 1 - solved ** (1 / moves), stride)

    @property
    def policy(self) -> Problem:
        return self

    verifier = reader = policy

    async def sample(
        self, prefix: Text, place: Text, *, one_step: bool = False, sampling: Sampling = _GREEDY
    ) -> Sample:
        text = prefix
        while True:
            text += (self._step(text, place, sampling == _GREEDY),)
            self.drawn += 1
            if self.left(text) == 0 or one_step:
                own = text[len(prefix) :]
                return Sample(own, (0.0,) * len(own), "stop" if self.left(text) else "eos")

    def _step(self, text: Text, place: Text, greedy: bool) -> int:
        """At temperature 0 mistakes are half as frequent."""
        if (step := self.steps.get((text, place, greedy))) is None:
            drawn = derive("step", self.seed, text, place)
            moves = min(1 + drawn % self.stride, self.left(text))
            slip = self.slip / 2 if greedy else self.slip
            wrong = chance("slip", self.seed, text, place) > (1 - slip) ** moves
            mistake = 1 + drawn // 1000 % _MISTAKES if wrong else 0
            step = (moves * _BASE + drawn // 10_000 % _BASE) * _BASE + mistake
            self.steps[text, place, greedy] = step
        return step

    def left(self, text: Text) -> int:
        return self.moves - sum(step // _BASE**2 for step in text)

    def mistake(self, text: Text) -> int:
        """The first one: it decides which wrong answer comes out."""
        return next((step % _BASE for step in text if step % _BASE), 0)

    async def score(self, solution: Text) -> tuple[float, ...]:
        texts = [solution[:end] for end in range(1, len(solution) + 1)]
        self.read.update(texts)
        return tuple(self._value(text) for text in texts)

    def _value(self, text: Text) -> float:
        if (value := self.values.get(text)) is None:
            mistake = self.mistake(text)
            hope = 0.0 if mistake else (1 - self.slip) ** self.left(text)
            noise = [chance("text", self.seed, text), chance("mistake", self.seed, mistake)]
            logit = _APART**2 * (hope - 0.5) + _APART * sum(map(NormalDist().inv_cdf, noise)) / sqrt(2)
            value = self.values[text] = 1 / (1 + exp(-logit))
        return value

    def step_ends(self, solution: Text) -> Text:
        return tuple(range(1, len(solution) + 1))

    async def answer(self, solution: Text) -> str | None:
        return None if self.left(solution) else str(self.mistake(solution))


@dataclass
class Seen:
    """What became of one search, problem by problem."""

    right: list[float] = field(default_factory=list)
    voters: list[int] = field(default_factory=list)
    drawn: list[int] = field(default_factory=list)
    read: list[int] = field(default_factory=list)

    def add(self, solution: Solution, problem: Problem) -> None:
        self.right.append(float(solution.answer == "0"))
        votes = [one for one in solution.candidates if one.kept and one.finish == "eos"]
        self.voters.append(len(votes))
        self.drawn.append(problem.drawn)
        self.read.append(len(problem.read))

    @cached_property
    def accuracy(self) -> np.ndarray:
        return np.array(self.right)


async def described(problems: list[Problem], samples: int = 32) -> str:
    """What whole samples of these problems are like."""
    steps, scores, right, groups = [], [], [], []
    for problem in problems:
        drawn = [(await problem.sample((), (i,), sampling=Sampling())).token_ids for i in range(samples)]
        steps.append([len(text) for text in drawn])
        scores += [(await problem.score(text))[-1] for text in drawn]
        right += [await problem.answer(text) == "0" for text in drawn]
        groups += [problem.seed] * samples
    within, _ = auroc_within(scores, right, groups)
    return (
        f"{len(problems)} problems, {np.mean(steps):.1f} steps a solution, standard deviation in a problem "
        f"{np.std(steps, axis=1).mean():.2f}; {100 * np.mean(right):.0f}% of the samples are right, AUROC {within:.2f}"
    )


async def solve(problems: list[Problem]) -> dict[Search, Seen]:
    seen: dict[Search, Seen] = defaultdict(Seen)
    for problem in problems:
        for search in SEARCHES:
            problem.drawn, problem.read = 0, set()
            seen[search].add(await search.solve(Prompt(str(problem.seed), ()), problem), problem)
        problem.steps, problem.values = {}, {}
    return seen


def interval(values: np.ndarray) -> str:
    """Mean and 95% interval in points, bootstrapped over problems."""
    rng = np.random.default_rng(0)
    means = values[rng.integers(0, len(values), (5000, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{100 * values.mean():.1f} | {100 * low:.1f} to {100 * high:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="finished solutions compete, or vote")
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--stride", type=int, default=2, help="moves that one step makes at most")
    given = parser.parse_args()
    problems = [Problem.of(seed, given.stride) for seed in range(given.problems)]
    print(asyncio.run(described(problems)), flush=True)
    seen = asyncio.run(solve(problems))
    print(
        "\n| search | accuracy | interval | voters | steps drawn | steps scored |\n|---|---|---|---|---|---|"
    )
    for search, one in seen.items():
        costs = " | ".join(f"{np.mean(values):.1f}" for values in (one.voters, one.drawn, one.read))
        print(f"| {search.text} | {interval(one.accuracy)} | {costs} |")
    print("\n| vote less compete | points | interval |\n|---|---|---|")
    for search in SEARCHES:
        if search.finished == "vote":
            other = seen[replace(search, finished="compete")]
            print(f"| {search.text} | {interval(seen[search].accuracy - other.accuracy)} |")


if __name__ == "__main__":
    main()
