"""Who votes, with what weight, and what decides a tie."""

import itertools
import math
import pickle
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import UserError
from actors.strategy import Answer, Candidate
from orchestration.strategies.sampling.adaptive_consistency import AdaptiveConsistency
from orchestration.strategies.sampling.early_stopping import _agree
from orchestration.strategies.selection import (
    AGGREGATIONS,
    aggregate,
    best,
    likelihood_weight,
    majority,
    voters,
    weighted,
)


def candidate(
    index: int,
    answer: str | None,
    *scores: float,
    finish: str = "eos",
    kept: bool = True,
    logprobs: tuple[float, ...] = (-1.0,),
) -> Candidate:
    ends = tuple(range(1, max(1, len(scores)) + 1))
    return Candidate(index, (5,), ends, logprobs, scores, finish, answer, kept)  # type: ignore[arg-type]


RULES = (majority, weighted, best)


def test_aggregations() -> None:
    scores = (0.5, 0.25, 0.75)
    assert aggregate(scores) == aggregate(scores, "last") == 0.75
    assert aggregate(scores, "min") == 0.25
    assert aggregate(scores, "product") == 0.5 * 0.25 * 0.75
    assert aggregate(scores, "mean") == 0.5


@pytest.mark.parametrize("how", AGGREGATIONS)
@pytest.mark.parametrize("bad", [math.nan, -0.01, 1.01, math.inf, -5.0])
def test_scores_that_are_no_probabilities_are_refused(how: str, bad: float) -> None:
    with pytest.raises(UserError, match=r"\[0, 1\]"):
        aggregate((bad, 0.5), how)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no value"):
        aggregate((), how)  # type: ignore[arg-type]


def test_unreadable_answers_never_vote() -> None:
    candidates = [candidate(0, None, 1.0), candidate(1, None, 1.0), candidate(2, "7", 0.0)]
    assert [rule(candidates) for rule in RULES] == ["7"] * len(RULES)
    assert [rule(candidates[:2]) for rule in RULES] == [None] * len(RULES)
    assert [rule([]) for rule in RULES] == [None] * len(RULES)


def test_truncation_is_not_an_end() -> None:
    candidates = [candidate(i, "1", 0.9, finish="length") for i in range(3)] + [candidate(3, "2", 0.1)]
    assert [rule(candidates) for rule in RULES] == ["2"] * len(RULES)


def test_cut_off_candidates_vote_where_nothing_finished_can() -> None:
    candidates = [candidate(0, "1", 0.9, finish="length"), candidate(1, None, 0.9)]
    assert [rule(candidates) for rule in RULES] == ["1"] * len(RULES)


def test_dropped_candidates_never_vote() -> None:
    candidates = [candidate(i, "1", 0.9, kept=False) for i in range(3)] + [candidate(3, "2", 0.1)]
    assert [rule(candidates) for rule in RULES] == ["2"] * len(RULES)


def test_rules_differ_where_they_should() -> None:
    candidates = [
        candidate(0, "many", 0.1),
        candidate(1, "many", 0.1),
        candidate(2, "many", 0.1),
        candidate(3, "heavy", 0.6),
        candidate(4, "heavy", 0.6),
        candidate(5, "best", 0.9),
    ]
    assert (majority(candidates), weighted(candidates), best(candidates)) == ("many", "heavy", "best")


def test_aggregation_reaches_the_vote() -> None:
    candidates = [candidate(0, "a", 0.1, 0.9), candidate(1, "b", 0.8, 0.8)]
    assert weighted(candidates, "last") == best(candidates, "last") == "a"
    assert weighted(candidates, "min") == best(candidates, "min") == "b"


