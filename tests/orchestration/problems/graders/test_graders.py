"""Graders: equal answers share a ballot and unequal ones none, nothing unreadable votes, nothing hangs."""

from __future__ import annotations

import itertools
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
import reasoning_gym
from hypothesis import given
from hypothesis import strategies as st

from actors.errors import UserError
from actors.strategy import Answer, ballot_of
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
from orchestration.problems.graders.ballots import Ballot, classes
from orchestration.problems.graders.ending import final_answer, marked_answer
from orchestration.problems.graders.math import _value
from orchestration.problems.graders.numbers import as_text, number_of
from orchestration.problems.graders.plain import cleaned
from orchestration.problems.graders.reading import read
from orchestration.problems.workers.deadline import NoAnswer, Stalled
from orchestration.strategies.selection import speaker

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
        ("#### 12 legs", "12"),
        ("#### 1 2", None),
        ("#### 1,23", None),
        ("#### 12 + 3", None),
        ("#### 1e9", "1000000000"),
        ("#### ٣", "3"),
        ("#### 1/3", "1/3"),
        ("#### 18\n\nQuestion: more?\n#### 80", "18"),
        ("#### 18<|im_end|>", "18"),
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


@pytest.mark.parametrize("reference", ["Summary", "Conclusion", "Step 2", "<pad>"])
def test_a_reference_that_no_solution_can_say_is_not_read(reference: str) -> None:
    assert TextGrader().extract(f"#### {reference}") is None
    assert not TextGrader().reads(reference)


def test_a_tab_in_a_plain_answer_is_a_letter() -> None:
    grids = ["1\t2\t3\t4", "1\t2\t3\t5", "1\t2"]
    assert len(set(classes([ballot_of(grid) for grid in grids]))) == 3


HERE = Path(__file__).parent
VERDICTS = [json.loads(line) for line in (HERE / "verdicts.jsonl").read_text().splitlines()]
FAMILIES = [json.loads(line) for line in (HERE / "families.jsonl").read_text().splitlines()]


def ballot(content: str) -> str:
    answer = MATH.extract(rf"Hence $\boxed{{{content}}}$.")
    assert answer is not None, content
    return ballot_of(answer)


@pytest.mark.parametrize("name", ["math", "number", "text"])
def test_verdicts_of_the_table(name: str) -> None:
    grader = MATH if name == "math" else make_grader(name)
    wrong = [
        (one["text"], one["reference"])
        for one in VERDICTS
        if one["grader"] == name
        and grader.correct(grader.extract(one["text"]), one["reference"]) != one["right"]
    ]
    assert not wrong


def test_families_of_answers_share_a_ballot_or_share_none() -> None:
    wrong = []
    for one in FAMILIES:
        contents = one.get("equal") or one["unequal"]
        found = set(classes([ballot(content) for content in contents]))
        if len(found) != (1 if "equal" in one else len(contents)):
            wrong.append(one)
    assert not wrong


def test_what_is_read_reads_as_itself() -> None:
    """So that a stored answer can be graded later."""
    for content in (
        r"\frac{1}{2}",
        r"2\sqrt2",
        "x=5",
        "35 cm",
        r"\text{New York}",
        "(B)",
        "(1,2)",
        "{x}",
        r"x \equiv 3 \pmod 7",
    ):
        answer = MATH.extract(rf"\boxed{{{content}}}")
        assert answer is not None
        assert ballot(str(answer)) == ballot_of(answer)
        assert MATH.correct(str(answer), content)


SAID = "35 35||cm 35||m 35|x 35|y 35|x|cm 28||% 0.28 28 0.28||% 0.0028 yes (1;2) (1;2)|(x,y)".replace(
    "|", "\t"
).split(" ")
ANSWERS = st.lists(st.sampled_from(SAID), min_size=1, max_size=12)


@given(ANSWERS, st.randoms())
def test_ballots_are_an_equivalence_in_whatever_order(answers: list[str], random: Random) -> None:
    """A class for each answer is symmetric and transitive by itself; that it is the same in any order has to be seen."""
    found = dict(zip(answers, classes(answers), strict=True))
    shuffled = random.sample(answers, len(answers))
    assert dict(zip(shuffled, classes(shuffled), strict=True)) == found
    # Classes are classes of their own: read again, they tell the same apart.
    for one, other in itertools.combinations(answers, 2):
        value, another = Ballot.of(one), Ballot.of(other)
        if found[one] == found[other] and "%" not in (value.unit, another.unit):
            assert value.agrees(another)
        if value == another:
            assert found[one] == found[other]


@given(
    ANSWERS,
    st.randoms(),
    st.sampled_from(["5", "35", "35 cm", "35 m", "x=35", "y = 35 m", "28", "0.28", "yes"]),
)
def test_a_ballot_has_one_verdict_whoever_voted_first(
    answers: list[str], random: Random, reference: str
) -> None:
    def verdicts(given: list[str]) -> dict[str, bool]:
        by_class: dict[str, list[str]] = {}
        for one, same in zip(given, classes(given), strict=True):
            by_class.setdefault(same, []).append(Answer(one, one))
        return {
            same: MATH.correct(members[speaker(members)], reference) for same, members in by_class.items()
        }

    assert verdicts(random.sample(answers, len(answers))) == verdicts(answers)


