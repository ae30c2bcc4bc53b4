"""The vote that is shown is the vote that was held."""

from __future__ import annotations

import random

import pytest

from actors.strategy import Answer, Candidate
from orchestration.strategies.parse import parse, registered
from orchestration.strategies.selection import best, majority, weighted
from orchestration.strategies.tally import Counting, counting_of, tally


def candidates(seed: int) -> list[Candidate]:
    """Some that have no answer, no score, did not finish or were dropped."""
    draw = random.Random(seed)
    return [
        Candidate(
            index=index,
            token_ids=(),
            step_ends=(),
            logprobs=(),
            scores=tuple(draw.choice((0.25, 0.5, 0.75)) for _ in range(2)) if draw.random() < 0.8 else (),
            finish="eos" if draw.random() < 0.7 else "length",
            answer=draw.choice((Answer("1/2", "1/2"), Answer("0.5 m", "1/2\t\tm"), "2", "3", None)),
            kept=draw.random() < 0.9,
        )
        for index in range(draw.randrange(6))
    ]


@pytest.mark.parametrize("aggregation", ["last", "min"])
def test_the_first_ballot_is_the_answer_that_is_chosen(aggregation: str) -> None:
    for seed in range(300):
        drawn = candidates(seed)
        chosen = {
            "majority": majority(drawn),
            "weighted": weighted(drawn, aggregation),  # type: ignore[arg-type]
            "best": best(drawn, aggregation),  # type: ignore[arg-type]
        }
        for rule, answer in chosen.items():
            ballots = tally(drawn, Counting(rule, aggregation))  # type: ignore[arg-type]
            assert (ballots[0].answer if ballots else None) == answer, (seed, rule)
            assert all(drawn[one.speaker].answer == one.answer for one in ballots)
            voting = [index for ballot in ballots for index in ballot.voters]
            assert len(voting) == len(set(voting)), "nobody votes twice"


@pytest.mark.parametrize(
    ("text", "counting"),
    [
        ("greedy", Counting("majority")),
        ("majority(n=4)", Counting("majority")),
        ("adaptive_consistency(n=4)", Counting("majority")),
        ("best_of_n(n=4,aggregation=min)", Counting("weighted", "min")),
        ("best_of_n(n=4,weighted=false)", Counting("best")),
        ("beam(n=4,aggregation=product)", Counting("weighted", "product")),
        ("particle_filtering(n=4,weighted=false)", Counting("best")),
    ],
)
def test_a_strategy_says_how_it_counts(text: str, counting: Counting) -> None:
    assert counting_of(registered(parse(text).text)) == counting


def test_one_of_the_users_own_is_counted_by_its_last_scores() -> None:
    assert counting_of(registered("mine.Search(n=4)")) == Counting("weighted", "last")
