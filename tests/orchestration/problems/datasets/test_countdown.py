"""Countdown in a chain: problems that can be solved, worked solutions that are honest, counts that are exact."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import UserError
from orchestration.problems import CountdownGrader, Generated, load, split_of
from orchestration.problems.datasets.countdown import BENCHMARK, MOVES, CountdownSource, level
from orchestration.problems.datasets.countdown_solver import chains, solutions
from orchestration.problems.problem import SPLITS, Problem, content_id

PROBLEMS = list(Generated(CountdownSource(), "train", 600))
WILD = CountdownSource(failures=(1.0,) * 5)
SURE = CountdownSource(failures=(0.0,) * 5)
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
@settings(max_examples=60, deadline=None)
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
    assert load("countdown_chain", count=1).description.endswith(f"of {BENCHMARK.description} (seed 0)")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"values": [5, 3]}, r"values = \[5, 3\]: two rising numbers from 1 on"),
        ({"values": [0, 3]}, "from 1 on"),
        ({"values": [2, 3.5]}, r"give two whole numbers: \[low, high\]"),
        ({"targets": 30}, r"give two whole numbers: \[low, high\]"),
        ({"valuse": [2, 3]}, "did you mean 'values'"),
        ({"shares": [0.5, 0.6]}, r"shares = \[0\.5, 0\.6\]: they sum to 1\.1, and must to 1"),
        ({"shares": [1.5, -0.5]}, "each is a share between 0 and 1"),
        ({"shares": [float("nan"), 1.0]}, "each is a share between 0 and 1"),
        ({"shares": [0, 0, 0, 0, 0, 1]}, "a problem has 2 to 6 numbers"),
        ({"shares": []}, "give a list of shares"),
        ({"shares": "half"}, "give a list of shares"),
        ({"shares": [True]}, "give a list of shares"),
        ({"shares": [0.5, 0.5], "failures": [0.1]}, "give one for each of the 2 shares"),
        ({"failures": [2, 0, 0, 0, 0]}, "each is a share between 0 and 1"),
        ({"targets": [5000, 6000]}, r"no 2 numbers of values = \[2, 50\] reached one: widen the ranges"),
        ({"values": [400, 400], "targets": [10, 300], "shares": [0, 1]}, "no 3 numbers"),
    ],
)
def test_mistakes_are_named_before_a_problem_is_drawn(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load("countdown_chain", count=1, options=options)
