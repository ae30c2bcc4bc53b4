"""What becomes of solutions that finish before the others: they vote and are paid once, or they compete."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import replace

import pytest

from actors.errors import UserError
from actors.strategy import PurseEmpty, Solution
from orchestration.strategies.search.beam import Beam
from orchestration.strategies.search.dvts import Dvts
from orchestration.strategies.search.lookahead import Lookahead
from orchestration.strategies.search.rounds import Finished
from orchestration.strategies.selection import weighted
from orchestration.strategies.settings import width_of
from tests.support.fakes import PROMPT, FakeModels, answer_of, models, solve, step

Search = Beam | Lookahead | Dvts
Place = tuple[int, ...]

SEARCHES: list[Search] = [
    Beam(8),
    Beam(16, width=4),
    Beam(9, width=3, aggregation="min"),
    Beam(4, width=1),
    Beam(16, width="sqrt", rounds=3),
    Lookahead(8, width=2, k=2),
    Dvts(8),
    Dvts(9, width=3),
]
every_search = pytest.mark.parametrize(
    "strategy", [replace(one, finished="vote") for one in SEARCHES], ids=lambda s: s.text
)


def tree_of(given: FakeModels) -> dict[Place, str]:
    """How each drawn step of the tree ended, by its place."""
    found = {}
    for prefix, place, one_step, _ in given.policy.requests:
        if place and place in given.policy.completed:
            sample = given.policy.drawn(prefix, place, one_step)
            full = len(prefix + sample.token_ids) >= given.policy.max_tokens
            found[place] = "length" if full and sample.finish == "stop" else sample.finish
    return found


def voting(solution: Solution) -> int:
    return sum(one.kept and one.finish == "eos" for one in solution.candidates)


# What `compete` gave before there was a choice: answers, candidates and requests of 60 problems and purses.
BEFORE = [
    (Beam(8), "9c7564c257a66d77"),
    (Beam(8, width=2, every=2), "501911ba889b24b6"),
    (Beam(9, width=3, every=2, merge=True, rounds=4), "66dff1153febe90e"),
    (Beam(16, "sqrt", aggregation="product"), "889fa143354d16ce"),
    (Lookahead(8, width=2, k=2), "348914efe39e6508"),
    (Dvts(8, width=4), "a4b13fa5b51d597f"),
    (Beam(1), "0e477efc5dda6b8b"),
]


@pytest.mark.parametrize(("strategy", "digest"), BEFORE, ids=lambda one: getattr(one, "text", ""))
async def test_competing_is_what_it_always_was(strategy: Search, digest: str) -> None:
    found = hashlib.sha256()
    for seed in range(20):
        for limit in (None, 7, 30):
            given = models(seed, limit=limit, words=(2, 3) if seed % 2 else tuple(range(2, 10)))
            try:
                solution = await solve(replace(strategy, finished="compete"), given)
            except PurseEmpty:
                solution = None
            told = repr((solution, given.policy.requests, given.verifier.requests))
            # A search decides nothing by price, and a solution had no place for it then.
            found.update(told.replace(", decisions=(), probes=()", "").encode())
    assert found.hexdigest()[:16] == digest


@every_search
async def test_what_ended_takes_one_of_n_and_all_others_are_drawn(strategy: Search) -> None:
    width = width_of(strategy.n, strategy.width)
    shrunk = 0
    for seed in range(40):
        given = models(seed)
        await solve(strategy, given)
        tree = tree_of(given)
        budget = width if isinstance(strategy, Dvts) else strategy.n
        for subtree in range(0, strategy.n, budget):
            mine = {place: how for place, how in tree.items() if place[0] in range(subtree, subtree + budget)}
            for depth in range(1, 1 + max(len(place) for place in mine)):
                drawn = [place for place in mine if len(place) == depth]
                ended = sum(how != "stop" for place, how in mine.items() if len(place) < depth)
                assert len(drawn) == budget - ended
                if depth > 1:
                    shares = Counter(place[:-1] for place in drawn)
                    assert len(shares) == math.ceil((budget - ended) / width)
                    assert max(shares.values()) - min(shares.values()) <= 1
                    assert max(shares.values()) <= width
                    shrunk += ended > 0
    assert shrunk >= 20


@every_search
@pytest.mark.parametrize("limit", [None, 6, 15, 40])
async def test_every_finished_solution_votes(strategy: Search, limit: int | None) -> None:
    most = 0
    for seed in range(30):
        given = models(seed, limit=limit)
        try:
            solution = await solve(strategy, given)
        except PurseEmpty:
            assert "eos" not in tree_of(given).values()
            continue
        finished = sum(how == "eos" for how in tree_of(given).values())
        assert voting(solution) == finished <= strategy.n
        assert sum(one.kept for one in solution.candidates) <= strategy.n
        assert solution.answer == weighted(solution.candidates, strategy.aggregation)
        most = max(most, finished)
    assert most > 1


@every_search
async def test_what_both_draw_is_the_same_and_no_vote_is_lost(strategy: Search) -> None:
    """Up to the first depth where something ended, the trees are one and the same. With a width of 1 nothing competes."""
    more = 0
    for seed in range(40):
        votes: dict[Finished, FakeModels] = {"vote": models(seed), "compete": models(seed)}
        found = {how: await solve(replace(strategy, finished=how), given) for how, given in votes.items()}
        one, other = (tree_of(given) for given in votes.values())
        first = min((len(place) for tree in (one, other) for place, how in tree.items() if how != "stop"))
        assert {place: how for place, how in one.items() if len(place) <= first} == {
            place: how for place, how in other.items() if len(place) <= first
        }
        more += voting(found["vote"]) - voting(found["compete"])
    assert more > 0 or strategy.width == 1


@pytest.mark.parametrize("strategy", SEARCHES, ids=lambda s: s.text)
async def test_where_all_solutions_have_equally_many_steps_the_choice_changes_nothing(
    strategy: Search,
) -> None:
    for steps in (1, 2, 4):
        found = []
        for how in ("compete", "vote"):
            given = models(5)

            async def sample(prefix, place, given=given, steps=steps, **how):  # type: ignore[no-untyped-def]
                length = sum(token == 1 for token in prefix)
                given.policy.requests.append((prefix, place, True, how["sampling"]))
                return step(2 + sum(place) % 7, 1) if length < steps else step(2 + sum(place) % 7, 0)

            given.policy.sample = sample  # type: ignore[method-assign]
            solution = await solve(replace(strategy, finished=how), given)
            found.append((solution, given.policy.requests, given.verifier.requests))
        assert found[0] == found[1]


async def test_a_tree_by_hand() -> None:
    samples = {
        # (3,) finishes with the lowest value: under `compete` it would be dropped.
        (0,): step(2, 1),
        (1,): step(3, 1),
        (2,): step(4, 1),
        (3,): step(5, 0),
        # Three continuations are left, for two places: the better one gets two of them.
        (1, 0): step(6, 0),
        (1, 1): step(7, 1),
        (2, 0): step(8, 1),
        # Two are left, one place.
        (2, 0, 0): step(3, 0),
        (2, 0, 1): step(4, finish="length"),
    }
    scores = {
        (5, 0): 0.0625,
        (2, 1): 0.125,
        (3, 1): 0.75,
        (4, 1): 0.5,
        (3, 1, 6, 0): 0.125,
        (3, 1, 7, 1): 0.25,
    }
    scores |= {(4, 1, 8, 1): 0.5, (4, 1, 8, 1, 3, 0): 0.125, (4, 1, 8, 1, 4): 1.0}
    given = models(samples=samples, scores=scores)
    solution = await solve(Beam(4, width=2, finished="vote"), given)
    assert [request[1] for request in given.policy.requests] == list(samples)
    shown = [(c.token_ids, c.finish, c.kept, c.answer) for c in solution.candidates]
    assert shown == [
        ((3, 1, 6, 0), "eos", True, "0"),
        ((4, 1, 8, 1, 3, 0), "eos", True, "0"),
        ((4, 1, 8, 1, 4), "length", True, "1"),
        ((5, 0), "eos", True, "2"),
        ((2, 1), "stop", False, None),
        ((3, 1, 7, 1), "stop", False, None),
    ]
    assert solution.answer == "0"
    assert solution.generations == 4
    assert solution.kept_tokens == 4 + 4 + 2 + 1 + 2
    samples |= {(2, 1): step(8, 1), (2, 1, 0): step(3, 0), (2, 1, 1): step(3, 0)}
    competing = await solve(Beam(4, width=2, finished="compete"), models(samples=samples, scores=scores))
    finished = [(c.token_ids[0], c.kept) for c in competing.candidates if c.finish == "eos"]
    assert finished == [(4, True), (4, True), (4, True), (3, False), (5, False)]


@pytest.mark.parametrize("kind", [Beam, Dvts, Lookahead])
async def test_all_finish_at_once(kind: type[Search]) -> None:
    samples = {(i,): step(2 + i, 0) for i in range(4)}
    given = models(samples=samples)
    solution = await solve(kind(4, width=2, finished="vote"), given)
    assert len(given.policy.requests) == 4
    assert voting(solution) == 4


async def test_one_that_lasts_longer_than_all_others_goes_on_alone_with_what_is_its_own() -> None:
    samples = {(0,): step(2, 1), (1,): step(3, 0), (2,): step(4, 0), (3,): step(5, 0)}
    samples |= {(0,) + (0,) * depth: step(2, 1) for depth in range(1, 5)} | {(0,) + (0,) * 5: step(6, 0)}
    given = models(samples=samples)
    solution = await solve(Beam(4, finished="vote"), given)
    assert [request[1] for request in given.policy.requests] == [(0,), (1,), (2,), (3,)] + [
        (0,) + (0,) * depth for depth in range(1, 6)
    ]
    assert voting(solution) == len(solution.candidates) == 4


async def test_one_is_one_sample() -> None:
    for seed in range(10):
        for one in (Beam(1), Dvts(1), Lookahead(1)):
            free, given = models(seed), models(seed)
            expected = await one.solve(PROMPT, free)
            assert await replace(one, finished="vote").solve(PROMPT, given) == expected
            assert given.policy.requests == free.policy.requests


async def test_a_merged_copy_of_a_finished_solution_takes_no_share_and_no_vote() -> None:
    samples = {(0,): step(2, 0), (1,): step(2, 0), (2,): step(2, 0), (3,): step(3, 1)}
    samples |= {(3, i): step(4 + i, 0) for i in range(3)}
    given = models(samples=samples)
    solution = await solve(Beam(4, width=4, merge=True, finished="vote"), given)
    assert [request[1] for request in given.policy.requests] == list(samples)
    assert [c.token_ids for c in solution.candidates if c.kept] == [
        (2, 0),
        *((3, 1, 4 + i, 0) for i in range(3)),
    ]


async def test_one_that_ends_before_it_branches_takes_one_share() -> None:
    samples = {(0,): step(2, 1), (1,): step(3, 1), (2,): step(4, 1), (3,): step(5, 1)}
    # Two places; (3,) ends on the way to its two continuations, (2,) has both.
    samples |= {(3, 0): step(6, 0), (2, 0): step(6, 1), (2, 0, 0): step(7, 1), (2, 0, 1): step(8, 1)}
    # Three continuations are left, for two places.
    samples |= {(2, 0, 0, 0): step(2, 1), (2, 0, 1, 0): step(2, 1)}
    samples |= {(2, 0, 0, 0, 0): step(2, 0), (2, 0, 0, 0, 1): step(3, 0), (2, 0, 1, 0, 0): step(4, 0)}
    scores = {(2, 1): 0.125, (3, 1): 0.25, (4, 1): 0.5, (5, 1): 0.75}
    scores |= {(4, 1, 6, 1, 7, 1): 0.5, (4, 1, 6, 1, 8, 1): 0.25}
    given = models(samples=samples, scores=scores)
    solution = await solve(Beam(4, width=2, every=2, finished="vote"), given)
    assert {request[1] for request in given.policy.requests} == set(samples)
    assert voting(solution) == 4


async def test_a_purse_that_runs_empty_leaves_the_vote_to_what_finished() -> None:
    samples = {(0,): step(2, 0), (1,): step(3, 1)}
    scores = {(2, 0): 0.0625, (3, 1): 1.0}
    given = models(samples=samples, scores=scores, limit=4)
    solution = await solve(Beam(2, width=2, finished="vote"), given)
    assert solution.answer == answer_of((2,))
    assert [(c.finish, c.kept) for c in solution.candidates] == [("eos", True), ("stop", True)]


@pytest.mark.parametrize("name", ["beam", "dvts", "lookahead"])
def test_another_word_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=f"{name}.finished = 'votes': must be one of compete, vote"):
        {"beam": Beam, "dvts": Dvts, "lookahead": Lookahead}[name](4, finished="votes")  # type: ignore[arg-type]