def test_a_bare_number_votes_with_the_one_unit_that_is_given() -> None:
    assert len(set(classes(["35", "35\t\tcm"]))) == 1
    assert len(set(classes(["35", "35\t\tcm", "35\t\tm"]))) == 3
    assert len(set(classes(["28\t\t%", "0.28"]))) == 1
    assert len(set(classes(["28\t\t%", "28"]))) == 1
    assert classes(["28\t\t%", "28", "0.28"])[0] != "28"


@pytest.mark.parametrize(
    "text",
    ["we have x = 3 so far", "", r"\boxed{", r"\boxed{}", "####", r"\boxed{\boxed{}}", "$$", r"\boxed{$$}"],
)
def test_unreadable_mathematics_is_none(text: str) -> None:
    assert MATH.extract(text) is None
    assert not MATH.correct(MATH.extract(text), "3")


@given(st.text(alphabet="\\{}[]()$#*^_&%|!=<>:;,.-+/ 0123456789abxeni\n", max_size=60))
def test_no_text_raises(text: str) -> None:
    """Of all that runs in this process; what is given to a parser is tried in another."""
    final_answer(text)
    marked_answer(f"#### {text}")
    read(text, lambda kind, content: None)


@given(st.text(alphabet="0123456789.,/-+ e%$€{}\\frac^times", max_size=30))
def test_a_number_that_is_read_reads_as_itself(text: str) -> None:
    number = number_of(cleaned(text))
    if number is not None:
        again = number_of(as_text(number.value))
        assert again is not None
        assert again.value == number.value


def test_long_nonsense_takes_no_time() -> None:
    """Nothing here has a deadline: time is linear, or these would take hours."""
    for text in (
        "(" * 1000,
        "1 " * 500,
        "a " * 500,
        r"\text{" * 160,
        "{" * 990,
        "1,234" * 200,
        "x=" * 400,
        "**" * 500,
        "-" * 999,
    ):
        MATH.extract(rf"#### {text}")
        NUMBER.extract(f"#### {text}")


def test_long_white_space_takes_no_time() -> None:
    """Around an answer, where no limit of an answer's own length counts."""
    wide = " " * 100_000
    for text in (
        f"The answer is 5{wide}x",
        f"#### 5\nquestion{wide}x",
        rf"\boxed{{1}},{wide}x \boxed{{2}}",
        rf"\boxed{{1}}, x ={wide}x \boxed{{2}}",
        f"#### 5 ({'approx ' * 15_000}",
    ):
        MATH.extract(text)
        NUMBER.extract(text)


def test_boxes_in_boxes_take_no_time_and_raise_nothing() -> None:
    box = r"\boxed{"
    assert final_answer(box * 3 + "7" + "}" * 3) == "7"
    assert final_answer(box * 20_000 + "7}") == "7"
    deep = final_answer(box * 5_000 + "7" + "}" * 5_000)
    assert deep is not None
    assert NUMBER.extract(f"#### {box * 5_000}7{'}' * 5_000}") is None


def test_an_answer_that_never_ends_is_killed_and_is_its_text(caplog: pytest.LogCaptureFixture) -> None:
    grader = MathGrader(deadline=1.0)
    assert grader.extract(r"\boxed{7}") == "7"
    assert grader.extract(r"\boxed{\binom{10^9}{5\cdot10^8}}") == r"\binom{10^9}{5\cdot10^8}"
    assert "is taken as a text, for it used up its 1 s of a processor" in caplog.text
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
        return {"value": ["41", "41"], "score": 1.0}[function]


@pytest.mark.parametrize("name", ["math", "gym"])
def test_a_failure_is_said_and_not_remembered(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What used up its time is its text, or wrong, this once; what the machine is to blame for is no verdict at all."""
    grader = make_grader(name)

    def ask() -> object:
        return grader.extract(r"\boxed{40+1}") if name == "math" else grader.correct("a", "b")

    for failure in (NoAnswer("it used up its time"), Stalled("no processor")):
        pool = Flaky(failure)
        monkeypatch.setattr(f"orchestration.problems.graders.{name}.shared_pool", lambda *_, pool=pool: pool)
        _value.cache_clear()
        if isinstance(failure, NoAnswer):
            assert ask() == ("40+1" if name == "math" else False)
            assert "it used up its time" in caplog.text
        else:
            with pytest.raises(Stalled):
                ask()
        assert ask() == ("41" if name == "math" else True)
        assert pool.calls == 2


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


def test_gym_reads_its_own_turn_alone() -> None:
    assert make_grader("gym").extract("#### 1 2\n3 4<|im_end|>\n#### 5") == "1 2\n3 4"


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
