"""The vote that is shown is the vote that was held."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from actors.strategy import Answer, Candidate
from orchestration.planning.bench import counting_in
from orchestration.strategies.parse import parse, registered
from orchestration.strategies.revision.selection import chains_in, select
from orchestration.strategies.selection import best, majority, weighted
from orchestration.strategies.standing import standing
from orchestration.strategies.tally import Counting, counting_of, tally
from tests.orchestration.strategies.revision.test_selection import CHAINS, attempt


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


def test_of_chains_one_attempt_each_votes_and_a_prompt_stands_by_the_answer_that_was_chosen() -> None:
    """The example by hand in which the choice among chains is another than the flat one."""
    chains = [*CHAINS, [attempt(9, "A", 0.2), attempt(10, "C", 0.1), attempt(11, "B", 0.15)]]
    drawn = [
        replace(one, parent=one.index - 1 if at else -1) for chain in chains for at, one in enumerate(chain)
    ]
    assert chains_in(reversed(drawn)) == [drawn[at : at + 3] for at in (0, 3, 6, 9)]
    counting = counting_of(registered("revision(sequential=3,parallel=4)"))
    assert counting == Counting("weighted", "last", chains=True)
    assert [one.voters for one in tally(drawn, counting)] == [(1, 9), (3, 6)]
    assert select(chains, "hierarchical", "last") == tally(drawn, counting)[0].answer == "A"
    for text in ("revision(sequential=3,parallel=4)", "refine(of='best_of_n(n=4)',best=4,attempts=2)"):
        there = standing(drawn, counting_in(Counting("weighted"), text))
        assert (there.answer, there.chosen) == ("A", 1)
    flat = standing(
        drawn, counting_in(Counting("weighted"), "revision(sequential=3,parallel=4,select=weighted)")
    )
    assert flat.answer == "B"
