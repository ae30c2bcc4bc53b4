"""Monte Carlo tree search: its rule by hand, a plain reading of it, and what it may cost."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import UserError
from actors.strategy import Solution
from orchestration.strategies.search.mcts import Mcts, puct
from orchestration.strategies.selection import aggregate, weighted
from tests.support.fakes import (
    EOS,
    PROMPT,
    FakeModels,
    FakePolicy,
    FakeVerifier,
    answer_of,
    models,
    step,
    step_ends,
)

Place = tuple[int, ...]

SETTINGS = [
    Mcts(4),
    Mcts(16),
    Mcts(16, parallel=1),
    Mcts(32, width=2, parallel=1, exploration=0.3),
    Mcts(24, width=3, parallel=8),
    Mcts(16, width=4, parallel=3, rounds=3),
    Mcts(16, width="sqrt", exploration=0.0, aggregation="min"),
    Mcts(64, width=16, parallel=64, exploration=5.0),
]


async def solve(strategy: Mcts, given: FakeModels) -> Solution:
    return await strategy.solve(PROMPT, given)


def places_of(given: FakeModels) -> set[Place]:
    return {place for _, place, _, _ in given.policy.requests}


def test_worth_by_hand() -> None:
    # Never tried: the verifier's value, and all of the bonus.
    assert puct(0.75, 0.0, 0, 0, 0.5) == 1.25
    # Three descents that ended with 1, 0.5 and 0, and the verifier's value as a fourth.
    assert puct(0.5, 1.5, 3, 0, 0.0) == 0.5
    # One in flight counts as lost, and shares the bonus.
    assert puct(0.75, 0.0, 0, 1, 0.5) == 0.625


@given(*[st.floats(0, 1)] * 2, st.integers(0, 50), st.integers(0, 50), st.floats(0, 10))
def test_a_descent_in_flight_never_makes_a_continuation_worth_more(
    value: float, mean: float, visits: int, flying: int, bonus: float
) -> None:
    worth = puct(value, mean * visits, visits, flying, bonus)
    assert puct(value, mean * visits, visits, flying + 1, bonus) <= worth


SAMPLES = {
    (0,): step(2, 1),
    (1,): step(3, 1),
    (1, 0): step(4, 0),
    (1, 1): step(5, 1),
    (0, 0): step(6, 0),
    (0, 1): step(8, finish="length"),
}
SCORES = {
    (2, 1): 0.5,
    (3, 1): 0.6,
    (3, 1, 4, 0): 0.9,
    (3, 1, 5, 1): 0.2,
    (2, 1, 6, 0): 0.1,
    (2, 1, 8): 1.0,
}


async def test_tree_by_hand() -> None:
    """The first descent takes (1,) for its 0.6 and ends with the 0.9 of (1, 0). The second compares
    (0.6 + 0.9 + sqrt(2) / 2) / 2 = 1.10 with 0.5 + sqrt(2) / 2 = 1.21, takes (0,), and ends with what finished there."""
    given = models(samples=SAMPLES, scores=SCORES)
    solution = await solve(Mcts(4, width=2, parallel=1), given)
    assert [r[1] for r in given.policy.requests] == [(0,), (1,), (1, 0), (1, 1), (0, 0), (0, 1)]
    shown = [(c.token_ids, c.finish, c.kept, c.parent, c.depth) for c in solution.candidates]
    assert shown == [
        ((2, 1, 6, 0), "eos", True, -1, 0),
        ((2, 1, 8), "length", True, 0, 1),
        ((3, 1, 4, 0), "eos", True, -1, 0),
        ((3, 1, 5, 1), "stop", False, 2, 1),
    ]
    assert solution.answer == answer_of((4,))
    assert solution.generations == 4
    assert solution.kept_tokens == 2 + 2 + 1 + 2 + 2


async def test_what_finished_beside_the_chosen_one_votes_too() -> None:
    # Descents end with the first of each pair; the second ones outvote them.
    samples = {(0,): step(4, 0), (1,): step(3, 0), (2,): step(3, 0), (3,): step(5, 1)}
    scores = {(4, 0): 0.9, (3, 0): 0.6, (5, 1): 0.1}
    solution = await solve(Mcts(4, width=4, parallel=1), models(samples=samples, scores=scores))
    assert solution.answer == answer_of((3,))
    assert solution.generations == 4


@pytest.mark.parametrize(
    ("low", "high", "exploration", "second"),
    [
        # Lost, the better one is worth (0.6 + sqrt(2) / 2) / 2 = 0.65: less than 0.5 + sqrt(2) / 2.
        (0.5, 0.6, 1.0, [(0, 0), (0, 1), (1, 0), (1, 1)]),
        # Without exploration it is worth 0.45: still more than 0.1, so both go there.
        (0.1, 0.9, 0.0, [(1, 0), (1, 1)]),
    ],
)
async def test_descents_in_flight_part_by_virtual_loss(
    low: float, high: float, exploration: float, second: list[Place]
) -> None:
    samples = {(0,): step(2, 1), (1,): step(3, 1)} | {(i, j): step(4, 0) for i in (0, 1) for j in (0, 1)}
    given = models(samples=samples, scores={(2, 1): low, (3, 1): high})
    await solve(Mcts(4, width=2, exploration=exploration, parallel=2), given)
    # Sooner or later both are expanded; the batch that begins together is what was asked for before any end.
    first_batch = [r[1] for r in given.policy.requests if len(r[1]) == 2][: len(second)]
    assert first_batch == second


@dataclass
class Branch:
    place: Place
    text: tuple[int, ...]
    finish: str
    value: float
    ends: list[float] = field(default_factory=list)
    children: list[Branch] = field(default_factory=list)


@dataclass
class Reading:
    """One descent after another, as the module's docstring has it."""

    policy: FakePolicy
    verifier: FakeVerifier
    strategy: Mcts
    root: Branch = field(default_factory=lambda: Branch((), (), "stop", 0.0))
    drawn: Counter[int] = field(default_factory=Counter)

    def open(self, branch: Branch) -> bool:
        if branch.children:
            return any(self.open(child) for child in branch.children)
        return branch.finish == "stop" and len(branch.place) < self.strategy.rounds

    def expand(self, branch: Branch) -> None:
        for index in range(self.strategy.continuations):
            place = (*branch.place, index)
            sample = self.policy.drawn(branch.text, place, True)
            text = branch.text + sample.token_ids
            full = sample.finish == "stop" and len(text) >= self.policy.max_tokens
            finish = "length" if full else sample.finish
            scores = [self.verifier.value(text[:end]) for end in step_ends(text)]
            value = aggregate(scores, self.strategy.aggregation) if scores and finish != "length" else 0.0
            branch.children.append(Branch(place, text, finish, value))
            self.drawn[len(place)] += 1

    def run(self) -> set[Place]:
        width = self.strategy.continuations
        while self.open(self.root) and max(self.drawn.values(), default=0) + width <= self.strategy.n:
            path = [self.root]
            while self.open(path[-1]):
                new = not path[-1].children
                if new:
                    self.expand(path[-1])
                children = path[-1].children
                visits = 1 + sum(len(child.ends) for child in children)
                path.append(
                    max(
                        (child for child in children if new or self.open(child)),
                        key=lambda c: (
                            (c.value + sum(c.ends) + self.strategy.exploration * math.sqrt(visits) / width)
                            / (1 + len(c.ends)),
                            [-index for index in c.place],
                        ),
                    )
                )
            for branch in path:
                branch.ends.append(path[-1].value if path[-1].finish == "eos" else 0.0)
        return self.places(self.root) - {()}

    def places(self, branch: Branch) -> set[Place]:
        return {branch.place}.union(*(self.places(child) for child in branch.children))


