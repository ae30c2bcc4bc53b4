"""Choices: the letter that a solution ends in."""

from __future__ import annotations

import pytest

from orchestration.problems import ChoiceGrader

CHOICE = ChoiceGrader()


@pytest.mark.parametrize(
    "text",
    [
        "Water boils.\n#### B",
        "#### (b)",
        "The answer is (B).",
        "The correct answer is option B.",
        "The answer is B because it is warm.",
        r"So \boxed{B}.",
        r"\boxed{\text{B}}",
        r"\boxed{B. Paris}",
        "**Answer:** B) Paris",
        "Final answer: **B**",
        "I think it is A. No, the answer is: B\n\nI hope that helps.",
        "B",
        "(B)",
        "**B**",
        "B. Paris",
        "<think>A or B?</think>\nB",
        "#### B<|im_end|>#### C",
    ],
)
def test_letter_is_read(text: str) -> None:
    assert CHOICE.extract(text) == "B"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A dog is an animal",
        "I like B\nand C",
        "#### the second",
        "The answer is 3.14",
        "The answer is a dog",
        "Be",
        "#### AB",
    ],
)
def test_what_is_no_letter_is_no_answer(text: str) -> None:
    assert CHOICE.extract(text) is None


def test_key_may_be_a_number() -> None:
    assert CHOICE.correct(CHOICE.extract("The answer is 2."), "2")
    assert CHOICE.correct(CHOICE.extract("#### c"), "C")
    assert not CHOICE.correct(CHOICE.extract("#### D"), "C")
    assert not CHOICE.correct(None, "C")
    assert CHOICE.reads("C")
    assert not CHOICE.reads("Paris")
