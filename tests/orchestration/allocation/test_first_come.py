"""First come, first served: what a task may have of one budget."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.ledger import UNLIMITED
from actors.strategy import Prompt
from actors.work import Task
from orchestration.allocation.first_come import FirstCome

TASK = Task("t", Prompt("p", (1,)), (), (), 0)


def test_a_task_starts_with_the_worst_case_of_one_candidate_whatever_is_left() -> None:
    assert FirstCome(70).first_grant(TASK, free=1_000) == 70
    assert FirstCome(70).first_grant(TASK, free=3) == 70


def test_without_a_budget_nothing_has_to_be_asked_for_twice() -> None:
    """Ten thousand tasks in hand, each with a grant that it cannot spend, still fit into no budget at all."""
    grant = FirstCome(None).first_grant(TASK, free=UNLIMITED)
    assert grant > 10**18
    assert 10_000 * grant < UNLIMITED


def test_what_is_asked_is_given_while_it_is_there() -> None:
    assert FirstCome(70).refill(TASK, asked=300, held=70, free=300) == 300


def test_near_the_end_what_is_left_is_given_if_a_candidate_fits() -> None:
    assert FirstCome(70).refill(TASK, asked=300, held=70, free=299) == 299
    assert FirstCome(70).refill(TASK, asked=300, held=70, free=70) == 70


def test_less_than_a_candidate_is_not_broken_off_the_budget() -> None:
    """It waits (for more than there is cannot be granted) until others return what they did not use."""
    asked = FirstCome(70).refill(TASK, asked=300, held=70, free=69)
    assert asked is not None
    assert asked > 69


def test_a_long_search_gets_as_much_again_while_the_budget_is_far_from_its_end() -> None:
    assert FirstCome(70).refill(TASK, asked=10, held=500, free=100_000) == 500
    assert FirstCome(70).refill(TASK, asked=10, held=500, free=1_600) == 100
    assert FirstCome(70).refill(TASK, asked=10, held=500, free=159) == 10


@given(st.integers(1, 1_000), st.integers(1, 10_000), st.integers(0, 10_000), st.integers(0, 20_000))
def test_it_never_refuses_and_lets_little_lie_idle(first: int, asked: int, held: int, free: int) -> None:
    amount = FirstCome(first).refill(TASK, asked, held, free)
    assert amount is not None
    assert 0 < amount <= max(asked, free // 16)
