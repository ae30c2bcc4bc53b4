"""Countdown in a chain: problems that can be solved, worked solutions that are honest, counts that are exact."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import UserError
from orchestration.problems import CountdownGrader, Generated, load, split_of
from orchestration.problems.datasets.countdown import LARGEST, MOVES, CountdownSource, level
from orchestration.problems.datasets.countdown_solver import chains, solutions
from orchestration.problems.problem import SPLITS, Problem, content_id

SOME = CountdownSource(failures=(0.04, 0.07, 0.1, 0.1, 0.1))
PROBLEMS = list(Generated(SOME, "train", 600))
WILD = CountdownSource(failures=(1.0,) * 5)
SURE = CountdownSource()
GRADER = CountdownGrader()


def arrives(problem: Problem) -> bool:
    """Whether the worked solution of a problem is right."""
    assert problem.answer is not None
    assert problem.solution is not None
    return GRADER.correct(GRADER.extract(problem.solution), problem.answer)


def every_chain(numbers: list[int], target: int) -> int:
    """Solutions by trying all there are."""
    found = set()
    for order in itertools.permutations(numbers):
        for signs in itertools.product(MOVES, repeat=len(numbers) - 1):
            total = order[0]
            for sign, number in zip(signs, order[1:], strict=True):
                total = MOVES[sign](total, number)
            if total == target:
                found.add((order, signs))
    return len(found)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(-20, 60))
@settings(max_examples=60)
def test_solutions_are_counted_as_by_trying_all(numbers: list[int], target: int) -> None:
    assert solutions(numbers, target) == every_chain(numbers, target)


def test_chains_are_counted_as_texts() -> None:
    assert [chains([3, 4]), chains([3, 3]), chains([2, 3, 4])] == [6, 3, 54]


def test_every_line_of_a_worked_solution_is_true_and_takes_every_number_once() -> None:
    for problem in itertools.chain(PROBLEMS[:200], Generated(WILD, "train", 200)):
        assert problem.solution is not None
        *lines, last = problem.solution.split("\n")
        first, *moves = last.removeprefix("#### ").split(" ")
        total, used = int(first), [int(first)]
        for line, sign, number in zip(lines, moves[::2], moves[1::2], strict=True):
            after = MOVES[sign](total, int(number))
            assert line == f"{total} {sign} {number} = {after}"
            total = after
            used.append(int(number))
        assert problem.question.endswith(f"from {', '.join(map(str, sorted(used)))}.")
        assert GRADER.extract(problem.solution) == f"{total} from {' '.join(map(str, sorted(used)))}"


def test_a_solution_exists_and_is_counted_whether_the_worked_one_arrives_or_not() -> None:
    assert all(problem.metadata["solutions"] >= 1 for problem in PROBLEMS)
    assert all(arrives(problem) for problem in Generated(SURE, "train", 100))
    right = Counter(
        problem.metadata["length"] for problem in Generated(WILD, "train", 400) if arrives(problem)
    )
    # Moves at random seldom arrive, and least of all with many numbers.
    assert sum(right.values()) < 120
    assert right[6] <= 2


def test_failures_change_no_question() -> None:
    wild, sure = (list(Generated(source, "train", 100)) for source in (WILD, SURE))
    assert [(p.id, p.question, p.answer, p.metadata) for p in wild] == [
        (p.id, p.question, p.answer, p.metadata) for p in sure
    ]
    assert [p.solution for p in wild] != [p.solution for p in sure]
    # Nor is it another data set.
    assert Generated(WILD, "train", 100).identity == Generated(SURE, "train", 100).identity


def test_shares_are_of_draws_and_say_so() -> None:
    """Questions of two numbers are soon all given."""
    source = CountdownSource((2, 9), (10, 20), (0.5, 0.5))
    lengths = Counter(problem.metadata["length"] for problem in Generated(source, "train", 150))
    assert lengths[2] < 0.4 * 150
    assert "(drawn: 50% of 2, 50% of 3 numbers)" in source.description


def test_the_largest_number_is_one_that_an_answer_may_have() -> None:
    reference = f"{LARGEST} from {LARGEST}"
    assert GRADER.correct(GRADER.extract(f"#### {LARGEST}"), reference)
    assert GRADER.extract(f"#### {LARGEST + 1}") is None
    CountdownSource((LARGEST - 9, LARGEST), (1, LARGEST), (1.0,))


def test_fewer_worked_solutions_arrive_the_more_numbers_there_are() -> None:
    right = {count: [arrives(p) for p in PROBLEMS if p.metadata["length"] == count] for count in range(2, 7)}
    shares = {count: sum(each) / len(each) for count, each in right.items()}
    assert shares[2] > 0.9
    assert shares[2] > shares[4] > shares[6] > 0.3


def test_shares_and_ranges_are_kept() -> None:
    source = CountdownSource((3, 20), (50, 99), (0.0, 0.25, 0.75))
    problems = list(Generated(source, "train", 600))
    counts = Counter(problem.metadata["length"] for problem in problems)
    assert counts[3] / 600 == pytest.approx(0.25, abs=0.06)
    assert counts[3] + counts[4] == 600
    for problem in problems:
        assert problem.answer is not None
        target, *numbers = map(int, problem.answer.replace(" from", "").split(" "))
        assert 50 <= target <= 99
        assert all(3 <= number <= 20 for number in numbers)


def test_levels_rise_with_the_tries_that_a_guess_takes() -> None:
    assert [level(tries) for tries in (1, 6, 7, 36, 216, 217, 1296, 1297, 1e9)] == [1, 1, 2, 2, 3, 4, 4, 5, 5]
    for problem in PROBLEMS[:50]:
        assert problem.answer is not None
        numbers = [int(number) for number in problem.answer.split(" ")[2:]]
        assert problem.metadata["level"] == level(chains(numbers) / problem.metadata["solutions"])


def test_splits_share_no_question_whatever_the_settings() -> None:
    few = CountdownSource((2, 9), (10, 60), (0.5, 0.5))
    drawn = {split: {p.question for p in Generated(few, split, 40)} for split in SPLITS}
    assert all(split_of(question) == split for split, each in drawn.items() for question in each)


def test_it_is_a_data_set_beside_reasoning_gyms_own_of_that_name() -> None:
    ours = next(iter(load("countdown_chain", count=1)))
    theirs = next(iter(load("countdown", count=1, options={"min_numbers": 4, "max_numbers": 4})))
    assert ours.id == content_id("countdown", ours.question)
    assert ours.question.startswith("Make ")
    assert theirs.question.startswith("Calculate")
    assert theirs.reference is not None
    assert load("countdown_chain", count=1).description.endswith(
        f"of {CountdownSource().description} (seed 0)"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": [5, 3]}, r"values = \[5, 3\]: two rising numbers from 1 on"),
        ({"values": [0, 3]}, "from 1 on"),
        ({"values": [2, 3.5]}, r"give two whole numbers: \[low, high\]"),
        ({"targets": 30}, r"give two whole numbers: \[low, high\]"),
        ({"valuse": [2, 3]}, "did you mean 'values'"),
        ({"shares": [0.5, 0.6]}, r"shares = \[0\.5, 0\.6\]: they sum to 1\.1, and must to 1"),
        ({"shares": [0.5, 0.500002]}, r"they sum to 1\.000002, and must to 1"),
        ({"shares": [1.5, -0.5]}, "each is a share between 0 and 1"),
        ({"shares": [float("nan"), 1.0]}, "each is a share between 0 and 1"),
        ({"shares": [0, 0, 0, 0, 0, 1]}, "give at most 5 shares, of problems with 2, 3, 4, 5 and 6 numbers"),
        ({"values": [2, 10**9]}, "numbers of more than 9 digits are none that an answer may have"),
        ({1: 2}, r"dataset\.options = \{1: 2\}: options have names"),
        ({"shares": []}, "give a list of shares"),
        ({"shares": "half"}, "give a list of shares"),
        ({"shares": [True]}, "give a list of shares"),
        ({"shares": [0.5, 0.5], "failures": [0.1]}, "give one for each of the 2 shares"),
        ({"failures": [2, 0, 0, 0, 0]}, "each is a share between 0 and 1"),
        (
            {"targets": [5000, 6000]},
            r"no 2 numbers of values = \[2, 50\] reached one: widen the ranges, or give 2 numbers no",
        ),
        ({"values": [400, 400], "targets": [10, 300], "shares": [0, 1]}, "no 3 numbers"),
    ],
)
def test_mistakes_are_named_before_a_problem_is_drawn(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load("countdown_chain", count=1, options=options)


@pytest.mark.parametrize(
    "wrong", [{"values": (2.5, 9)}, {"targets": 3}, {"shares": 1.0}, {"failures": "half"}]
)
def test_a_source_checks_its_kinds_however_it_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"dataset.options.{next(iter(wrong))}"):
        CountdownSource(**wrong)