@pytest.mark.parametrize(
    "strategy",
    [s for s in SETTINGS if s.parallel == 1] + [Mcts(4, width=4, parallel=9)],
    ids=lambda s: s.text,
)
async def test_same_tree_as_a_plain_reading(strategy: Mcts) -> None:
    for seed in range(40):
        given = models(seed, max_tokens=40, end_rate=0.15)
        await solve(strategy, given)
        assert places_of(given) == Reading(given.policy, given.verifier, strategy).run()


@pytest.mark.parametrize("strategy", SETTINGS, ids=lambda s: s.text)
async def test_cost_is_n_generations_or_the_whole_tree(strategy: Mcts) -> None:
    whole = 0
    for seed in range(30):
        given = models(seed, max_tokens=40, end_rate=0.15)
        solution = await solve(strategy, given)
        depths = Counter(map(len, places_of(given)))
        assert solution.generations == max(depths.values()) <= strategy.n
        assert len(given.verifier.requests) == len(given.policy.requests)
        # Every node that was expanded has all its continuations.
        parents = Counter(place[:-1] for place in places_of(given))
        assert set(parents.values()) == {strategy.continuations}
        if solution.generations < strategy.n:
            whole += 1
            open_leaves = [c for c in solution.candidates if c.finish == "stop" and not c.kept]
            assert strategy.rounds < 40 or not open_leaves
    assert whole < 30 or strategy.continuations < 3


