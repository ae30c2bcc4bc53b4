"""The grader of countdown: chains are computed and never believed; what is none is unreadable, and nothing raises."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestration.problems import make_grader, why_unread

GRADER = make_grader("countdown")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("7 * 8 = 56\n56 - 30 = 26\n#### 7 * 8 - 30\n", "26 from 7 8 30"),
        ("#### 8*7-30", "26 from 7 8 30"),
        ("#### **7 * 8 - 30**", "26 from 7 8 30"),
        # From left to right, whatever the signs.
        ("#### 30 - 7 * 8", "184 from 7 8 30"),
        ("#### 2 - 7", "-5 from 2 7"),
        ("#### 007 + 0", "7 from 0 7"),
        ("#### 26", "26 from 26"),
        ("#### 7 + 7 + 7", "21 from 7 7 7"),
        ("#### 1 + 2\nno: #### 1 + 3", "4 from 1 3"),
        ("7 * 8 - 30", None),
        ("#### ", None),
        ("#### 52 / 2", None),
        ("#### (7 + 8) * 2", None),
        ("#### 7 * 8 - 30 = 26", None),
        ("#### -7 + 8", None),
        ("#### 7 +", None),
        ("#### + 7", None),
        ("#### 7 + - 8", None),
        ("#### 7 ** 8", None),
        ("#### answer: 2**6 * 3 - 4", None),
        ("#### **Answer:** 2 ** 6", None),
        ("#### **Answer:** 7 * 8 - 30", "26 from 7 8 30"),
        ("#### **7 * 8 - 30**\n12", "26 from 7 8 30"),
        ("#### 7 × 8", None),
        ("#### ٧ + ٨", None),
        ("#### ７ + ８", None),
        ("#### 7² + 1", None),
        ("#### 7.5 + 1", None),
        ("#### 1e5 + 1", None),
        ("#### twelve", None),
        (f"#### {'9' * 100} + 1", None),
        (f"#### {'9' * 9} * {'9' * 9}", f"{(10**9 - 1) ** 2} from {'9' * 9} {'9' * 9}"),
        ("#### " + " + ".join(["1"] * 20), f"20 from {' '.join(['1'] * 20)}"),
        ("#### " + " + ".join(["1"] * 21), None),
        ("#### __import__('os').system('true')", None),
    ],
)
def test_what_is_read(text: str, answer: str | None) -> None:
    assert GRADER.extract(text) == answer


def test_right_is_the_target_from_the_given_numbers_each_once() -> None:
    reference = "26 from 7 8 30"
    assert [
        GRADER.correct(GRADER.extract(f"#### {chain}"), reference)
        for chain in ("7 * 8 - 30", "8 * 7 - 30", "7 + 8 + 30", "26", "20 + 6", "8 * 7 - 30 + 8 - 8")
    ] == [True, True, False, False, False, False]
    assert not GRADER.correct(None, reference)


def test_a_line_that_lies_wins_nothing() -> None:
    told = "7 * 8 = 26\n#### 7 * 8"
    assert GRADER.extract(told) == "56 from 7 8"
    assert not GRADER.correct(GRADER.extract(told), "26 from 7 8")


@pytest.mark.parametrize(
    ("reference", "read"),
    [
        ("26 from 7 8 30", True),
        (" 26 from 30 8 7\n", True),
        ("#### 7 * 8 - 30", True),
        ("26", False),
        ("7 * 8 - 30", False),
        ("26 from", False),
        ("26 from seven", False),
        ("٢٦ from 7 8 30", False),
        (f"{'9' * 5000} from 1", False),
    ],
)
def test_references(reference: str, read: bool) -> None:
    assert GRADER.reads(reference) is read
    assert GRADER.correct("26 from 7 8 30", reference) is read


def test_the_grader_that_reads_a_reference_is_named() -> None:
    told = why_unread(make_grader("number"), "number", "26 from 7 8 30")
    assert told == "'26 from 7 8 30'; dataset.grader=countdown reads it"


@settings(max_examples=60)
@given(st.text(alphabet="0123456789+-*/() #.=\n٣７²", max_size=60) | st.text(max_size=60))
def test_no_answer_raises_and_what_is_read_is_canonical(tail: str) -> None:
    answer = GRADER.extract(f"#### {tail}")
    assert answer is None or (GRADER.reads(answer) and GRADER.correct(answer, answer))


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("+-*"), st.integers(0, 999)), max_size=8), st.integers(0, 999))
def test_a_chain_is_what_python_makes_of_it_from_left_to_right(
    moves: list[tuple[str, int]], first: int
) -> None:
    total = first
    for sign, number in moves:
        total = {"+": total + number, "-": total - number, "*": total * number}[sign]
    written = " ".join([str(first), *(f"{sign} {number}" for sign, number in moves)])
    numbers = sorted([first, *(number for _, number in moves)])
    assert GRADER.extract(f"#### {written}") == f"{total} from {' '.join(map(str, numbers))}"


def test_white_space_takes_no_time() -> None:
    """Nothing here has a deadline: time is linear, or this would take minutes."""
    wide = " " * 100_000
    assert GRADER.extract(f"#### 7{wide}*{wide}8{wide}-{wide}30") == "26 from 7 8 30"
    assert GRADER.extract(f"#### 7{wide}*{wide}8{wide}x") is None
    assert GRADER.extract(f"#### 2{wide}**{wide}6") is None
