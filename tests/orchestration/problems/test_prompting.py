"""Prompts: ids are made once, newlines and digits stand alone, chat templates are the tokenizer's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from actors.errors import UserError
from orchestration.problems import ArithmeticSource, Generated, PromptFormat, solution_ids
from orchestration.training.tokenizer import train_tokenizer
from tests.support.model_folders import BOS, TOKENIZERS, tokenizer_of

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


@pytest.mark.parametrize(
    ("bos", "eos", "begin"),
    [(False, False, []), (True, False, [BOS]), (True, True, [BOS]), (False, True, [])],
)
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_what_stands_before_a_text_is_the_tokenizers_affair(
    kind: str, bos: bool, eos: bool, begin: list[int]
) -> None:
    """Trap: a begin token that the model has never seen before a text; an end token after which nothing follows."""
    tokenizer = tokenizer_of(kind, bos=bos, eos=eos)
    bare = tokenizer.encode("the answer is:\n", add_special_tokens=False)
    assert PromptFormat().prompt_ids(tokenizer, "the answer is:") == begin + bare
    ended = tokenizer.encode("two</s>", add_special_tokens=False)
    assert PromptFormat("{question}</s>").prompt_ids(tokenizer, "two") == begin + ended, (
        "an end that was asked for"
    )


TURNS = "{% for m in messages %}<|{{ m.role }}|>{{ m.content | trim }}<|end|>{% endfor %}<|assistant|>"
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
)
SILENT = "{% for m in messages if m.role == 'user' %}<|user|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"


@pytest.mark.parametrize(
    ("template", "says", "text"),
    [
        (TURNS, "", "<|system|>Be brief.<|end|><|user|>1 + 1?<|end|><|assistant|>"),
        (NO_SYSTEM + TURNS, "no system turn", "<|user|>Be brief.\n\n1 + 1?<|end|><|assistant|>"),
        (SILENT, "no system turn", "<|user|>Be brief.\n\n1 + 1?<|end|><|assistant|>"),
        ("{{ bos_token }}" + TURNS, "", "<s><|system|>Be brief.<|end|><|user|>1 + 1?<|end|><|assistant|>"),
    ],
)
def test_a_system_text_is_read_whatever_turns_a_template_has(template: str, says: str, text: str) -> None:
    tokenizer = tokenizer_of("byte-level", bos=True)
    tokenizer.chat_template = template
    prompt = PromptFormat("{question}", chat=True, system="Be brief.\n")
    assert tokenizer.decode(prompt.prompt_ids(tokenizer, "1 + 1?")) == text
    assert says in prompt.note(tokenizer)
    assert bool(says) == bool(prompt.note(tokenizer))
    assert PromptFormat("{question}", chat=True).note(tokenizer) == ""
    alone = PromptFormat("{question}", chat=True).prompt_ids(tokenizer, "1 + 1?")
    assert alone == tokenizer.apply_chat_template(
        [{"role": "user", "content": "1 + 1?"}], add_generation_prompt=True, return_dict=False
    )


EXAMPLES = (("2 + 2?", "2 + 2 = 4\n#### 4"), ("4 + 1?", "#### 5"), ("1 + 1?", "#### 2"))


def test_examples_stand_before_the_question_and_are_never_the_question_itself() -> None:
    tokenizer = tokenizer_of("byte-level", bos=True)
    prompt = PromptFormat("Q: {question}\nA:", shots=2, examples=EXAMPLES)
    first, second, last = (f"Q: {one}\nA: {solution}\n\n" for one, solution in EXAMPLES)
    assert prompt.text("3 + 3?") == f"{first}{second}Q: 3 + 3?\nA:"
    # The one example to spare stands in, and what comes before it stays.
    assert prompt.text(" 4  + 1? ") == f"{first}{last}Q:  4  + 1? \nA:"
    assert prompt.prompt_ids(tokenizer, "3 + 3?") == tokenizer.encode(prompt.text("3 + 3?"))
    assert (
        PromptFormat("{question}\n", shots=1, examples=EXAMPLES).text("1?")
        == "2 + 2?\n2 + 2 = 4\n#### 4\n\n1?\n"
    )


@pytest.mark.parametrize(("template", "begin"), [(TURNS, ""), (NO_SYSTEM + TURNS, "Be brief.\n\n")])
def test_examples_are_turns_of_a_chat(template: str, begin: str) -> None:
    tokenizer = tokenizer_of("byte-level", bos=True)
    tokenizer.chat_template = template
    prompt = PromptFormat("{question}", chat=True, system="Be brief.", shots=2, examples=EXAMPLES)
    head = f"<|user|>{begin}" if begin else "<|system|>Be brief.<|end|><|user|>"
    turns = (
        "2 + 2?<|end|><|assistant|>2 + 2 = 4\n#### 4<|end|><|user|>4 + 1?<|end|><|assistant|>#### 5<|end|>"
    )
    text = f"{head}{turns}<|user|>3 + 3?<|end|><|assistant|>"
    assert tokenizer.decode(prompt.prompt_ids(tokenizer, "3 + 3?")) == text
    assert bool(prompt.note(tokenizer)) == bool(begin)


def test_a_template_that_leaves_examples_out_is_refused() -> None:
    tokenizer = tokenizer_of("byte-level")
    for template in ("{{ messages[-1].content }}", SILENT):
        tokenizer.chat_template = template
        for system in (None, "Be brief."):
            prompt = PromptFormat("{question}", True, system, 2, EXAMPLES)
            with pytest.raises(UserError, match=r"^prompt.shots = 2: .* leaves out earlier turns"):
                prompt.prompt_ids(tokenizer, "3 + 3?")


def test_a_template_that_fails_is_one_line() -> None:
    tokenizer = tokenizer_of("byte-level")
    tokenizer.chat_template = "{{ raise_exception('no\nturns') }}"
    for system in (None, "Be brief."):
        with pytest.raises(
            UserError, match=r"^prompt.chat = True: the tokenizer's chat template fails \(no turns\)"
        ):
            PromptFormat(chat=True, system=system).prompt_ids(tokenizer, "1 + 1?")


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=r"\{question\}"):
        PromptFormat("Question:")
    endless = PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.backend_tokenizer)
    with pytest.raises(UserError, match="end token"):
        solution_ids(endless, "#### 1")
