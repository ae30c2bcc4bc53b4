"""Steps are the non-empty lines of a solution, found in token ids alone; answers are read from its text."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from actors.replicas.reader import ReaderPlan, TokenReader
from orchestration.training.tokenizer import train_tokenizer
from tests.support.model_folders import tokenizer_of
from tests.support.public_verifiers import byte_level, sentence_pieces
from tests.support.tiny import (
    EOS_IDS,
    EQUALS_AND_TWO_NEWLINES,
    NEWLINE,
    SPACE,
    TWO_NEWLINES,
    VOCABULARY,
    LastDigit,
    save_tokenizer,
)

EOS = EOS_IDS[0]
ONE, TWO, WORD, A_LINE, NEWLINE_SPACE = 4, 5, 40, 17, 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def reader(folder: Path) -> TokenReader:
    return TokenReader(ReaderPlan(folder, "\n", LastDigit()), EOS_IDS)


@pytest.mark.parametrize(
    ("solution", "ends"),
    [
        ((), ()),
        ((WORD, NEWLINE), (2,)),
        ((WORD, NEWLINE, WORD, NEWLINE, EOS), (2, 4)),
        ((WORD, NEWLINE, WORD), (2, 3)),
        ((WORD, NEWLINE, WORD, EOS), (2, 4)),
        ((WORD, NEWLINE, EOS_IDS[2]), (2,)),
        ((EOS,), ()),
        ((NEWLINE,), ()),
        ((NEWLINE, SPACE, EOS), ()),
        ((NEWLINE, NEWLINE, WORD, NEWLINE), (4,)),
        ((WORD, NEWLINE, NEWLINE, SPACE, NEWLINE, WORD, NEWLINE), (2, 7)),
        ((WORD, NEWLINE, SPACE, NEWLINE), (2,)),
        ((WORD, TWO_NEWLINES, WORD, EOS), (2, 4)),
        ((A_LINE, A_LINE, EQUALS_AND_TWO_NEWLINES, EOS), (1, 2, 3)),
        ((WORD, NEWLINE_SPACE, WORD, EOS), (2, 4)),
    ],
)
def test_steps_by_hand(reader: TokenReader, solution: tuple[int, ...], ends: tuple[int, ...]) -> None:
    assert reader.step_ends(solution) == ends


@given(
    st.lists(
        st.one_of(st.integers(3, 93), st.sampled_from([NEWLINE, TWO_NEWLINES, SPACE, NEWLINE_SPACE])),
        max_size=30,
    ),
    st.sampled_from([(), *((i,) for i in EOS_IDS)]),
)
def test_one_step_a_non_empty_line(reader: TokenReader, tokens: list[int], end: tuple[int, ...]) -> None:
    solution = (*tokens, *end)
    ends = reader.step_ends(solution)
    text = reader.text(solution)
    lines = [line for line in text.split("\n") if line.strip()]
    assert len(ends) == len(lines)
    assert list(ends) == sorted(set(ends))
    steps = [reader.text(solution[a:b]) for a, b in zip((0, *ends), ends, strict=False)]
    assert [step.strip() for step in steps] == [line.strip() for line in lines]
    assert "".join(steps).strip() == text.strip()


@given(st.lists(st.integers(3, 96), max_size=20), st.lists(st.integers(3, 96), max_size=20))
def test_ended_steps_stay_as_a_solution_grows(reader: TokenReader, first: list[int], more: list[int]) -> None:
    """A search scores a prefix and goes on from it: what is a step once is one for good."""
    cut = next((i for i in range(len(first), 0, -1) if first[i - 1] in reader.stop_ids), 0)
    before = reader.step_ends(tuple(first[:cut]))
    assert reader.step_ends((*first[:cut], *more))[: len(before)] == before


def test_tokens_that_stop_are_those_after_which_a_line_is_over(reader: TokenReader) -> None:
    def over(text: str) -> bool:
        return "\n" in text and not text.rpartition("\n")[2].strip()

    assert set(reader.stop_ids) == {i for i, text in enumerate(VOCABULARY) if over(text)}
    assert {NEWLINE, TWO_NEWLINES, EQUALS_AND_TWO_NEWLINES, A_LINE, NEWLINE_SPACE} < set(reader.stop_ids)


def test_a_longer_delimiter_leaves_lines_together(folder: Path) -> None:
    reader = TokenReader(ReaderPlan(folder, "\n\n", LastDigit()), EOS_IDS)
    assert set(reader.stop_ids) == {TWO_NEWLINES, EQUALS_AND_TWO_NEWLINES}
    assert reader.step_ends((WORD, NEWLINE, WORD, TWO_NEWLINES, WORD, EOS)) == (4, 6)
    assert reader.step_ends((WORD, EQUALS_AND_TWO_NEWLINES, NEWLINE, EOS)) == (2,)


def test_a_delimiter_lies_across_tokens(folder: Path) -> None:
    reader = TokenReader(ReaderPlan(folder, "\n\n", LastDigit()), EOS_IDS)
    assert reader.step_ends((A_LINE, NEWLINE, WORD, NEWLINE, WORD, NEWLINE, NEWLINE, EOS)) == (2, 7)
    assert tuple(reader.ends_from_last((A_LINE, NEWLINE, WORD, NEWLINE, EOS))) == (5, 2)
    # A draw that goes on from the first newline ends with the second.
    [watch] = reader.watches((WORD, A_LINE), one_step=True)
    assert watch.ended((NEWLINE,))
    [watch] = reader.watches((WORD, A_LINE, NEWLINE), one_step=True)
    assert not watch.ended((NEWLINE,))
    assert watch.ended((NEWLINE, NEWLINE))


@pytest.mark.parametrize("delimiter", [None, "@@"])
def test_without_a_delimiter_a_solution_is_one_step(folder: Path, delimiter: str | None) -> None:
    """Whole samples need none."""
    reader = TokenReader(ReaderPlan(folder, delimiter, LastDigit()), EOS_IDS)
    assert reader.step_ends((WORD, NEWLINE, WORD, EOS)) == (4,)
    assert tuple(reader.ends_from_last((WORD, NEWLINE, WORD, EOS))) == (4,)
    assert reader.step_ends((NEWLINE, EOS)) == ()
    assert reader.watches((), one_step=False) == ()
    with pytest.raises(ValueError, match=r"no step can end: policy\.delimiter = "):
        reader.watches((), one_step=True)


def test_a_solution_is_read_up_to_the_text_that_ended_it(folder: Path) -> None:
    stopped = TokenReader(ReaderPlan(folder, "\n", LastDigit(), stop=("a\n\n", "2")), EOS_IDS)
    assert stopped.text((ONE, A_LINE, NEWLINE, TWO)) == "1"
    assert stopped.text((ONE, TWO)) == "1"
    [watch] = stopped.watches((ONE, A_LINE), one_step=False)
    assert watch.finish == "eos"
    assert watch.ended((NEWLINE,))
    step, end = [one.finish for one in stopped.watches((), one_step=True)], stopped.stop_ids
    assert step == ["eos"]
    assert NEWLINE in end


def test_the_first_complete_line_with_an_answer_ends_a_solution(tmp_path: Path) -> None:
    tokenizer_of("byte-level").save_pretrained(tmp_path)
    reader = TokenReader(ReaderPlan(tmp_path, "\n", LastDigit(), end_after_answer=True), (2,), 400)

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer_of("byte-level").encode(text, add_special_tokens=False))

    [watch] = reader.watches((), one_step=False)
    for heading in (
        "#### Step 1\n",
        "#### Solution:\n",
        "#### **Final Answer**\n",
        "#### 1. Add them\n",
        "#### Given:\n",
    ):
        assert not watch.ended(ids(heading)), heading
        assert reader.text(ids(f"{heading}2 + 2\n#### 4\n\n3")) == f"{heading}2 + 2\n#### 4\n"
    for text in ("#### Answer: 4\n", "#### Yes\n", "#### 1.\n", "#### the answer is 4\n", "#### Stephen\n"):
        assert watch.ended(ids(text)), text
    for text in ("so\n#### 29\n", "####29\n", "#### \\boxed{1}\n", "## a\n#### 29 dollars.\n"):
        assert watch.ended(ids(text)), text
        assert reader.text(ids(text + "Question: 3")) == text
    for text in ("#### 29", "####\n", "### 29\n", "#### \n29\n"):
        assert not watch.ended(ids(text)), text
    # A beam that goes on in the middle of the line ends with it.
    [watch] = reader.watches(ids("so\n#### 2"), one_step=False)
    assert watch.ended(ids("9\n"))


def test_text_leaves_the_end_token_out(reader: TokenReader) -> None:
    assert reader.text((WORD, ONE, A_LINE, EOS)) == f" w{WORD}1a\n"


async def test_the_answer_is_read_of_the_whole_text_off_the_event_loop(folder: Path) -> None:
    threads = []

    class Watching(LastDigit):
        def extract(self, text: str) -> str | None:
            threads.append(threading.current_thread())
            return super().extract(text)

    reader = TokenReader(ReaderPlan(folder, "\n", Watching()), EOS_IDS)
    assert await reader.answer((ONE, NEWLINE, TWO, NEWLINE, EOS)) == "2"
    assert await reader.answer((WORD, EOS)) == "0"
    assert await reader.answer((A_LINE, EOS)) is None
    assert threading.main_thread() not in threads


@settings(max_examples=200)
@given(text=st.text(alphabet="12 +=ab\nß€", max_size=40))
def test_lines_of_a_trained_byte_level_tokenizer(bundled: tuple[TokenReader, object], text: str) -> None:
    reader, tokenizer = bundled
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[operator]
    assert reader.text(ids) == text
    assert len(reader.step_ends(ids)) == len([line for line in text.split("\n") if line.strip()])


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> tuple[TokenReader, object]:
    folder = tmp_path_factory.mktemp("trained")
    tokenizer = train_tokenizer(["12 + 1 = 13\nab ab\n"] * 10, 300)
    tokenizer.save_pretrained(folder)
    return TokenReader(ReaderPlan(folder, "\n", LastDigit()), (tokenizer.eos_token_id,)), tokenizer


@pytest.mark.parametrize("kind", [lambda: byte_level("chatml", bos=False), sentence_pieces])
@pytest.mark.parametrize("blank", ["\u3000", "\xa0", " \u3000 ", "\u3000\xa0\u2003"])
def test_white_space_of_several_tokens_is_no_step(
    kind: Callable[[], PreTrainedTokenizerFast], blank: str, tmp_path: Path
) -> None:
    tokenizer = kind()
    tokenizer.save_pretrained(tmp_path)

    def ids(text: str) -> tuple[int, ...]:
        return tuple(tokenizer.encode(text, add_special_tokens=False))

    reader = TokenReader(ReaderPlan(tmp_path, "\n\n", LastDigit()), (tokenizer.eos_token_id,))
    first, second = ids("a\n\n"), ids(f"{blank}\n\nb\n\n")
    solution = (*first, *second, *ids(blank), tokenizer.eos_token_id)
    assert reader.step_ends(solution) == (len(first), len(first) + len(second))
    assert tuple(reader.ends_from_last(solution)) == (len(first) + len(second), len(first))
    texts = [reader.step_text(solution, *one) for one in ((0, len(first)), (len(first), len(first + second)))]
    assert [one.strip() for one in texts] == ["a", "b"]
    # A character of which a part is there is something, and so is one beside it.
    assert reader.step_ends((*first, *ids(blank)[:-1], *ids("é"))) == (
        len(first),
        len(first) + len(ids(blank)) - 1 + len(ids("é")),
    )


def test_the_text_of_a_step_is_what_its_tokens_add(folder: Path) -> None:
    reader = TokenReader(ReaderPlan(folder, "\n", LastDigit(), stop=("w40",)), EOS_IDS)
    two, forty, end = VOCABULARY.index("2"), VOCABULARY.index(" w40"), EOS_IDS[0]
    solution = (two, NEWLINE, NEWLINE, two, SPACE, two, NEWLINE, two, forty, end)
    ends = reader.step_ends(solution)
    assert ends == (2, 7, 10)
    starts = (0, *ends)
    texts = [reader.step_text(solution, start, stop) for start, stop in zip(starts, ends, strict=False)]
    # The text that ended the solution is no part of its last step, nor is the end token.
    assert texts == ["2\n", "\n2 2\n", "2 "]
    # A step that is nothing else says what it says: each step has a text.
    alone = (two, NEWLINE, forty)
    assert reader.step_text(alone, 2, 3) == " w40"
