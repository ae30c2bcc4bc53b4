"""Graders: one canonical form per answer, nothing unreadable votes, nothing hangs."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
import reasoning_gym
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import UserError
from orchestration.problems import (
    Grader,
    GymGrader,
    GymSource,
    MathGrader,
    NumberGrader,
    TextGrader,
    judge_of,
    make_grader,
)
from orchestration.problems.datasets.gym_reference import reference
from orchestration.problems.graders.math import _canonical_math
from orchestration.problems.workers.deadline import NoAnswer, Stalled

NUMBER = NumberGrader()
MATH = MathGrader(deadline=20.0)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("3 dogs * 4 = 12\n#### 12\n", "12"),
        ("#### 1,234.50", "1234.5"),
        ("#### +007", "7"),
        ("#### -0.0", "0"),
        ("#### -3", "-3"),
        ("#### .5", "0.5"),
        ("#### 5.", "5"),
        ("#### 1\nno: #### 2", "2"),
        ("12", None),
        ("####", None),
        ("#### .", None),
        ("#### 12 legs", None),
        ("#### 1 2", None),
        ("#### 1,23", None),
        ("#### 1e9", None),
        ("#### ٣", None),
        ("#### " + "9" * 200, None),
        ("", None),
    ],
)
def test_number_extraction(text: str, answer: str | None) -> None:
    assert NUMBER.extract(text) == answer


@given(st.text())
def test_number_extraction_never_raises_and_is_canonical(tail: str) -> None:
    answer = NUMBER.extract("#### " + tail)
    assert answer is None or NUMBER.extract(f"#### {answer}") == answer


@pytest.mark.parametrize("name", ["leg_counting", "chain_sum"])
def test_numbers_agree_with_reasoning_gym(name: str) -> None:
    data = reasoning_gym.create_dataset(name, seed=5, size=40)
    for entry in data:
        right = int(entry["answer"])
        for value in (right, right + 1, right - 10, -right, 10 * right):
            answer = NUMBER.extract(f"so\n#### {value}\n")
            assert NUMBER.correct(answer, entry["answer"]) == (data.score_answer(answer, entry) == 1.0)
        assert not NUMBER.correct(NUMBER.extract("#### none"), entry["answer"])


def test_a_reference_may_carry_its_marker() -> None:
    assert NUMBER.correct("12", "some words\n#### 12")


def test_text_is_blind_to_case_and_space() -> None:
    grader = TextGrader()
    assert grader.extract("#### Yes,  it is \n") == "yes, it is"
    assert grader.extract("Yes") is None
    assert grader.extract("#### ") is None
    assert grader.correct("yes, it is", "Yes, it  is")


@pytest.mark.parametrize(
    "same",
    [
        [
            r"\boxed{\frac{1}{2}}",
            r"\boxed{0.5}",
            r"\boxed{\frac12}",
            "The final answer is $1/2$.",
            "#### 2/4",
        ],
        [r"\boxed{x+1}", r"\boxed{1 + x}"],
        [r"\boxed{2\sqrt{3}}", r"\boxed{\sqrt{12}}"],
        [r"\boxed{\{1,2\}}", r"\boxed{\{2, 1\}}"],
        [r"\boxed{\text{Evelyn}}", r"\boxed{\text{evelyn}}"],
        [r"\boxed{1} then \boxed{-3}", r"\boxed{-3} and \boxed{cut off"],
    ],
)
def test_equal_mathematics_is_one_string(same: list[str]) -> None:
    forms = {MATH.extract(text) for text in same}
    assert len(forms) == 1
    (form,) = forms
    assert form is not None
    # What was read once reads as itself, so a stored answer can be graded later.
    assert MATH.extract(rf"\boxed{{{form}}}") == form


FORMS = [
    ["5", "x=5", "5 = x", "f(x)=5", "2+3=5", "a=b=5", r"5\text{ cm}", "5.0", r"\$5"],
    [r"\frac12", "0.5", r"x=\frac{1}{2}"],
    [r"\{1,2\}", "2,1", "x=1,2", r"x\in\{1,2\}", r"x=1\text{ or }x=2"],
    ["(1,2)"],
    ["x=5,y=3", "y=3, x=5", "(5,3)"],
    ["x>3", "3<x", r"(3,\infty)"],
    [r"x\in[1,2]", "[1,2]", r"1\le x\le 2"],
    [r"x=\pm 1", r"\{-1,1\}"],
    ["x+1", "y = 1+x", "f(x)=x+1"],
    ["yes", "Yes"],
    ["B", "(B)", r"\text{B}"],
    ["x=y"],
    ["x^2+y^2=25", "y^2+x^2=25"],
]


@pytest.mark.parametrize("same", FORMS, ids=[forms[0] for forms in FORMS])
def test_a_name_or_a_wrapper_makes_no_other_answer(same: list[str]) -> None:
    forms = {MATH.extract(rf"\boxed{{{one}}}") for one in same}
    assert len(forms) == 1
    (form,) = forms
    assert form is not None
    assert MATH.extract(rf"\boxed{{{form}}}") == form


def test_what_is_judged_equal_votes_as_one_answer() -> None:
    answers = {MATH.extract(rf"\boxed{{{forms[0]}}}") for forms in FORMS} - {None}
    assert len(answers) == len(FORMS)
    split = {
        frozenset((one, other))
        for one in answers
        for other in answers
        if one != other and MATH.correct(one, str(other))
    }
    # The exception that the module names: a set equals every tuple of its members, and those do not equal one another.
    assert split == {frozenset((r"\left\{1, 2\right\}", r"\left(1, 2\right)"))}


@pytest.mark.parametrize(
    "text", ["we have x = 3 so far", "", r"\boxed{", r"\boxed{}", r"\boxed{\sum}", "####"]
)
def test_unreadable_mathematics_is_none(text: str) -> None:
    assert MATH.extract(text) is None
    assert not MATH.correct(MATH.extract(text), "3")


def test_mathematics_is_judged_by_value() -> None:
    assert MATH.correct(MATH.extract(r"\boxed{(x+1)^2}"), "x^2 + 2x + 1")
    assert MATH.correct(MATH.extract(r"\boxed{0.5}"), r"$\frac{1}{2}$")
    assert not MATH.correct(MATH.extract(r"\boxed{2}"), r"\frac{1}{2}")
    assert not MATH.correct(MATH.extract(r"\boxed{\text{evelyn}}"), r"\text{Evelny}")


def test_an_answer_that_never_ends_is_killed_and_the_next_is_read(caplog: pytest.LogCaptureFixture) -> None:
    grader = MathGrader(deadline=1.0)
    assert grader.extract(r"\boxed{7}") == "7"
    assert grader.extract(r"\boxed{9^{9^{9^{9}}}}") is None
    assert "'9^{9^{9^{9}}}' cannot be read, for it used up its 1 s of a processor" in caplog.text
    assert grader.extract(r"\boxed{8}") == "8"


@dataclass
class Flaky:
    """Helper processes that fail a call once, then answer it."""

    failure: Exception
    calls: int = 0

    def call(self, function: str, *_: str) -> object:
        self.calls += 1
        if self.calls == 1:
            raise self.failure
        return {"canonical": "41", "equal": True, "score": 1.0}[function]


@pytest.mark.parametrize("name", ["math", "gym"])
def test_a_failure_is_said_and_not_remembered(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What used up its time is unreadable, or wrong, this once; what the machine is to blame for is no verdict at all."""
    grader = make_grader(name)

    def ask() -> object:
        return grader.extract(r"\boxed{40+1}") if name == "math" else grader.correct("a", "b")

    for failure in (NoAnswer("it used up its time"), Stalled("no processor")):
        pool = Flaky(failure)
        monkeypatch.setattr(f"orchestration.problems.graders.{name}.shared_pool", lambda *_, pool=pool: pool)
        _canonical_math.cache_clear()
        if isinstance(failure, NoAnswer):
            assert not ask()
            assert "it used up its time" in caplog.text
        else:
            with pytest.raises(Stalled):
                ask()
        assert ask() == ("41" if name == "math" else True)
        assert pool.calls == 2


