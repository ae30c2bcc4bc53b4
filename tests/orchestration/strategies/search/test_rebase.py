"""REBASE: widths by largest remainder, against hand-made numbers and a plain reading of the algorithm."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import UserError
from orchestration.strategies.search.rebase import Rebase, widths_of
from orchestration.strategies.selection import aggregate, weighted
from tests.support.fakes import PROMPT, FakeModels, answer_of, models, step, step_ends

LN2 = math.log(2)


@pytest.mark.parametrize(
    ("values", "budget", "temperature", "widths"),
    [
        # Weights 4:2:1 of 7 are whole; of 8 they are 4.57, 2.29, 1.14, and the first has the largest remainder.
        ([2 * LN2 / 3, LN2 / 3, 0.0], 7, 1 / 3, [4, 2, 1]),
        ([2 * LN2 / 3, LN2 / 3, 0.0], 8, 1 / 3, [5, 2, 1]),
        # Of 3 they are 1.71, 0.86, 0.43: the second has the larger remainder, then the first; the last has nothing.
        ([2 * LN2 / 3, LN2 / 3, 0.0], 3, 1 / 3, [2, 1, 0]),
        ([0.0, LN2 / 3, 2 * LN2 / 3], 3, 1 / 3, [0, 1, 2]),
        # Equal values: what is left over goes to the smaller places. (Rounding each would give 0 or 1.6 times as many.)
        ([0.5] * 5, 8, 0.2, [2, 2, 2, 1, 1]),
        ([0.5] * 40, 16, 0.1, [1] * 16 + [0] * 24),
        # Cold: all to the best. Hot: the same for each.
        ([0.1, 0.9, 0.8], 6, 1e-300, [0, 6, 0]),
        ([0.1, 0.9, 0.8], 6, 1e300, [2, 2, 2]),
        ([0.0], 1, 0.2, [1]),
    ],
)
def test_widths_by_hand(values: list[float], budget: int, temperature: float, widths: list[int]) -> None:
    assert widths_of(values, budget, temperature) == widths


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=64),
    st.integers(1, 300),
    st.floats(1e-6, 1e6),
)
def test_widths_sum_to_the_budget_within_one_of_the_quota_and_follow_values(
    values: list[float], budget: int, temperature: float
) -> None:
    widths = widths_of(values, budget, temperature)
    assert sum(widths) == budget
    weights = [Fraction(math.exp((value - max(values)) / temperature)) for value in values]
    for weight, width in zip(weights, widths, strict=True):
        assert abs(width - budget * weight / sum(weights)) < 1 + Fraction(1, 10**6)
    # From the smallest value to the largest, of equal ones the larger place first.
    order = sorted(range(len(values)), key=lambda i: (values[i], -i))
    assert all(widths[i] <= widths[j] for i, j in pairwise(order))


def reading(given: FakeModels, strategy: Rebase) -> tuple[set[tuple[int, ...]], set[tuple[int, ...]]]:
    """All places drawn and the ended ones, node by node, as the paper has it."""
    text: dict[tuple[int, ...], tuple[int, ...]] = {(): ()}
    ended: set[tuple[int, ...]] = set()
    budget, depth = strategy.n, {(): strategy.n}
    for _ in range(strategy.rounds):
        level = []
        for parent, width in depth.items():
            for index in range(width):
                place = (*parent, index)
                sample = given.policy.drawn(text[parent], place, True)
                text[place] = text[parent] + sample.token_ids
                level.append(place)
                if sample.finish != "stop" or len(text[place]) >= given.policy.max_tokens:
                    ended.add(place)
                    budget -= 1
        live = [place for place in level if place not in ended]
        if not live or budget == 0:
            break
        values = [
            aggregate(
                [given.verifier.value(text[p][:end]) for end in step_ends(text[p])], strategy.aggregation
            )
            for p in live
        ]
        depth = dict(zip(live, widths_of(values, budget, strategy.temperature_b), strict=True))
    return set(text) - {()}, ended


@pytest.mark.parametrize(
    "strategy",
    [
        Rebase(4),
        Rebase(16),
        Rebase(9, temperature_b=1.0),
        Rebase(8, 0.05, aggregation="min"),
        Rebase(16, rounds=3),
    ],
    ids=lambda s: s.text,
)
async def test_same_tree_as_a_plain_reading_of_the_paper(strategy: Rebase) -> None:
    for seed in range(40):
        given = models(seed)
        solution = await strategy.solve(PROMPT, given)
        places, ended = reading(given, strategy)
        assert {r[1] for r in given.policy.requests} == places
        finished = [c for c in solution.candidates if c.finish == "eos"]
        assert all(c.kept for c in finished)
        assert sum(c.finish != "stop" for c in solution.candidates) == len(ended)
        assert solution.answer == weighted(solution.candidates, strategy.aggregation)
        # What is drawn at each depth is what is left of the budget: n generations, and no more.
        assert solution.generations == strategy.n
        left = strategy.n
        for depth in range(1, 1 + max(map(len, places))):
            assert sum(len(place) == depth for place in places) == left
            left -= sum(len(place) == depth for place in ended)
        assert len(given.verifier.requests) == len(given.policy.requests)


async def test_tree_by_hand() -> None:
    samples = {
        # First steps of values 0.8, 0.6, 0.4 and a finished one.
        (0,): step(2, 1),
        (1,): step(3, 1),
        (2,): step(4, 1),
        (3,): step(5, 0),
        # Three are left: quotas at T = 0.2 are 2.00, 0.73 and 0.27.
        (0, 0): step(6, 0),
        (0, 1): step(7, 1),
        (1, 0): step(8, 0),
        # One is left, and one node.
        (0, 1, 0): step(4, 0),
    }
    scores = {
        (2, 1): 0.8,
        (3, 1): 0.6,
        (4, 1): 0.4,
        (5, 0): 0.125,
        (2, 1, 6, 0): 0.75,
        (2, 1, 7, 1): 0.5,
        (3, 1, 8, 0): 0.25,
        (2, 1, 7, 1, 4, 0): 0.5,
    }
    given = models(samples=samples, scores=scores)
    solution = await Rebase(4).solve(PROMPT, given)
    assert {r[1] for r in given.policy.requests} == set(samples)
    shown = [(c.token_ids, c.kept, c.parent, c.depth, c.answer) for c in solution.candidates]
    assert shown == [
        ((2, 1, 6, 0), True, -1, 0, "0"),
        ((2, 1, 7, 1, 4, 0), True, 0, 1, "1"),
        ((3, 1, 8, 0), True, -1, 0, "2"),
        ((5, 0), True, -1, 0, "2"),
        ((4, 1), False, -1, 0, None),
    ]
    # Votes: 0.75 for 0, 0.5 for 1, 0.375 for 2.
    assert solution.answer == answer_of((6,))
    assert solution.kept_tokens == 2 + 2 + 2 + 2 + 2 + 4


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Rebase(0), r"rebase\.n"),
        (lambda: Rebase(4, temperature_b=0), r"rebase\.temperature_b = 0: must be a finite number above 0"),
        (lambda: Rebase(4, temperature_b=math.inf), r"rebase\.temperature_b"),
        (lambda: Rebase(4, temperature_b="warm"), r"rebase\.temperature_b"),  # type: ignore[arg-type]
        (lambda: Rebase(4, rounds=0), r"rebase\.rounds"),
        (lambda: Rebase(4, aggregation="sum"), r"rebase\.aggregation"),  # type: ignore[arg-type]
        (lambda: Rebase(4, temperature=0), r"rebase\.temperature"),
        (lambda: Rebase(4, top_p=2.0), r"rebase\.top_p"),
    ],
)
def test_impossible_settings_are_refused(make, field: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=field):
        make()
