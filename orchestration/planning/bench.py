"""A bench on which an allocator spends a budget on stored samples: it draws, it looks, and is told nothing of labels.

It knows pools and votes, nothing of any allocator. Invariants: a draw begins only if its worst case fits into what is
left, so that no budget is overspent; every FLOP is charged, probes too, to whoever draws; what can be seen is what a
live run would see.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from actors.seeds import derive
from actors.strategy import Candidate
from orchestration.allocation.value_table import PROMPT, work_of
from orchestration.planning.pools import Judgement, Pool
from orchestration.strategies.parse import registered
from orchestration.strategies.selection import aggregate, likelihood_weight, same_answers, voters
from orchestration.strategies.standing import Standing, judged, standing
from orchestration.strategies.tally import Counting, counting_as

Stood = tuple[Standing, str | None]
"""Where a prompt stands, and by which search (None: by its samples)."""

WEIGHTED = Counting("weighted")
MAJORITY = Counting("majority")


@cache
def counting_in(counting: Counting, search: str) -> Counting:
    """How the votes of what a search found are counted, where those of samples are counted so."""
    return counting_as(counting, registered(search))


@dataclass(frozen=True, slots=True)
class Judged:
    """How it ended: by prompt whether its answer is `right`, the FLOPs it took, samples drawn, whether a search
    has answered, and whether it got anything."""

    right: NDArray[np.bool_]
    flops: NDArray[np.float64]
    samples: NDArray[np.int64]
    searched: NDArray[np.bool_]
    answered: NDArray[np.bool_]
    budget: float

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())

    @property
    def spent(self) -> float:
        return float(self.flops.sum())


@dataclass(slots=True)
class _Prompt:
    pool: Pool
    order: NDArray[np.int64]
    drawn: list[Candidate]
    read: set[str]
    flops: int
    last: str | None
    now: Standing | None
    value: float | None = None


class Memory:
    """Where the first samples of an order left a prompt: benches on the same pools need not count the same votes again."""

    def __init__(self) -> None:
        self._standings: dict[tuple[str, int, Counting, int], Standing] = {}
        self._most: dict[tuple[str, bool], int] = {}

    def standing(self, problem: str, seed: int, counting: Counting, drawn: Sequence[Candidate]) -> Standing:
        key = problem, seed, counting, len(drawn)
        found = self._standings.get(key)
        if found is None:
            found = self._standings[key] = standing(drawn, counting)
        return found

    def most(self, pool: Pool, scored: bool) -> int:
        """The most that one of its samples takes."""
        key = pool.problem, scored
        if key not in self._most:
            self._most[key] = max(
                one.flops + (sum(flops for _, flops in one.reads) if scored else 0) for one in pool.samples
            )
        return self._most[key]


class Bench:
    """Problems in an order of their own, each with its samples in one, both by `seed`. `counting` says how votes are
    counted; where that asks for no scores, nothing is scored and nothing of it charged. Benches on the same pools may share a
    `memory`."""

    def __init__(
        self,
        pools: Sequence[Pool],
        budget: float,
        *,
        seed: int,
        counting: Counting = WEIGHTED,
        memory: Memory | None = None,
    ) -> None:
        self.budget, self.seed, self.counting = budget, seed, counting
        self.spent = 0
        self._scored = counting.rule != "majority"
        self._memory = Memory() if memory is None else memory
        order = np.random.default_rng(derive(seed, "prompts")).permutation(len(pools))
        self._rows = order
        nothing = standing((), counting)
        self._prompts = [
            _Prompt(pools[at], _order(pools[at], seed), [], set(), 0, None, nothing) for at in order
        ]
        self.worst = max((self._memory.most(pool, self._scored) for pool in pools), default=0)
        self._worst_search = {
            name: max(pool.searches[name].flops for pool in pools)
            for name in (pools[0].searches if pools else ())
        }

    def __len__(self) -> int:
        return len(self._prompts)

    @property
    def left(self) -> float:
        return self.budget - self.spent

    @property
    def searches(self) -> tuple[str, ...]:
        return tuple(self._worst_search)

    def most_of(self, prompt: int, option: str) -> int:
        """The most that an option takes: the prompt's value, samples up to so many, or a search."""
        work = work_of(option)
        if work == PROMPT:
            return self._judgement(prompt).flops
        if work in self._worst_search:
            return self._worst_search[work]
        return self.worst * (int(work) - self.drawn(prompt))

    def take(self, prompt: int, option: str) -> bool:
        """Take an option; False where the budget does not let it come to its end."""
        work = work_of(option)
        if work == PROMPT:
            return self.ask(prompt)
        if work in self._worst_search:
            return self.search(prompt, work)
        wanted = int(work) - self.drawn(prompt)
        return self.draw(prompt, wanted) == wanted

    def ask(self, prompt: int) -> bool:
        """Have the verifier judge the prompt alone; False where that does not fit."""
        one, told = self._prompts[prompt], self._judgement(prompt)
        if told.flops > self.left:
            return False
        one.value, one.now = told.value, None
        self._charge(one, told.flops)
        return True

    def _judgement(self, prompt: int) -> Judgement:
        found = self._prompts[prompt].pool.prompt
        if found is None:
            raise ValueError(f"nobody has judged the prompt of {self.name(prompt)} alone")
        return found

    def name(self, prompt: int) -> str:
        return self._prompts[prompt].pool.problem

    def drawn(self, prompt: int) -> int:
        """Samples drawn of a prompt so far."""
        return len(self._prompts[prompt].drawn)

    def rest(self, prompt: int) -> int:
        """Samples that the pool still has."""
        one = self._prompts[prompt]
        return len(one.order) - len(one.drawn)

    def flops(self, prompt: int) -> int:
        return self._prompts[prompt].flops

    def draw(self, prompt: int, count: int = 1) -> int:
        """Draw so many samples, as far as budget and pool go; return how many it were."""
        one = self._prompts[prompt]
        done = 0
        while done < count and self.rest(prompt) and self.worst <= self.left:
            index = len(one.drawn)
            sample = one.pool.samples[one.order[index]]
            took = sample.flops
            candidate = replace(sample.candidate, index=index)
            if self._scored:
                took += sum(flops for prefix, flops in sample.reads if prefix not in one.read)
                one.read.update(prefix for prefix, _ in sample.reads)
            else:
                candidate = replace(candidate, scores=())
            one.drawn.append(candidate)
            self._charge(one, took)
            done += 1
        if done and one.last is None:
            one.now = None
        return done

    def search(self, prompt: int, name: str) -> bool:
        """Run a search, whose answer then stands; False where its worst case does not fit."""
        one = self._prompts[prompt]
        if self._worst_search[name] > self.left:
            return False
        found, before = one.pool.searches[name], self.standing(prompt)
        counting = counting_in(self.counting, name)
        one.now = standing(found.candidates, counting, before=before, prompt=one.value)
        one.last = name
        self._charge(one, found.flops)
        return True

    def stood(self, prompt: int) -> Stood:
        """The answer that stands, to go back to it."""
        return self.standing(prompt), self._prompts[prompt].last

    def go_back(self, prompt: int, stood: Stood) -> None:
        """Let an answer stand again that did before a search, which is paid all the same."""
        one = self._prompts[prompt]
        one.now, one.last = stood

    def charge(self, prompt: int, flops: int) -> None:
        """Charge what an allocator took beside samples and searches."""
        self._charge(self._prompts[prompt], flops)

    def _charge(self, one: _Prompt, flops: int) -> None:
        one.flops += flops
        self.spent += flops

    def standing(self, prompt: int) -> Standing:
        """The answer that stands, and the evidence for it."""
        return self._standing(self._prompts[prompt])

    def _standing(self, one: _Prompt) -> Standing:
        if one.now is None:
            found = self._memory.standing(one.pool.problem, self.seed, self.counting, one.drawn)
            one.now = judged(found, one.value)
        return one.now

    def values(self, prompt: int) -> list[float]:
        """The verifier's value of each sample drawn; 0 where it has none."""
        return [
            aggregate(one.scores, self.counting.aggregation) if one.scores else 0.0
            for one in self._prompts[prompt].drawn
        ]

    def piles(self, prompt: int) -> list[int]:
        """How many samples say each answer, the most frequent first."""
        voting = voters(self._prompts[prompt].drawn)
        return sorted(Counter(same_answers(one.answer or "" for one in voting)).values(), reverse=True)

    def surprise(self, prompt: int) -> float:
        """The mean negative log-probability of a token over the samples drawn; NaN where the run kept none."""
        told = [
            -math.log(max(likelihood_weight(one.logprobs, one.step_ends), 1e-300))
            for one in self._prompts[prompt].drawn
            if one.logprobs
        ]
        return math.fsum(told) / len(told) if told else math.nan

    def judge(self) -> Judged:
        """Compare with the labels, in the order of the pools; for whoever has finished."""
        count = len(self._prompts)
        right, answered, searched = (np.zeros(count, bool) for _ in range(3))
        flops, samples = np.zeros(count), np.zeros(count, dtype=np.int64)
        for row, one in zip(self._rows, self._prompts, strict=True):
            if one.last is not None:
                right[row] = one.pool.searches[one.last].correct
            elif (chosen := self._standing(one).chosen) >= 0:
                right[row] = one.pool.samples[one.order[chosen]].correct
            searched[row] = one.last is not None
            answered[row] = bool(one.drawn) or searched[row]
            flops[row], samples[row] = one.flops, len(one.drawn)
        return Judged(right, flops, samples, searched, answered, self.budget)


def _order(pool: Pool, seed: int) -> NDArray[np.int64]:
    order = np.random.default_rng(derive(seed, "samples", pool.problem)).permutation(len(pool.samples))
    return np.asarray(order, dtype=np.int64)
