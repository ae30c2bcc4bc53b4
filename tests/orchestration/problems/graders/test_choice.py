"""Choices: the letter that a solution ends in."""

from __future__ import annotations

import time
import timeit

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
        "The answer is B, Paris",
        "The answer is B (Paris).",
        "The answer is B - Paris",
        'The answer is "B".',
        "#### B, for it is warm",
        "B, Paris",
        "B (Paris)",
        "B - Paris",
        "B) Paris",
        '"B"',
        "(b)",
        "B. Vitamin C",
        "The answer is B. Vitamin C",
        r"\boxed{B: Vitamin A and sun}",
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
        "A. is wrong, B. is right",
        r"\boxed{A. or B.}",
        r"\boxed{A or B}",
        "#### A and B",
        "The answer is a, or so",
        "A-levels are hard",
        "I'm not sure",
    ],
)
def test_what_is_no_letter_is_no_answer(text: str) -> None:
    assert CHOICE.extract(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "The answer is the{}!",
        r"\boxed{{the{}!}}",
        "The answer is option{}!",
        "A{}!",
        "({}!",
    ],
)
@pytest.mark.parametrize("piece", [" ", ")", "*", ") ", "(", "B. "])
def test_what_a_model_repeats_takes_no_longer_than_it_is_long(text: str, piece: str) -> None:
    """Trap: two repetitions that both take a blank try every way to share them out."""

    def seconds(count: int) -> float:
        long = text.format(piece * count)
        # Its own time of the processor: others on the machine stretch the clock.
        return min(timeit.repeat(lambda: CHOICE.extract(long), timer=time.thread_time, number=1, repeat=3))

    seconds(100)
    # Twenty times as long; of a quadratic time it would be 400 times.
    assert seconds(40_000) < 100 * max(seconds(2_000), 1e-5)


def test_key_may_be_a_number() -> None:
    assert CHOICE.correct(CHOICE.extract("The answer is 2."), "2")
    assert CHOICE.correct(CHOICE.extract("#### c"), "C")
    assert not CHOICE.correct(CHOICE.extract("#### D"), "C")
    assert not CHOICE.correct(None, "C")
    assert CHOICE.reads("C")
    assert not CHOICE.reads("Paris")
