"""Prompts of well-known chat templates, id by id: what stands there is spelt from the model cards, by no template."""

from __future__ import annotations

from datetime import datetime

import pytest

from actors.errors import UserError
from orchestration.problems import PromptFormat, make_grader
from orchestration.problems.revising import RevisionFormat
from tests.support.chat_templates import BRIEF, FAMILIES, PROMPTS, QUESTION, SHOTS

DATE = {"date_string": "26 Jul 2024"}
every_family = pytest.mark.parametrize("name", FAMILIES)


def formatted(name: str, kind: str) -> PromptFormat:
    options = DATE if name == "llama_3_2" else {}
    return PromptFormat(
        "{question}",
        chat=True,
        system=None if kind == "plain" else BRIEF,
        shots=1 if kind == "shots" else 0,
        examples=SHOTS if kind == "shots" else (),
        chat_options=options,
    )


@pytest.mark.parametrize("kind", ["plain", "system", "shots"])
@every_family
def test_a_prompt_is_what_the_card_says_id_by_id(name: str, kind: str) -> None:
    """Traps: a second begin token, where tokenizer and template both put one; a system turn that is dropped; a line break
    that a template trims, or leaves; no header of the answer at the end."""
    family = FAMILIES[name]
    ids = formatted(name, kind).prompt_ids(family.tokenizer(), QUESTION)
    assert ids == family.ids(*PROMPTS[name][kind])


@every_family
def test_white_space_around_a_question_is_the_templates_affair(name: str) -> None:
    family = FAMILIES[name]
    ids = formatted(name, "plain").prompt_ids(family.tokenizer(), f"{QUESTION}\n")
    trimmed = name in ("llama_3_2", "gemma_2", "gemma_3")
    asked = QUESTION if trimmed else f"{QUESTION}\n"
    assert ids == family.ids(*(asked if one == QUESTION else one for one in PROMPTS[name]["plain"]))


def test_only_a_template_that_refuses_a_system_turn_is_said_to_have_none() -> None:
    noted = [name for name in FAMILIES if formatted(name, "system").note(FAMILIES[name].tokenizer())]
    assert noted == ["gemma_2"]


@pytest.mark.parametrize("kind", ["plain", "system"])
def test_a_variable_of_the_template_is_set_by_its_name(kind: str) -> None:
    family = FAMILIES["qwen3"]
    tokenizer = family.tokenizer()
    for thinking in (True, False):
        prompt = PromptFormat(
            "{question}",
            chat=True,
            system=None if kind == "plain" else BRIEF,
            chat_options={"enable_thinking": thinking},
        )
        behind = () if thinking else ("<think>", "\n\n", "</think>", "\n\n")
        assert prompt.prompt_ids(tokenizer, QUESTION) == family.ids(*PROMPTS["qwen3"][kind], *behind)
    # What asks for another attempt opens it as the prompt does.
    bound = RevisionFormat(turn="Again.").bind(
        tokenizer, [2], chat=True, chat_options={"enable_thinking": False}
    )
    after = (
        "<|im_end|>",
        "\n",
        "<|im_start|>",
        "user\nAgain.",
        "<|im_end|>",
        "\n",
        "<|im_start|>",
        "assistant\n",
    )
    assert list(bound.after) == family.ids(*after, "<think>", "\n\n", "</think>", "\n\n")


def test_a_date_that_is_set_stands_above_the_clock() -> None:
    family, now = FAMILIES["llama_3_2"], datetime(1999, 12, 31)
    for options, date in ((DATE, "26 Jul 2024"), ({}, "31 Dec 1999")):
        prompt = PromptFormat("{question}", chat=True, chat_options=options)
        told = (one.replace("26 Jul 2024", date) for one in PROMPTS["llama_3_2"]["plain"])
        assert prompt.prompt_ids(family.tokenizer(), QUESTION, now) == family.ids(*told)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("enable_thinkin", r"no such variable to set \(did you mean 'enable_thinking'\?\): leave it out"),
        ("messages", "no such variable to set"),
        ("add_generation_prompt", "no such variable to set"),
    ],
)
def test_a_variable_that_a_template_does_not_have_is_refused(name: str, says: str) -> None:
    tokenizer = FAMILIES["qwen3"].tokenizer()
    prompt = PromptFormat("{question}", chat=True, chat_options={name: False})
    with pytest.raises(UserError, match=rf"^prompt.chat_options.{name} = False: .*{says}"):
        prompt.prompt_ids(tokenizer, QUESTION)
    with pytest.raises(UserError, match=says):
        RevisionFormat().bind(tokenizer, [2], chat=True, chat_options={name: False})


THOUGHT = "Is it \\boxed{3}? No: #### 3 is wrong, the answer is 3.\n</think>\n\n"


@pytest.mark.parametrize(
    ("grader", "said", "read"),
    [
        ("math", "So it is $\\boxed{2}$.", "2"),
        ("math", "**Final Answer**\n\\boxed{2}", "2"),
        ("number", "#### 2", "2"),
        ("text", "#### two", "two"),
        ("gym", "#### 2", "2"),
        ("choice", "The answer is (B).", "B"),
        # Whoever says nothing behind a thought has told the answer in it.
        ("math", "", "3"),
    ],
)
def test_an_answer_is_read_behind_the_thought(grader: str, said: str, read: str) -> None:
    """The prompt opened the thought, so that what is drawn only ends it."""
    family = FAMILIES["r1_distill"]
    tokenizer = family.tokenizer()
    drawn = family.ids(*THOUGHT.partition("</think>"), said, family.end)
    text = tokenizer.decode(drawn, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    assert text == f"{THOUGHT}{said}{family.end}"
    assert make_grader(grader).extract(text) == read
