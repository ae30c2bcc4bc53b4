"""Prompts: ids are made once, newlines and digits stand alone, chat templates are the tokenizer's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from actors.errors import UserError
from orchestration.problems import ArithmeticSource, Generated, PromptFormat, solution_ids
from orchestration.training.tokenizer import train_tokenizer

PROBLEMS = list(Generated(ArithmeticSource(), "train", 300))
TOKENIZER = train_tokenizer((f"{p.question}\n{p.solution}\n" for p in PROBLEMS), 400)
(NEWLINE,) = TOKENIZER.encode("\n", add_special_tokens=False)


@given(st.text())
def test_newlines_and_digits_are_tokens_of_their_own_and_text_survives(text: str) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    if not any(token in text for token in TOKENIZER.all_special_tokens):
        assert TOKENIZER.decode(ids) == text
        assert ids.count(NEWLINE) == text.count("\n")
        for token in set(ids) - {NEWLINE}:
            piece = TOKENIZER.decode([token])
            assert "\n" not in piece
            assert piece in tuple("0123456789") or not any(c in "0123456789" for c in piece)


def test_a_solution_is_its_lines_each_ended_and_then_the_end() -> None:
    for problem in PROBLEMS[:50]:
        assert problem.solution is not None
        ids = solution_ids(TOKENIZER, problem.solution)
        assert ids == solution_ids(TOKENIZER, problem.solution + "\n")
        assert ids[-2:] == [NEWLINE, TOKENIZER.eos_token_id]
        assert ids.count(NEWLINE) == problem.solution.count("\n") + 1
        # Encoding line by line gives the same ids: a step is a step wherever it is cut.
        lines = problem.solution.split("\n")
        pieces = [TOKENIZER.encode(line + "\n", add_special_tokens=False) for line in lines]
        assert [token for piece in pieces for token in piece] == ids[:-1]


def test_a_prompt_begins_and_ends_as_trained() -> None:
    ids = PromptFormat().prompt_ids(TOKENIZER, "How many legs: 3 dogs?")
    assert ids[0] == TOKENIZER.bos_token_id
    assert ids[-1] == NEWLINE
    assert TOKENIZER.decode(ids[1:]) == "How many legs: 3 dogs?\n"


def test_braces_in_templates_and_questions_stay() -> None:
    text = PromptFormat(r"Put it in \boxed{}: {question}").prompt_ids(TOKENIZER, r"\frac{1}{2} {question}?")
    assert TOKENIZER.decode(text[1:]) == r"Put it in \boxed{}: \frac{1}{2} {question}?"


def test_chat_uses_the_tokenizers_own_template() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.backend_tokenizer, eos_token="<eos>")
    prompt = PromptFormat("{question}", chat=True, system="Be brief.")
    with pytest.raises(UserError, match="no chat template"):
        prompt.prompt_ids(tokenizer, "1 + 1?")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    ids = prompt.prompt_ids(tokenizer, "1 + 1?")
    assert tokenizer.decode(ids) == "system:Be brief.\nuser:1 + 1?\nassistant:"


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=r"\{question\}"):
        PromptFormat("Question:")
    endless = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.backend_tokenizer)
    with pytest.raises(UserError, match="end token"):
        solution_ids(endless, "#### 1")
