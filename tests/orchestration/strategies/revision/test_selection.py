"""Which attempt stands for a chain, and where the hierarchical choice differs from the flat ones."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.strategy import Candidate
from orchestration.strategies.revision.selection import SELECTS, select, winners
from orchestration.strategies.selection import majority, weighted


def attempt(index: int, answer: str | None, score: float | None, finish: str = "eos") -> Candidate:
    scores = () if score is None else (score,)
    return Candidate(index, (5,), (1,), (-1.0,), scores, finish, answer)  # type: ignore[arg-type]


# Answer A wins the first chain (0.9 against 0.6), B the others, by little each.
CHAINS = [
    [attempt(0, "A", 0.4), attempt(1, "A", 0.5), attempt(2, "B", 0.6)],
    [attempt(3, "B", 0.3), attempt(4, "C", 0.2), attempt(5, "C", 0.05)],
    [attempt(6, "B", 0.3), attempt(7, "A", 0.2), attempt(8, "B", 0.1)],
]


def test_an_example_by_hand_in_which_the_choices_differ() -> None:
    # B: 0.3 + 0.3 = 0.6 among the chains' winners, against 0.5 of A. Flat it is 1.3 to 1.1 for B, and 4 votes to 3.
    assert [one.index for one in winners(CHAINS, "last")] == [1, 3, 6]
    assert select(CHAINS, "hierarchical", "last") == "B"
    # With a fourth chain that A wins narrowly, A has 0.5 + 0.2 of the winners, and flat B still has more.
    chains = [*CHAINS, [attempt(9, "A", 0.2), attempt(10, "C", 0.1), attempt(11, "B", 0.15)]]
    assert [one.index for one in winners(chains, "last")] == [1, 3, 6, 9]
    assert select(chains, "hierarchical", "last") == "A"
    assert select(chains, "weighted", "last") == "B"
    assert select(chains, "majority", "last") == "B"


def test_of_a_chain_stands_the_best_attempt_with_its_answer_and_not_its_best_attempt() -> None:
    chain = [attempt(0, "A", 0.9), attempt(1, "B", 0.5), attempt(2, "B", 0.6), attempt(3, "B", 0.6)]
    assert [one.index for one in winners([chain], "last")] == [2]


def test_who_may_not_vote_stands_for_no_chain() -> None:
    unread = [attempt(0, None, 0.9)]
    cut = [attempt(1, "A", 0.9, finish="length")]
    whole = [attempt(2, "B", 0.1)]
    assert [one.index for one in winners([unread, cut, whole], "last")] == [1, 2]
    # Among the winners a cut-off one votes only where there is no other.
    assert select([unread, cut, whole], "hierarchical", "last") == "B"
    assert select([unread, cut], "hierarchical", "last") == "A"
    assert select([unread], "hierarchical", "last") is None
    assert select([], "hierarchical", "last") is None


def test_without_scores_a_chain_goes_by_its_majority() -> None:
    bare = [attempt(0, "A", None), attempt(1, "B", None), attempt(2, "B", None)]
    assert [one.index for one in winners([bare], "last")] == [1]
    # As long as another was scored it has no vote.
    assert select([bare, [attempt(3, "C", 0.1)]], "hierarchical", "last") == "C"


CHAIN = st.lists(st.tuples(st.sampled_from(["A", "B", "C", None]), st.integers(0, 4)), max_size=5)


@given(st.lists(CHAIN, max_size=4))
def test_one_chain_and_one_attempt_each_are_the_flat_choice(made: list[list[tuple[str | None, int]]]) -> None:
    numbers = iter(range(100))
    chains = [[attempt(next(numbers), answer, score / 4) for answer, score in chain] for chain in made]
    flat = [one for chain in chains for one in chain]
    assert select(chains, "majority", "last") == majority(flat)
    assert select(chains, "weighted", "last") == weighted(flat)
    assert select([flat], "hierarchical", "last") == weighted(flat)
    assert select([[one] for one in flat], "hierarchical", "last") == weighted(flat)
    for how in SELECTS:
        chosen = select(chains, how, "last")
        assert (chosen is None) == all(one.answer is None for one in flat)
