"""What beam, lookahead and dvts have in common, against a plain reading of each method and against what goes wrong in
other implementations. What each adds is in its own file.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field

import pytest

from actors.strategy import PurseEmpty, Sampling, Solution
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.search.dvts import Dvts
from orchestration.strategies.search.lookahead import Lookahead
from orchestration.strategies.selection import aggregate, weighted
from orchestration.strategies.settings import width_of
from tests.support.fakes import (
    EOS,
    PROMPT,
    FakeModels,
    FakePolicy,
    FakeVerifier,
    answer_of,
    models,
    step_ends,
)

Search = Beam | Lookahead | Dvts

SETTINGS: list[Search] = [
    Beam(8, every=2),
    Beam(8, width=2, every=3, aggregation="min"),
    Beam(8, merge=True),
    Beam(9, width=3, every=2, merge=True, rounds=4),
    Lookahead(4, k=1),
    Lookahead(8),
    Lookahead(8, width=2, k=2, aggregation="mean"),
    Lookahead(9, width="sqrt", k=2, aggregation="min", rounds=3),
    Dvts(8),
    Dvts(9, width=3, aggregation="product"),
    Dvts(3, width=1),
    Dvts(16, width=4, rounds=3),
    Beam(8, finished="vote"),
    Beam(9, width=3, every=2, merge=True, rounds=4, finished="vote"),
    Lookahead(8, width=2, k=1, finished="vote"),
    Dvts(8, finished="vote"),
]
# Few words and many ends of steps: most continuations are drawn more than once.
REPEATING = {"max_tokens": 10, "words": (2, 3)}

every_search = pytest.mark.parametrize("strategy", SETTINGS, ids=lambda s: s.text)

Place = tuple[int, ...]
Tokens = tuple[int, ...]


async def solve(strategy: Search, given: FakeModels) -> Solution:
    return await strategy.solve(PROMPT, given)


def tree_requests(given: FakeModels) -> list[tuple[Tokens, Place, bool, Sampling]]:
    """What was asked for to grow a tree: all but the steps that were drawn to look ahead."""
    return [request for request in given.policy.requests if request[1]]


@dataclass
class Reading:
    """The three methods, one request at a time: a subtree is a list of places, and everything is looked up by place."""

    policy: FakePolicy
    verifier: FakeVerifier
    strategy: Search
    text: dict[Place, Tokens] = field(default_factory=lambda: {(): ()})
    finish: dict[Place, str] = field(default_factory=dict)

    def scores(self, text: Tokens) -> list[float]:
        return [self.verifier.value(text[:end]) for end in step_ends(text)]

    def value(self, place: Place) -> float:
        text = self.text[place]
        finish = self.finish[place]
        for _ in range(getattr(self.strategy, "k", 0)):
            if finish == "stop" and len(text) < self.policy.max_tokens:
                sample = self.policy.drawn(text, (), True)
                text, finish = text + sample.token_ids, sample.finish
        return aggregate(self.scores(text), self.strategy.aggregation)

    def draw(self, place: Place) -> Place:
        prefix = self.text[place[:-1]]
        sample = self.policy.drawn(prefix, place, True)
        self.text[place] = prefix + sample.token_ids
        full = sample.finish == "stop" and len(self.text[place]) >= self.policy.max_tokens
        self.finish[place] = "length" if full else sample.finish
        return place

    def order(self, places: list[Place]) -> list[Place]:
        return sorted(places, key=lambda p: (self.finish[p] == "length", -self.value(p), p))

    def distinct(self, places: list[Place]) -> list[Place]:
        kept: dict[Tokens, Place] = {}
        for place in self.order(places):
            kept.setdefault(self.text[place], place)
        return list(kept.values())

    def subtree(self, pool: list[Place], survivors: int, width: int) -> set[Place]:
        """Return the finished places that vote: those of the last pool, or all."""
        merge = getattr(self.strategy, "merge", False)
        pool = self.distinct(pool) if merge else pool
        voted: list[Place] = []
        for _ in range(self.strategy.rounds - 1):
            if self.strategy.finished == "vote":
                voted += [p for p in pool if self.finish[p] != "stop"]
                budget = width * survivors - len(voted)
                going = self.order([p for p in pool if self.finish[p] == "stop"])
                parents, ended = going[: math.ceil(budget / width)], []
            else:
                best = self.order(pool)[:survivors]
                parents = [p for p in best if self.finish[p] == "stop"]
                ended = [p for p in best if self.finish[p] != "stop"]
                budget = width * (survivors - len(ended))
            if not parents:
                break
            grown: list[Place] = []
            for rank, parent in enumerate(parents):
                place = parent
                for _ in range(getattr(self.strategy, "every", 1) - 1):
                    if self.finish[place] == "stop":
                        place = self.draw((*place, 0))
                if self.finish[place] != "stop":
                    grown.append(place)
                    continue
                share = len(range(rank, budget, len(parents)))
                grown += [self.draw((*place, i)) for i in range(share)]
            pool = ended + (self.distinct(grown) if merge else grown)
        return {p for p in [*voted, *pool] if self.finish[p] == "eos"}

    def run(self) -> set[Place]:
        n, width = self.strategy.n, width_of(self.strategy.n, self.strategy.width)
        firsts = [self.draw((i,)) for i in range(n)]
        if isinstance(self.strategy, Dvts):
            groups = [firsts[start : start + width] for start in range(0, n, width)]
            return {p for group in groups for p in self.subtree(group, 1, width)}
        return self.subtree(firsts, n // width, width)


@every_search
@pytest.mark.parametrize("repeating", [False, True])
async def test_same_draws_and_votes_as_a_plain_reading_of_the_method(
    strategy: Search, repeating: bool
) -> None:
    ended_by_vote = 0
    for seed in range(40):
        given = models(seed, **(REPEATING if repeating else {}))  # type: ignore[arg-type]
        solution = await solve(strategy, given)
        reading = Reading(given.policy, given.verifier, strategy)
        finished = reading.run()
        assert {r[1] for r in tree_requests(given)} == set(reading.text) - {()}
        kept = Counter(c.token_ids for c in solution.candidates if c.kept and c.finish == "eos")
        expected = Counter(reading.text[p] for p in finished)
        assert kept >= expected
        if any(answer_of(reading.text[p]) is not None for p in finished):
            ended_by_vote += 1
            assert kept == expected
            votes: dict[str, float] = {}
            for place in sorted(finished):
                answer = answer_of(reading.text[place])
                if answer is not None:
                    value = aggregate(reading.scores(reading.text[place]), strategy.aggregation)
                    votes[answer] = votes.get(answer, 0.0) + value
            assert solution.answer == max(votes, key=lambda a: votes[a])
    assert ended_by_vote >= 10


@every_search
async def test_cost_in_generations(strategy: Search) -> None:
    nominal = strategy.generations if isinstance(strategy, Lookahead) else strategy.n
    for seed in range(20):
        given = models(seed)
        solution = await solve(strategy, given)
        assert solution.generations == nominal
        drawn = tree_requests(given)
        for depth in range(1, 1 + max(len(r[1]) for r in drawn)):
            assert sum(len(r[1]) == depth for r in drawn) <= strategy.n
        rollouts = [r for r in given.policy.requests if not r[1]]
        assert len(rollouts) <= getattr(strategy, "k", 0) * len(drawn)
        assert len(given.verifier.requests) <= len(drawn)


@every_search
async def test_no_search_exceeds_the_worst_case_it_is_estimated_at(strategy: Search) -> None:
    for seed in range(10):
        given = models(seed, end_rate=0.0, max_tokens=16)
        most = given.policy.max_tokens
        bound = strategy.forecast(most, most).bound
        assert bound is not None
        await solve(strategy, given)
        assert len(given.policy.requests) <= bound
        tokens = sum(len(given.policy.drawn(*r[:3]).token_ids) for r in given.policy.requests)
        assert tokens <= bound * most


@every_search
async def test_finished_is_never_extended_nor_cloned_and_no_place_is_drawn_twice(strategy: Search) -> None:
    for seed in range(40):
        given = models(seed, **(REPEATING if seed % 2 else {}))  # type: ignore[arg-type]
        solution = await solve(strategy, given)
        drawn = tree_requests(given)
        places = [place for _, place, _, _ in drawn]
        assert len(set(places)) == len(places)
        assert not any(EOS in prefix for prefix, *_ in given.policy.requests)
        assert not any(len(prefix) >= given.policy.max_tokens for prefix, *_ in given.policy.requests)
        # Leaves and inner nodes together are what was drawn: nobody is listed twice, nothing is lost.
        inner = {place[:-1] for place in places} - {()}
        assert len(solution.candidates) == len(set(places) - inner)
        finished = sum(c.finish == "eos" for c in solution.candidates)
        assert finished == sum(given.policy.drawn(*r[:3]).finish == "eos" for r in drawn)


@every_search
async def test_prefix_of_a_step_is_the_tokens_of_the_steps_before(strategy: Search) -> None:
    given = models(3)
    await solve(strategy, given)
    text: dict[Place, Tokens] = {(): ()}
    for prefix, place, one_step, sampling in tree_requests(given):
        assert one_step
        assert sampling == Sampling(1.0, 1.0)
        assert prefix == text[place[:-1]]
        text[place] = prefix + given.policy.drawn(prefix, place, True).token_ids


@every_search
async def test_result_depends_on_places_and_not_on_order_of_completion(strategy: Search) -> None:
    for seed in range(5):
        expected = await solve(strategy, models(seed))
        orders = set()
        for delays in range(5):
            given = models(seed, delays=delays)
            assert await solve(strategy, given) == expected
            orders.add(tuple(given.policy.completed))
        assert len(orders) > 1


@every_search
async def test_no_more_sequences_at_once_than_declared(strategy: Search) -> None:
    given = models(2, delays=3)
    running = peak = 0
    original = given.policy.sample

    async def counted(prefix, place, **how):  # type: ignore[no-untyped-def]
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        sample = await original(prefix, place, **how)
        running -= 1
        return sample

    given.policy.sample = counted  # type: ignore[method-assign]
    await solve(strategy, given)
    assert strategy.n / 2 <= peak <= strategy.sequences


@every_search
async def test_tree_can_be_drawn_again_from_the_candidates(strategy: Search) -> None:
    for seed in range(20):
        given = models(seed, **(REPEATING if seed % 2 else {}))  # type: ignore[arg-type]
        solution = await solve(strategy, given)
        nodes = 0
        for position, c in enumerate(solution.candidates):
            assert c.index == position
            assert -1 <= c.parent < c.index
            assert 0 <= c.depth <= len(c.step_ends) == len(c.scores) == len(c.logprobs)
            assert list(c.scores) == [given.verifier.value(c.token_ids[:end]) for end in c.step_ends]
            shared = 0
            if c.parent >= 0:
                parent = solution.candidates[c.parent]
                shared = c.step_ends[c.depth - 1]
                assert c.token_ids[:shared] == parent.token_ids[:shared]
            nodes += len(c.token_ids) - shared
        drawn = sum(len(given.policy.drawn(*r[:3]).token_ids) for r in tree_requests(given))
        assert nodes == drawn
        assert 0 < solution.kept_tokens <= drawn


@pytest.mark.parametrize(
    "strategy",
    [
        Beam(4, width=2, every=2),
        Beam(4, merge=True),
        Lookahead(4, width=2, k=2),
        Dvts(4, width=2),
        Beam(4, width=2, finished="vote"),
    ],
    ids=lambda s: s.text,
)
@pytest.mark.parametrize("delays", [None, 1])
async def test_anytime_for_every_size_of_the_purse(strategy: Search, delays: int | None) -> None:
    for seed in range(6):
        free = models(seed, delays=delays)
        whole = await solve(strategy, free)
        needed = free.policy.purse.used
        for limit in range(needed + 1):
            given = models(seed, limit=limit, delays=delays)
            try:
                solution = await solve(strategy, given)
            except PurseEmpty:
                drawn = [
                    given.policy.drawn(*r[:3]) for r in tree_requests(given) if r[1] in given.policy.completed
                ]
                assert all(sample.finish == "stop" for sample in drawn)
                continue
            assert given.policy.purse.used <= limit
            assert not any(EOS in prefix for prefix, *_ in given.policy.requests)
            share = 1 + getattr(strategy, "k", 0)
            assert solution.generations in range(share, strategy.n * share + 1, share)
            assert solution.answer == weighted(solution.candidates)
            finished = [c for c in solution.candidates if c.finish == "eos" and c.answer is not None]
            assert solution.answer is not None or not finished
        assert solution == whole


@every_search
async def test_branches_do_not_wait_for_the_score_of_a_sibling(strategy: Search) -> None:
    """All first steps but a slow one are scored, or at least drawn where they are looked ahead of together."""
    given = models()
    held = asyncio.Event()
    original = given.policy.sample

    async def first_is_slow(prefix, place, **how):  # type: ignore[no-untyped-def]
        if place == (0,):
            await held.wait()
        return await original(prefix, place, **how)

    given.policy.sample = first_is_slow  # type: ignore[method-assign]
    running = asyncio.create_task(solve(strategy, given))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len([r for r in given.policy.requests if len(r[1]) == 1]) == strategy.n - 1
    if not isinstance(strategy, Lookahead):
        assert len(given.verifier.requests) >= strategy.n - 1
    held.set()
    await running
