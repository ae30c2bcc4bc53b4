"""Generated problems: splits that cannot overlap, items that can be drawn again, solutions that are right."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from actors.errors import UserError
from orchestration.problems import SPLITS, load, split_of
from orchestration.problems.datasets.arithmetic import ArithmeticSource
from orchestration.problems.datasets.generated import Generated, Source
from orchestration.problems.datasets.gym import GsmSymbolicSource, GymSource
from orchestration.problems.problem import content_id

SMALL = ArithmeticSource(legs=(1, 2), terms=(2, 3))


def test_splits_share_no_question_whatever_the_seeds() -> None:
    # Few kinds of animals: the same questions are drawn again and again, by all seeds.
    drawn = {
        split: {p.question for seed in (0, 1) for p in Generated(SMALL, split, 800, seed)} for split in SPLITS
    }
    assert drawn["train"].isdisjoint(drawn["validation"] | drawn["test"])
    assert drawn["validation"].isdisjoint(drawn["test"])


def test_a_split_is_blind_to_case_and_space() -> None:
    assert split_of("How many  legs: 3 dogs?\n") == split_of("how MANY legs: 3 dogs?")


def test_split_shares_are_as_documented() -> None:
    splits = [split_of(f"question {i}") for i in range(20_000)]
    assert splits.count("train") / 20_000 == pytest.approx(0.80, abs=0.01)
    assert splits.count("validation") / 20_000 == pytest.approx(0.05, abs=0.01)


def test_no_question_twice_within_a_split() -> None:
    problems = list(Generated(SMALL, "train", 3_000))
    assert len({p.question for p in problems}) == len({p.id for p in problems}) == 3_000


def test_a_problem_can_be_drawn_again_from_its_place() -> None:
    data = Generated(ArithmeticSource(), "test", 50, 7)
    for problem in data:
        assert problem.metadata["seed"] == 7
        assert data.problem(problem.metadata["draw"]) == problem


def test_iterating_again_and_extending_keep_the_problems() -> None:
    data = Generated(ArithmeticSource(), "validation", 40, 3)
    longer = Generated(ArithmeticSource(), "validation", 60, 3)
    assert list(data) == list(data) == list(islice(longer, 40))


@pytest.mark.parametrize("source", [ArithmeticSource(), GymSource("gcd"), GsmSymbolicSource()])
def test_neighbouring_seeds_share_next_to_nothing(source: Source) -> None:
    # reasoning-gym's own seeds s and s + 1 share all items but one.
    first, second = ({p.question for p in Generated(source, "train", 300, seed)} for seed in (0, 1))
    assert len(first & second) < 15


@pytest.mark.parametrize("halves", [0.0, 0.5, 1.0])
def test_every_solution_line_is_right_and_ends_in_the_answer(halves: float) -> None:
    for problem in Generated(ArithmeticSource(halves=halves), "train", 500):
        assert problem.solution is not None
        *lines, last = problem.solution.split("\n")
        assert last == f"#### {problem.answer}"
        for line in lines:
            for equation in line.split(", "):
                left, right = equation.split(" = ")
                words = [w for w in left.split() if w in "+-*" or w.lstrip("-").isdigit()]
                a, sign, b = int(words[0]), words[1], int(words[2])
                assert {"+": a + b, "-": a - b, "*": a * b}[sign] == int(right)
        length = problem.metadata["length"]
        least = length if problem.metadata["family"] == "legs" else length - 1
        assert len(lines) == least if halves == 0 else least <= len(lines) <= 2 * length


def test_a_share_of_the_lines_is_written_as_two() -> None:
    whole, half, parted = (
        {p.question: p for p in Generated(ArithmeticSource(halves=halves), "train", 300)}
        for halves in (0, 0.5, 1)
    )
    assert list(whole) == list(half) == list(parted)
    lines = [
        [len((problems[question].solution or "").split("\n")) for problems in (whole, half, parted)]
        for question in whole
    ]
    assert all(a <= b <= c for a, b, c in lines)
    most = sum(c - a for a, _, c in lines)
    assert sum(b - a for a, b, _ in lines) / most == pytest.approx(0.5, abs=0.05)
    assert all(p.answer == half[q].answer and p.id == half[q].id for q, p in whole.items())


def test_the_mixture_keeps_its_share_and_its_ranges() -> None:
    problems = list(Generated(ArithmeticSource(legs=(5, 8), terms=(4, 6), sums=0.25), "train", 1_000))
    sums = [p for p in problems if p.metadata["family"] == "sums"]
    assert len(sums) / 1_000 == pytest.approx(0.25, abs=0.05)
    assert {p.metadata["length"] for p in sums} == {4, 5, 6}
    assert {p.metadata["length"] for p in problems if p not in sums} == {5, 6, 7, 8}


def test_gsm_symbolic_leaves_out_the_broken_templates() -> None:
    problems = list(Generated(GsmSymbolicSource(), "train", 400))
    assert not {p.metadata["template"] for p in problems} & {25, 27, 84, 89}
    assert all(p.solution is not None and p.solution.endswith(f"#### {p.answer}") for p in problems)


def test_any_reasoning_gym_data_set_by_name() -> None:
    (problem, *_) = load("leg_counting", count=3, options={"min_animals": 2, "max_animals": 2})
    assert problem.metadata["family"] == "leg_counting"
    assert problem.question.startswith("Your task is to count")


@pytest.mark.parametrize("source", [ArithmeticSource(), GymSource("gcd"), GsmSymbolicSource()])
def test_ids_are_made_from_questions_alone(source: Source) -> None:
    for problem in Generated(source, "train", 20):
        name = problem.id.rpartition("-")[0]
        assert problem.id == content_id(name, problem.question)


def test_a_source_without_enough_questions_says_so() -> None:
    tiny = ArithmeticSource(terms=(2, 2), digits=(1, 1), sums=1.0)
    with pytest.raises(UserError, match=r"only \d+ validation questions"):
        list(Generated(tiny, "validation", 1_000))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "leg_countin"}, "leg_counting"),
        ({"split": "tests"}, "did you mean 'test'"),
        ({"count": 0}, "at least 1"),
        ({"name": "arithmetic", "options": {"leg": [1, 2]}}, "did you mean 'legs'"),
        ({"name": "arithmetic", "options": {"legs": 3}}, r"\[low, high\]"),
        ({"name": "arithmetic", "options": {"legs": [3, 2]}}, "rising"),
        ({"name": "arithmetic", "options": {"sums": 2.0}}, "between 0 and 1"),
        ({"name": "arithmetic", "options": {"halves": -0.1}}, "halves"),
        ({"name": "gcd", "options": {"nonsense": 1}}, "refuses"),
    ],
)
def test_mistakes_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        next(iter(load(**values)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["arithmetic", "countdown_chain", "gsm_symbolic", "chain_sum"])
@pytest.mark.parametrize("options", [{1: 2}, {1: 2, "min_terms": 3}])
def test_options_without_names_are_refused(name: str, options: dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"dataset\.options = \{1: 2.*\}: options have names"):
        load(name, count=1, options=options)


@pytest.mark.parametrize("value", [{"a": 1}, [[1], 2], [{"a": 1}]])
def test_options_in_options_are_refused(value: object) -> None:
    with pytest.raises(UserError, match=r"dataset\.options\.min_terms = .*: give a number, a text"):
        next(iter(load("chain_sum", count=1, options={"min_terms": value})))


@pytest.mark.parametrize("wrong", [{"sums": "half"}, {"halves": True}, {"legs": 3}, {"digits": (1.0, 2)}])
def test_a_source_checks_its_kinds_however_it_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"dataset.options.{next(iter(wrong))}"):
        ArithmeticSource(**wrong)