def test_answers_of_one_ballot_are_one_answer_however_they_read() -> None:
    half, also = Answer(r"\frac{1}{2}", "0.5"), Answer("0.5", "0.5")
    given = [candidate(0, "3"), candidate(1, half), candidate(2, "3"), candidate(3, also), candidate(4, also)]
    assert majority(given) == half
    assert pickle.loads(pickle.dumps(given)) == given
    assert majority(pickle.loads(pickle.dumps(given))) == half
    # A bare number votes with the unit that is given, as long as it is one.
    bare, metres, feet = (
        candidate(5, "5"),
        candidate(6, Answer("5 m", "5\t\tm")),
        candidate(7, Answer("5 ft", "5\t\tft")),
    )
    assert majority([candidate(0, "6"), bare, metres]) == "5 m"
    assert majority([candidate(0, "6"), bare, metres, feet]) == "6"


@pytest.mark.parametrize("rule", [majority, weighted])
def test_a_class_is_answered_by_who_says_most_in_whatever_order(rule: Callable[..., str | None]) -> None:
    """So that the verdict is one: against five feet `5` alone would be right, and `5 m` is wrong."""
    said = ["5", Answer("5 m", "5\t\tm"), Answer("5.0", "5"), Answer("5 meters", "5\t\tm")]
    for order in itertools.permutations(said):
        answer = rule([candidate(index, one, 0.5) for index, one in enumerate(order)])
        assert answer == next(one for one in order if "m" in one)


def test_those_who_stop_early_count_ballots() -> None:
    half, also = candidate(0, Answer(r"\frac{1}{2}", "0.5")), candidate(1, Answer("0.5", "0.5"))
    assert _agree([half, also])
    assert not _agree([half, candidate(1, "3")])
    assert not _agree([half, candidate(1, None)])
    one = AdaptiveConsistency(8)
    assert one._lacking([half, also]) < one._lacking([half, candidate(1, "3")])


def test_ties_go_to_the_smallest_index() -> None:
    candidates = [
        candidate(3, "b", 0.5),
        candidate(1, "c", 0.5),
        candidate(2, "b", 0.5),
        candidate(0, "c", 0.5),
    ]
    assert [rule(candidates) for rule in RULES] == ["c"] * len(RULES)
    assert weighted([candidate(0, "x", 0.0), candidate(1, "y", 0.0)]) == "x"


def test_unscored_candidates_leave_the_vote_to_the_scored() -> None:
    candidates = [candidate(0, "a"), candidate(1, "a"), candidate(2, "b", 0.1)]
    assert weighted(candidates) == best(candidates) == "b"
    assert weighted(candidates[:2]) == best(candidates[:2]) == "a"


def test_the_likelihood_weight_is_a_mean_over_the_tokens_of_steps() -> None:
    assert (
        likelihood_weight((-2.0,), (1,))
        < likelihood_weight((-1.0, -3.0), (2, 4))
        == pytest.approx(math.exp(-1.0))
    )
    # Of long solutions neither underflows.
    assert 0 < likelihood_weight((-2001.0,), (2000,)) < likelihood_weight((-2000.0,), (2000,))
    assert likelihood_weight((), ()) == 1.0


@st.composite
def electorates(draw: st.DrawFn) -> list[Candidate]:
    sixteenths = st.integers(0, 16).map(lambda k: k / 16)
    return [
        candidate(
            index,
            draw(st.sampled_from([None, "1", "2", "3"])),
            *draw(st.lists(sixteenths, max_size=2)),
            finish=draw(st.sampled_from(["eos", "length", "stop"])),
            kept=draw(st.booleans()),
        )
        for index in range(draw(st.integers(0, 8)))
    ]


@given(electorates(), st.randoms(use_true_random=False))
def test_order_of_arrival_never_changes_a_choice(candidates: list[Candidate], rng) -> None:  # type: ignore[no-untyped-def]
    shuffled = candidates[:]
    rng.shuffle(shuffled)
    for rule in RULES:
        answer = rule(candidates)
        assert rule(shuffled) == answer
        assert (answer is None) == (not voters(candidates))
        assert answer is None or answer in {c.answer for c in voters(candidates)}