def test_a_comparison_that_used_up_its_time_is_wrong_and_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    grader = MathGrader(deadline=7.0)
    pools = [Flaky(Stalled(""), 1), Flaky(NoAnswer("")), Flaky(Stalled(""), 1)]
    monkeypatch.setattr("orchestration.problems.graders.math.shared_pool", lambda *_: pools.pop(0))
    assert not grader.correct("x", "40+1")
    assert grader.correct("x", "40+1")


def test_mathematics_works_in_any_thread_and_in_many() -> None:
    results: list[str | None] = []
    threads = [
        threading.Thread(target=lambda i=i: results.append(MATH.extract(rf"\boxed{{{i}.0}}")))  # type: ignore[misc]
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(str(r) for r in results) == [str(i) for i in range(8)]


def test_nothing_is_evaluated() -> None:
    grader = MathGrader(deadline=20.0)
    assert grader.extract(r"\boxed{__import__('os').system('touch /tmp/never')}") != "0"
    import pathlib

    assert not pathlib.Path("/tmp/never").exists()


def test_a_judge_has_a_process_for_every_second_core(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, workers in ((1, 1), (2, 1), (8, 4), (128, 16)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert judge_of(MathGrader(deadline=3.0)) == MathGrader(workers, 3.0)
        assert judge_of(GymGrader()) == GymGrader(workers)
    assert judge_of(MathGrader()).version == MathGrader().version
    assert judge_of(NUMBER) is NUMBER


def test_graders_by_name() -> None:
    for name in ("number", "text", "math", "gym"):
        grader = make_grader(name)
        assert isinstance(grader, Grader)
        assert grader.version.startswith(name)
    with pytest.raises(UserError, match="did you mean 'number'"):
        make_grader("numbers")
    with pytest.raises(UserError, match="deadline"):
        MathGrader(deadline=0)


# One of numbers, of words, of grids (whose scoring tells tuples from lists), and one that gives a part for a part.
@pytest.mark.parametrize("name", ["chain_sum", "letter_counting", "rearc", "sudoku", "time_intervals"])
def test_gym_scores_as_reasoning_gym_does(name: str) -> None:
    grader = make_grader("gym")
    source = GymSource(name)
    problem = next(p for index in range(20) if (p := source.draw(0, index)) is not None)
    label = grader.reference_of(problem)
    assert label is not None
    answer = grader.extract(f"think\n#### {problem.answer}\n")
    assert grader.correct(answer, label)
    assert not grader.correct(grader.extract("#### nothing of the kind"), label)
    assert not grader.correct(grader.extract(f"{problem.answer}"), label)


def test_gym_knows_right_answers_that_are_not_the_written_one() -> None:
    entry = {"question": "?", "answer": "3", "metadata": {}}
    label = reference("leg_counting", {}, entry)
    assert label is not None
    assert make_grader("gym").correct("3", label)
    # A full score counts as right, a part of it does not.
    data = reasoning_gym.create_dataset("countdown", seed=1, size=1)
    other = f"({data[0]['answer']})"
    assert data.score_answer(other, data[0]) == 1.0
    assert make_grader("gym").correct(other, str(reference("countdown", {}, data[0])))
    assert 0 < data.score_answer("1 + 1", data[0]) < 1
    assert not make_grader("gym").correct("1 + 1", str(reference("countdown", {}, data[0])))