@pytest.mark.parametrize("strategy", SETTINGS, ids=lambda s: s.text)
async def test_all_that_finished_votes(strategy: Mcts) -> None:
    for seed in range(30):
        given = models(seed)
        solution = await solve(strategy, given)
        finished = [c for c in solution.candidates if c.finish == "eos"]
        assert all(c.kept for c in finished)
        assert solution.answer == weighted(solution.candidates, strategy.aggregation)
        drawn = [given.policy.drawn(prefix, place, True) for prefix, place, _, _ in given.policy.requests]
        assert len(finished) == sum(sample.finish == "eos" for sample in drawn)


async def test_a_batch_of_one_descent_is_parallel_one_and_others_are_other_trees() -> None:
    different = 0
    for seed in range(20):
        trees = []
        for parallel in (1, 4, 64):
            given = models(seed, max_tokens=60, end_rate=0.1)
            await solve(Mcts(32, width=4, parallel=parallel), given)
            trees.append(places_of(given))
        different += trees[0] != trees[1]
        # Eight descents at most are begun at once: n / width.
        at_most = models(seed, max_tokens=60, end_rate=0.1)
        await solve(Mcts(32, width=4, parallel=8), at_most)
        assert places_of(at_most) == trees[2]
    assert different > 10
    assert Mcts(32, parallel=1).text != Mcts(32, parallel=2).text


async def test_descents_that_parted_do_not_wait_for_each_other() -> None:
    samples = {(0,): step(2, 1), (1,): step(3, 1)}
    given = models(samples=samples, scores={(2, 1): 0.5, (3, 1): 0.5}, end_rate=0.0, max_tokens=60)
    original = given.policy.sample
    held = asyncio.Event()

    async def first_is_slow(prefix, place, **how):  # type: ignore[no-untyped-def]
        if place[0] == 0 and len(place) == 2:
            await held.wait()
        return await original(prefix, place, **how)

    given.policy.sample = first_is_slow  # type: ignore[method-assign]
    running = asyncio.create_task(solve(Mcts(4, width=2, parallel=2), given))
    for _ in range(100):
        await asyncio.sleep(0)
    assert max(len(place) for place in places_of(given) if place[0] == 1) > 2
    assert not any(len(place) > 1 for place in places_of(given) if place[0] == 0)
    held.set()
    await running


async def test_tree_that_ends_early_costs_less() -> None:
    given = models(samples={(i,): step(2 + i, 0) for i in range(4)})
    solution = await solve(Mcts(64), given)
    assert (solution.generations, len(given.policy.requests)) == (4, 4)
    assert all(c.finish == "eos" for c in solution.candidates)


async def test_endings_are_never_revisited() -> None:
    """With one continuation that ends and one that goes on at each node, every descent finds another ending."""
    given = models(max_tokens=10_000)

    async def sample(prefix, place, **how):  # type: ignore[no-untyped-def]
        given.policy.requests.append((prefix, place, True, how["sampling"]))
        return step(2, EOS) if place[-1] == 0 else step(3, 1)

    given.policy.sample = sample  # type: ignore[method-assign]
    solution = await solve(Mcts(4, width=2, rounds=12), given)
    endings = [c.token_ids for c in solution.candidates if c.finish == "eos"]
    assert len(endings) == len(set(endings)) == 12


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Mcts(0), r"mcts\.n"),
        (lambda: Mcts(16, width=5), r"mcts\.width = 5: must divide n = 16; the nearest that do are 4 and 8"),
        (lambda: Mcts(16, width="root"), r"mcts\.width"),
        (lambda: Mcts(4, exploration=-1), r"mcts\.exploration = -1: must be a finite number of at least 0"),
        (lambda: Mcts(4, exploration=math.inf), r"mcts\.exploration"),
        (lambda: Mcts(4, parallel=0), r"mcts\.parallel"),
        (lambda: Mcts(4, rounds=0), r"mcts\.rounds"),
        (lambda: Mcts(4, aggregation="sum"), r"mcts\.aggregation"),  # type: ignore[arg-type]
        (lambda: Mcts(4, temperature=0), r"mcts\.temperature"),
        (lambda: Mcts(4, top_p=2.0), r"mcts\.top_p"),
    ],
)
def test_impossible_settings_are_refused(make, field: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=field):
        make()
